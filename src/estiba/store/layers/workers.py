"""Processes that unpack layers for this one (worker.py), as many as layers come at a time: threads of one interpreter take turns where
layers are read, and more time than the reading takes is lost in waiting for the turn (docs/dev/decisions/017-worker-processes.md).
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock
from struct import Struct

from estiba import errors
from estiba.config.settings import pack
from estiba.oci.digest import DiffID
from estiba.oci.strict_json import as_dict, dumps, get_list, get_str, loads
from estiba.store.layers.info import LayerBlob, short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from estiba.config.settings import Settings
    from estiba.store.layers.apply import Progress

_SITE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
_BOOT = "import sys; sys.path[:0] = sys.argv[2:]; from estiba.store.layers.worker import main; main(sys.argv[1])"
_SIZE = Struct("<I")


class Workers:
    """As many processes as there are threads that call `apply` at the same time; a context manager that ends them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: list[_Worker] = []
        self._lock = allocate_lock()

    def prepare(self, count: int) -> None:
        """Starts processes that the first calls of `apply` will want. Raises FailedPrecondition."""
        while len(self._idle) < count:
            self._idle.append(_Worker(self._settings))

    def apply(self, diff_id: DiffID, chunks: Iterable[bytes], blob: LayerBlob, *, progress: Progress | None = None) -> None:
        """`apply_layer` in another process: the parameters and errors are the same. `blob` describes the compressed bytes, and is what
        layer.json says of a layer that was not there.
        """
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        worker = worker or _Worker(self._settings)
        with errors.OnFailure(worker.end):
            worker.do(diff_id, chunks, blob, progress)
        with self._lock:
            self._idle.append(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._idle:
            worker.end()


class _Worker:
    """One process."""

    def __init__(self, settings: Settings) -> None:
        import signal

        stdin, self._input = os.pipe2(os.O_CLOEXEC)
        output, stdout = os.pipe2(os.O_CLOEXEC)
        words = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOT, pack(settings), _SITE, *_folders()]
        environment = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
        try:
            # An interrupt from the terminal is this process's to handle: it ends the input.
            self._pid = os.posix_spawn(sys.executable, words, environment, file_actions=actions, setsigmask=[signal.SIGINT])
        except OSError as error:
            os.close(self._input)
            os.close(output)
            raise errors.FailedPrecondition(f"cannot unpack layers: {sys.executable}: {error.strerror}") from None
        finally:
            os.close(stdin)
            os.close(stdout)
        self._answers = os.fdopen(output, "rb")
        self._status: int | None = None

    def do(self, diff_id: DiffID, chunks: Iterable[bytes], blob: LayerBlob, progress: Progress | None) -> None:
        """One layer. After an error the process is of no use any more."""
        known = {"digest": blob.digest, "size": blob.size, "mediaType": blob.media_type, "source": blob.source}
        self._send(dumps({"diffID": diff_id, "blob": known}) + b"\n")
        while True:
            line = self._answers.readline()
            if not line:
                status = self.end()
                raise errors.FailedPrecondition(f"cannot unpack layer {short(diff_id)}: the process for it ended with status {status}")
            answer = as_dict(loads(line, what="the answer"), "the answer")
            if "done" in answer:
                return
            if "note" in answer and progress is not None:
                progress.note(get_str(answer, "note", "the answer"))
            if "error" in answer:
                kind, message, hint = get_list(answer, "error", "the answer")
                raise getattr(errors, str(kind))(message, hint=hint)
            if "want" in answer:
                self._feed(chunks)

    def _feed(self, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            if chunk and not self._send(_SIZE.pack(len(chunk)), chunk):
                return
        self._send(_SIZE.pack(0))

    def _send(self, *parts: bytes) -> bool:
        """False when nobody takes it: the process has said why, or is dead."""
        left: list[bytes | memoryview] = list(parts)
        try:
            while left:
                written = os.writev(self._input, left)
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if left:
                    left[0] = memoryview(left[0])[written:]
        except BrokenPipeError:
            return False
        return True

    def end(self) -> int:
        """Ends the input, waits for the process and returns its exit status."""
        if self._status is None:
            os.close(self._input)
            self._answers.close()
            _, status = os.waitpid(self._pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
        return self._status


def _folders() -> list[str]:
    """Where this process finds modules, those that inflate too: the other is not to search for them."""
    from importlib.util import find_spec

    for name in ("isal", "zstandard"):
        find_spec(name)  # may make the path longer (cli.main)
    return [folder for folder in sys.path if folder]
