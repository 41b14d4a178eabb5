"""Which entry a path of `cp` means, and where its copy goes: Docker's rules.

| the source is | the target | |
|---|---|---|
| a file | is missing | the copy gets its name; with a slash at the end it is an error |
| a file | is a file | is replaced |
| a file or folder | is a folder | the copy goes into it |
| a folder | is missing | is made, with the folder's content |
| a folder | is a file | is an error |
| a folder, ending in `/.` | is a folder | gets the content |

A symbolic link that SOURCE is stays one, unless it is followed; one that the target is is followed.
"""

from __future__ import annotations

import os
import posixpath
import stat

from estiba.engine.files.jail import ALL, LINK, FileJail, JailError, Status, cause_of
from estiba.engine.files.views import KERNEL_FOLDERS
from estiba.errors import Conflict, InvalidArgument, NotFound

_MAX_LINKS = 40  # path_resolution(7)
CONTENT = b"."


class Place:
    """What is copied: `path` below the folder that it was looked up in, `name` of the copy (`CONTENT` for a folder's content alone)."""

    __slots__ = ("is_folder", "name", "path")

    def __init__(self, path: bytes, name: bytes, *, is_folder: bool) -> None:
        self.path = path
        self.name = name
        self.is_folder = is_folder


def _is_content(path: str) -> bool:
    return path.rpartition("/")[2] in (".", "..") or path.strip("/") == ""


def _names_folder(path: str) -> bool:
    return path.endswith("/") or _is_content(path)


# --- in a container ----------------------------------------------------------------------------------------------------------


def container_source(jail: FileJail, path: str, what: str, *, follow: bool) -> Place:
    """The entry that is copied out; the jail's base is the folder itself, or the one that holds it. Raises NotFound, InvalidArgument."""
    at = posixpath.normpath("/" + path.lstrip("/"))
    _refuse_kernel(at, what)
    name = CONTENT if _is_content(path) else os.fsencode(posixpath.basename(at))
    place = os.fsencode(at)
    status = _find(jail, place, what)
    if status is not None and status.is_link and (follow or _names_folder(path)):
        place, status = _follow(jail, place, status, what)
    if status is None:
        raise NotFound(f"cannot {what}: there is no such file or folder in the container")
    if status.is_folder:
        jail.base(place)
        return Place(b"", name, is_folder=True)
    if _names_folder(path):
        raise InvalidArgument(f"cannot {what}: it is no folder")
    folder, _, last = place.rpartition(b"/")
    jail.base(folder or b"/")
    return Place(last, name, is_folder=False)


def container_target(jail: FileJail, path: str, source: Place, what: str) -> tuple[bytes, bytes]:
    """The folder of the container that the copy goes to, and its name there. Raises NotFound, Conflict, InvalidArgument."""
    place, status = _target(jail, path, what)
    if status is not None and status.is_folder:
        return place, source.name
    _check_target(source, path, what, exists=status is not None)
    folder, _, name = place.rpartition(b"/")
    if not _is_folder(jail, folder or b"/", what):
        raise NotFound(f"cannot {what}: there is no folder {os.fsdecode(folder)!r} in the container")
    return folder or b"/", name


def stream_target(jail: FileJail, path: str, what: str) -> bytes:
    """The folder that a tar stream goes to. Raises NotFound, InvalidArgument."""
    place, status = _target(jail, path, what)
    if status is None:
        raise NotFound(f"cannot {what}: there is no such folder in the container")
    if not status.is_folder:
        raise InvalidArgument(f"cannot {what}: it is no folder, and a tar stream needs one")
    return place


def _target(jail: FileJail, path: str, what: str) -> tuple[bytes, Status | None]:
    at = posixpath.normpath("/" + path.lstrip("/"))
    _refuse_kernel(at, what)
    place = os.fsencode(at)
    status = _find(jail, place, what)
    if status is not None and status.is_link:
        place, status = _follow(jail, place, status, what)
        _refuse_kernel(posixpath.normpath(os.fsdecode(place)), what)
    return place, status


