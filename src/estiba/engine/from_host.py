"""`image from-host`: an image from programs of this machine and exactly what they need to start.

The layer depends on the programs alone: entries are in the order of their paths, owners are root, a file has its own time and
everything else the newest of these, which is also when the image was created. So the same programs make the same image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from estiba.config.settings import Settings
from estiba.engine import tar_writer
from estiba.engine.host_files import HostEntry, HostFiles
from estiba.engine.new_image import PATH, add_image, add_layer, encode, new_config, new_name
from estiba.engine.units import format_time
from estiba.errors import DataLoss, InvalidArgument, PermissionDenied
from estiba.oci.platform import parse_platform
from estiba.store.images import Image
from estiba.store.layout import Store

CHUNK = 1 << 18
# What programs expect of any root directory: the places of the runtime's mounts, folders for temporary files. No /etc/passwd:
# on another image it would hide the one that has the names of that image's users.
SKELETON: dict[str, HostEntry] = {
    "/dev": HostEntry("directory", 0o755),
    "/etc": HostEntry("directory", 0o755),
    "/proc": HostEntry("directory", 0o555),
    "/root": HostEntry("directory", 0o700),
    "/run": HostEntry("directory", 0o755),
    "/sys": HostEntry("directory", 0o555),
    "/tmp": HostEntry("directory", 0o1777),  # noqa: S108 - a folder of the image
    "/var": HostEntry("directory", 0o755),
    "/var/tmp": HostEntry("directory", 0o1777),  # noqa: S108 - the same
}


def from_host(store: Store, settings: Settings, reference: str, programs: Sequence[str], *, entrypoint: bool = False) -> Image:
    """Makes an image of programs of this machine.

    Parameters: `programs`, names that are looked up in the usual folders, or paths; scripts bring their interpreters. The first
    one is the image's command, with `entrypoint` its entrypoint. Raises NotFound, CannotExecute, InvalidArgument,
    PermissionDenied, DataLoss.
    """
    if not programs:
        raise InvalidArgument("cannot make an image of this machine: no program is named")
    name = new_name(store, reference, "name an image")
    files = HostFiles()
    paths = [files.add_program(program) for program in programs]
    files.finish()
    entries = {**files.entries, **{path: entry for path, entry in SKELETON.items() if path not in files.entries}}
    newest = newest_time(entries)
    process: dict[str, Any] = {"Env": [PATH], "Entrypoint" if entrypoint else "Cmd": [paths[0]]}
    with store.using():
        layer = add_layer(store, settings, layer_tar(entries, newest))
        moment = format_time(datetime.fromtimestamp(newest, UTC))
        document = new_config(parse_platform(f"linux/{files.architecture}"), moment, [layer], process)
        document["history"] = [{"created": moment, "created_by": "estiba image from-host " + " ".join(programs)}]
        return add_image(store, encode(document), [layer], name)


def newest_time(entries: Mapping[str, HostEntry]) -> int:
    """The newest modification time of the host's files among `entries`, in whole seconds since 1970, not before 1970."""
    taken = [path for path, entry in entries.items() if entry.kind == "file" and entry.content is None]
    return max((int(os.lstat(path).st_mtime) for path in taken), default=0)


def layer_tar(entries: Mapping[str, HostEntry], mtime: int) -> Iterator[bytes]:
    """The layer's tar. `mtime` is that of all that is not a file of the host. Raises DataLoss when a file changes meanwhile."""
    for path in sorted(entries):
        entry, name = entries[path], path[1:]
        if entry.kind == "directory":
            yield tar_writer.header(name + "/", tar_writer.DIRECTORY, mode=entry.mode, mtime=mtime)
        elif entry.kind == "symlink":
            yield tar_writer.header(name, tar_writer.SYMLINK, mode=0o777, mtime=mtime, target=entry.target)
        elif entry.content is not None:
            yield from tar_writer.member(name, entry.content, mode=entry.mode, mtime=mtime)
        else:
            yield from _host_file(path, entry.mode)
    yield tar_writer.END


def _host_file(path: str, mode: int) -> Iterator[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError as error:
        raise PermissionDenied(f"cannot read {path}: {error.strerror}") from error
    except OSError as error:
        raise DataLoss(f"cannot read {path}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        yield tar_writer.header(path[1:], tar_writer.REGULAR, mode=mode, size=status.st_size, mtime=max(0, int(status.st_mtime)))
        left = status.st_size
        while left:
            chunk = os.read(descriptor, min(CHUNK, left))
            if not chunk:
                raise DataLoss(f"cannot take {path}: it became shorter while it was read")
            yield chunk
            left -= len(chunk)
        yield tar_writer.padding(status.st_size)
    finally:
        os.close(descriptor)
