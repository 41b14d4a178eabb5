"""Archives as files or standard streams."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from estiba.cli import output
from estiba.errors import FailedPrecondition, InvalidArgument, NotFound


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
    """A file beside `path` that takes its name when it is complete and on disk."""
    import tempfile

    folder = os.path.dirname(path) or "."
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".estiba-", dir=folder)
    except FileNotFoundError:
        raise NotFound(f"cannot {verb} to {path!r}: there is no folder {folder!r}") from None
    except PermissionError as error:
        raise FailedPrecondition(f"cannot {verb} to {path!r}: {error.strerror}") from None
    try:
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(descriptor, 0o666 & ~mask)
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


class _StandardOutput:
    """Standard output as a stream of bytes whose failure is an `OutputError`."""

    def write(self, data: bytes) -> int:
        try:
            output.write_bytes(output.STDOUT, data)
        except OSError as error:
            raise output.OutputError(error) from error
        return len(data)
