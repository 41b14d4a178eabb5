"""The first root of a guest's kernel as a cpio archive of the format `newc`, not compressed (the kernel's initramfs-buffer-format.rst).

A machine's own is written by the helper at each start (helper/src/initramfs.c); this is for disks. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

INIT, PLAN, MODULES, ALONE = "init", "plan", "modules", "alone"  # helper/src/initramfs.h
_FILE, _FOLDER = 0o100000, 0o040000
_TRAILER = "TRAILER!!!"


def archive(init: bytes, modules: Iterable[bytes], others: Iterable[tuple[str, bytes]] = ()) -> bytes:
    """Returns the archive: the program `init`, the kernel's `modules` in the order in which they are loaded, and files by their names."""
    members = [_member(INIT, _FILE | 0o700, init), _member(MODULES, _FOLDER | 0o700, b"")]
    members += [_member(f"{MODULES}/{number}", _FILE | 0o600, content) for number, content in enumerate(modules)]
    members += [_member(name, _FILE | 0o600, content) for name, content in others]
    return b"".join([*members, _member(_TRAILER, 0, b"")])


def _member(name: str, mode: int, content: bytes) -> bytes:
    # inode, mode, uid, gid, links, mtime, size, devices (4), length of the name with its NUL, checksum
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode("ascii") + b"\0"
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
