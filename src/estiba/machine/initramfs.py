"""The archive that a kernel unpacks into its first root (Documentation/driver-api/early-userspace/buffer-format.rst). On the start path."""

from __future__ import annotations

_FOLDER, _PROGRAM = 0o40755, 0o100755


def initramfs(init: bytes) -> bytes:
    """Returns a cpio archive, not compressed, whose `/init` is the program `init`."""
    return _member("dev", _FOLDER) + _member("init", _PROGRAM, init) + _member("TRAILER!!!", 0)


def _member(name: str, mode: int, data: bytes = b"") -> bytes:
    text = name.encode("ascii") + b"\0"
    # magic, inode, mode, uid, gid, links, mtime, size, device (2), special device (2), length of the name, checksum
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(text), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + text
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
