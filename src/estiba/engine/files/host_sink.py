"""A folder of this machine as a sink for what comes from a container.

That is data of a stranger: no link that it brings is ever followed, and its programs lose set-id bits and capabilities, which would be
this machine's. Only `archive` keeps those, and the owners.
"""

from __future__ import annotations

import errno
import os
import stat

from estiba.engine.files.entries import CAPABILITY, Source, Take, kept, stretches
from estiba.engine.files.host_source import open_folder
from estiba.errors import Conflict
from estiba.store.layers import tar
from estiba.store.layers.pax import show
from estiba.store.layers.tar import Entry

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class HostSink:
    """Writes entries below `folder`, a descriptor that stays the caller's. `archive` keeps owners (as root), set-id bits, capabilities."""

    def __init__(self, folder: int, what: str, *, archive: bool) -> None:
        self._root = folder
        self._what = what
        self._archive = archive
        self._owners = archive and os.geteuid() == 0
        self._folders: list[Entry] = []
        self._parent = b""
        self._at = os.dup(folder)

    def run(self, source: Source) -> None:
        """Copies everything. Raises Conflict for what may not be replaced, OSError."""
        try:
            for entry, take in source:
                folder, name = self._go(entry.name)
                if entry.kind == tar.DIRECTORY:
                    self._folder(folder, name, entry)
                elif entry.kind == tar.FILE:
                    self._file(folder, name, entry, take)
                else:
                    self._other(folder, name, entry)
            for entry in reversed(self._folders):
                folder = open_folder(self._root, entry.name)
                try:
                    self._describe(folder, entry)
                finally:
                    os.close(folder)
        finally:
            os.close(self._at)

    def _go(self, path: bytes) -> tuple[int, bytes]:
        """The folder of an entry, which serves until the next is asked for, and its name there."""
        parent, _, name = path.rpartition(b"/")
        if parent != self._parent:
            folder = open_folder(self._root, parent)
            os.close(self._at)
            self._parent, self._at = parent, folder
        return self._at, name

    def _folder(self, folder: int, name: bytes, entry: Entry) -> None:
        if name == b".":
            return  # the folder that is copied to stays as it is, as in Docker
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise self._conflict(entry, "something is there that is no folder") from None
        self._folders.append(entry)

    def _file(self, folder: int, name: bytes, entry: Entry, take: Take) -> None:
        special = self._clear(folder, name, entry)
        file = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY if special else _NEW, 0o600, dir_fd=folder)
        try:
            for offset, length in stretches(entry):
                if not special:
                    os.lseek(file, offset, os.SEEK_SET)
                for piece in take(length):
                    view = memoryview(piece)
                    while view:
                        view = view[os.write(file, view) :]
            if not special:
                os.ftruncate(file, entry.real_size)
                self._describe(file, entry)
        finally:
            os.close(file)

    def _other(self, folder: int, name: bytes, entry: Entry) -> None:
        if self._clear(folder, name, entry):
            raise self._conflict(entry, "a device is there")
        if entry.kind == tar.HARD_LINK:
            parent, _, target = entry.link.rpartition(b"/")
            source = open_folder(self._root, parent)
            try:
                os.link(target, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(source)
            return
        if entry.kind == tar.SYMLINK:
            os.symlink(entry.link, name, dir_fd=folder)
        else:
            os.mkfifo(name, 0o600, dir_fd=folder)
            pipe = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                os.chmod(f"/proc/self/fd/{pipe}", entry.mode & 0o1777)  # whatever the umask
            finally:
                os.close(pipe)
        if self._owners:
            os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        os.utime(name, ns=(_time(entry), _time(entry)), dir_fd=folder, follow_symlinks=False)

    def _clear(self, folder: int, name: bytes, entry: Entry) -> bool:
        """Takes away what is there; True for a character device, which is written to. Raises Conflict for folders and disks."""
        try:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(mode):
            raise self._conflict(entry, "a folder is there, and what is copied is none")
        if stat.S_ISBLK(mode):
            raise self._conflict(entry, "a block device is there")
        if stat.S_ISCHR(mode):
            return True
        os.unlink(name, dir_fd=folder)
        return False

    def _conflict(self, entry: Entry, cause: str) -> Conflict:
        return Conflict(f"cannot {self._what}: {show(entry.name)}: {cause}")

    def _describe(self, descriptor: int, entry: Entry) -> None:
        """Owner first: chown(2) takes set-id bits and capabilities away."""
        if self._owners:
            os.fchown(descriptor, entry.uid, entry.gid)
        sticky = 0o1777 if entry.kind == tar.DIRECTORY else 0o777
        os.fchmod(descriptor, entry.mode & (0o7777 if self._archive else sticky))
        for name, value in (kept(entry.xattrs) or {}).items() if entry.xattrs else ():
            if self._owners or (name.startswith(b"user.") and name != CAPABILITY):
                try:
                    os.setxattr(descriptor, name, value)
                except OSError as error:
                    if error.errno != errno.ENOTSUP:  # a file system without them
                        raise
        os.utime(descriptor, ns=(_time(entry), _time(entry)))


def _time(entry: Entry) -> int:
    return entry.mtime * 10**9 + entry.nanoseconds