def _refuse_kernel(path: str, what: str) -> None:
    if path.split("/")[1] in KERNEL_FOLDERS:
        raise InvalidArgument(
            f"cannot {what}: /{path.split('/')[1]} belongs to the container's kernel", hint="a program in the container can: estiba exec"
        )


def _follow(jail: FileJail, place: bytes, status: Status, what: str) -> tuple[bytes, Status | None]:
    """Where a link leads in the end, and what is there, if anything."""
    found: Status | None = status
    for _ in range(_MAX_LINKS):
        if found is None or not found.is_link:
            return place, found
        target = found.target.rstrip(b"/") or b"/"
        place = target if target[:1] == b"/" else place.rpartition(b"/")[0] + b"/" + target
        found = _find(jail, place, what)
    raise Conflict(f"cannot {what}: too many symbolic links")


def _find(jail: FileJail, place: bytes, what: str) -> Status | None:
    try:
        return jail.find(place, ALL if place.endswith((b"/", b"/.", b"/..")) else LINK)
    except JailError as error:
        raise cause_of(what, error.errno or 0, place) from None


def _is_folder(jail: FileJail, place: bytes, what: str) -> bool:
    try:
        status = jail.find(place, ALL)
    except JailError as error:
        raise cause_of(what, error.errno or 0, place) from None
    return status is not None and status.is_folder


# --- on this machine -----------------------------------------------------------------------------------------------------------


def host_source(path: str, what: str, *, follow: bool) -> tuple[int, Place]:
    """A descriptor of the folder that holds the entry that is copied in, and the entry. Raises NotFound, InvalidArgument, OSError."""
    follow = follow or _names_folder(path)
    try:
        mode = os.stat(path, follow_symlinks=follow).st_mode
    except FileNotFoundError:
        raise NotFound(f"cannot {what}: there is no {path!r} on this machine") from None
    except NotADirectoryError:
        raise InvalidArgument(f"cannot {what}: {path!r} is no folder") from None
    is_folder = stat.S_ISDIR(mode)
    if _names_folder(path) and not is_folder:
        raise InvalidArgument(f"cannot {what}: {path!r} is no folder")
    real = os.path.realpath(path) if follow else path
    folder, last = (real, ".") if is_folder and follow else os.path.split(real)
    name = CONTENT if _is_content(path) else os.fsencode(os.path.basename(path.rstrip("/")))
    return _open(folder or "."), Place(os.fsencode(last), name, is_folder=is_folder)


def host_target(path: str, source: Place, what: str) -> tuple[int, bytes]:
    """A descriptor of the folder that the copy goes to, and its name there. Raises NotFound, Conflict, InvalidArgument, OSError."""
    try:
        mode: int | None = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    except NotADirectoryError:
        raise InvalidArgument(f"cannot {what} to {path!r}: it is no folder") from None
    if mode is not None and stat.S_ISDIR(mode):
        return _open(path), source.name
    _check_target(source, path, f"{what} to {path!r}", exists=mode is not None)
    plain = path.removesuffix("/.").rstrip("/")
    folder, name = os.path.split(os.path.realpath(plain) if os.path.islink(plain) else plain)
    try:
        return _open(folder or "."), os.fsencode(name)
    except FileNotFoundError:
        raise NotFound(f"cannot {what} to {path!r}: there is no folder {folder!r}") from None


def _check_target(source: Place, path: str, what: str, *, exists: bool) -> None:
    if source.is_folder and exists:
        raise Conflict(f"cannot {what}: a folder cannot take the place of a file")
    if _names_folder(path) and exists:
        raise InvalidArgument(f"cannot {what}: it is no folder")
    if _names_folder(path) and not source.is_folder:
        raise NotFound(f"cannot {what}: there is no such folder")


def _open(folder: str) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
