"""`cp`: files between this machine and a container, by Docker's rules (docs.docker.com, "docker container cp").

A folder whose path ends in `/.` stands for its content. What is copied in belongs to the container's root, what is copied out to the
caller; `archive` keeps owners. A tar stream (`-`) carries its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from estiba.config.settings import Settings
from estiba.engine import containers, event_log
from estiba.engine.containers import Container
from estiba.engine.files import places
from estiba.engine.files.archive import archive, members
from estiba.engine.files.entries import Buffer, Source, Take, Tell
from estiba.engine.files.host_sink import HostSink
from estiba.engine.files.host_source import HostSource
from estiba.engine.files.jail import FileJail, JailError, cause_of
from estiba.engine.files.put import Put
from estiba.engine.files.views import open_root
from estiba.engine.files.walk import changed, walk
from estiba.engine.progress import Progress, Silent
from estiba.errors import InvalidArgument
from estiba.store.layout import Store


class Copy:
    """Options of one copy, and its count of bytes.

    `archive` keeps owners and set-id bits, `follow_link` copies what the link SOURCE leads to; `stdin` and `stdout` are what `-` means.
    """

    def __init__(
        self,
        *,
        archive: bool = False,
        follow_link: bool = False,
        progress: Progress | None = None,
        stdin: BinaryIO | None = None,
        stdout: BinaryIO | None = None,
    ) -> None:
        self.archive = archive
        self.follow_link = follow_link
        self.progress: Progress = progress or Silent()
        self.stdin = stdin
        self.stdout = stdout
        self.total = 0

    def counted(self, source: Source, what: str) -> Source:
        """The source, while the bytes of its files are counted and reported."""
        self.progress.start(what, "Copying")
        for entry, take in source:
            yield entry, partial(self._take, take, what)
        self.progress.done(what, "Copied")

    def _take(self, take: Take, what: str, size: int) -> Iterator[Buffer]:
        for piece in take(size):
            self.total += len(piece)
            self.progress.advance(what, len(piece))
            yield piece


def split_argument(text: str) -> tuple[str | None, str]:
    """(container, path) of `CONTAINER:PATH`; (None, path) of a local path, which begins with `/` or `.` or has no colon."""
    container, colon, path = text.partition(":")
    return (container, path) if colon and not text.startswith(("/", ".")) else (None, text)


def cp(store: Store, settings: Settings, source: str, target: str, options: Copy | None = None) -> int:
    """Copies `source` to `target`, one of which is `CONTAINER:PATH`; `-` is a tar stream. Returns the bytes of files that were copied.

    Raises InvalidArgument, NotFound, Conflict for what may not be replaced, PermissionDenied, FailedPrecondition (read-only), DataLoss,
    NotImplemented, and OSError of this machine's files.
    """
    options = options or Copy()
    from_container, from_path = split_argument(source)
    to_container, to_path = split_argument(target)
    if from_container is not None and to_container is not None:
        raise InvalidArgument("cannot copy: both places are in containers", hint="copy out first, then in")
    if from_container is not None:
        _copy_out(store, settings, containers.find(store, from_container), from_path, to_path, options)
    elif to_container is not None:
        _copy_in(store, settings, from_path, containers.find(store, to_container), to_path, options)
    else:
        raise InvalidArgument("cannot copy: no place is in a container", hint="CONTAINER:PATH names one")
    return options.total


def _copy_out(store: Store, settings: Settings, container: Container, path: str, target: str, options: Copy) -> None:
    what = f"copy {container.name}:{path}"
    tell = _teller(options)
    with open_root(store, settings, container, what=what) as jail:
        place = places.container_source(jail, path, what, follow=options.follow_link)
        label = f"{container.name}:{path}"
        if target == "-":
            _write_stream(options.counted(walk(jail, place.path, place.name, tell), label), options)
        else:
            folder, name = places.host_target(target, place, what)
            try:
                sink = HostSink(folder, what, archive=options.archive)
                sink.run(options.counted(walk(jail, place.path, name, tell), label))
            finally:
                os.close(folder)
        for line in changed(jail):
            tell(line)
        jail.finish()
    event_log.container(container, "archive-path", path=path)


def _copy_in(store: Store, settings: Settings, path: str, container: Container, target: str, options: Copy) -> None:
    what = f"copy to {container.name}:{target}"
    tell = _teller(options)
    if path == "-":
        if options.stdin is None:
            raise InvalidArgument(f"cannot {what}: there is no tar stream")
        with open_root(store, settings, container, what=what, write=True) as jail:
            base = places.stream_target(jail, target, what)
            source = options.counted(members(options.stdin, "standard input"), "standard input")
            _put(jail, base, source, tell, owners=True)
        event_log.container(container, "extract-to-dir", path=target)
        return
    folder, place = places.host_source(path, what, follow=options.follow_link)
    try:
        with open_root(store, settings, container, what=what, write=True) as jail:
            base, name = places.container_target(jail, target, place, what)
            source = options.counted(HostSource(folder, tell).entries(place.path, name), path)
            _put(jail, base, source, tell, owners=options.archive)
    finally:
        os.close(folder)
    event_log.container(container, "extract-to-dir", path=target)


def _put(jail: FileJail, base: bytes, source: Source, tell: Tell, *, owners: bool) -> None:
    try:
        put = Put(jail, base, tell, owners=owners)
        put.run(source)
        put.finish()
    except JailError as error:
        raise cause_of(jail.what, error.errno or 0, error.filename) from None


def _write_stream(source: Source, options: Copy) -> None:
    if options.stdout is None:
        raise InvalidArgument("cannot copy to -: there is no stream")
    for piece in archive(source):
        options.stdout.write(piece)


def _teller(options: Copy) -> Tell:
    return lambda text: options.progress.note(f"estiba: warning: not copied: {text}")
