"""Archives as files or standard streams."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from estiba.cli import output
from estiba.errors import InvalidArgument, NotFound, PermissionDenied


@contextmanager
def open_input(path: str, verb: str) -> Iterator[BinaryIO]:
    """The file at `path`, or standard input for ``-``. Raises NotFound, InvalidArgument."""
    if path == "-":
        if output.is_terminal(0):
            raise InvalidArgument(f"cannot {verb}: standard input is a terminal", hint=f"see 'estiba {verb} --help'")
        with open(0, "rb", closefd=False) as stream:
            yield stream
        return
    try:
        stream = open(path, "rb")
    except FileNotFoundError:
        raise NotFound(f"cannot {verb} {path!r}: no such file") from None
    except IsADirectoryError:
        raise InvalidArgument(f"cannot {verb} {path!r}: it is a folder") from None
    except ValueError as error:  # a NUL in the name
        raise InvalidArgument(f"cannot {verb} {path!r}: {error}") from None
    with stream:
        yield stream


@contextmanager
def open_output(path: str, verb: str) -> Iterator[BinaryIO]:
    """A new file at `path`, or standard output when `path` is empty or ``-``.

    The file gets its name when everything is written; a failure leaves what was there before.
    Raises InvalidArgument for a terminal, OutputError when standard output cannot be written.
    """
    if path in ("", "-"):
        if output.is_terminal(output.STDOUT):
            raise InvalidArgument(f"cannot {verb}: standard output is a terminal", hint="-o FILE, or redirect it")
        yield cast("BinaryIO", _StandardOutput())
        return
    if os.path.isdir(path):
        raise InvalidArgument(f"cannot {verb} to {path!r}: it is a folder")
    if os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe is written as it is
        with open(path, "wb") as stream:
            yield stream
        return
    with _new_file(path, verb) as stream:
        yield stream


@contextmanager
def _new_file(path: str, verb: str) -> Iterator[BinaryIO]:
    """A file that takes its name when it is complete and on disk; what breaks off before leaves nothing.

    Until then it has no name at all (open(2), O_TMPFILE), or one beside `path` where the file system cannot do that.
    """
    folder = os.path.dirname(path) or "."
    temporary = os.path.join(folder, f".estiba-{os.getpid()}-{os.urandom(6).hex()}")
    try:
        descriptor, named = _open_new(folder, temporary)
    except FileNotFoundError:
        raise NotFound(f"cannot {verb} to {path!r}: there is no folder {folder!r}") from None
    except PermissionError as error:
        raise PermissionDenied(f"cannot {verb} to {path!r}: {error.strerror}") from None
    try:
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
            if not named:
                # With a folder's descriptor, which an absolute path ignores, Python calls linkat(2): only that can follow the link.
                os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=descriptor, follow_symlinks=True)
                named = True
        os.rename(temporary, path)
        named = False
    finally:
        if named:
            os.unlink(temporary)


def _open_new(folder: str, temporary: str) -> tuple[int, bool]:
    """A new file in `folder`, and whether it has the name `temporary` already."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666), False
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    return os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666), True


class _StandardOutput:
    """Standard output as a stream of bytes whose failure is an `OutputError`."""

    def write(self, data: bytes) -> int:
        try:
            output.write_bytes(output.STDOUT, data)
        except OSError as error:
            raise output.OutputError(error) from error
        return len(data)
