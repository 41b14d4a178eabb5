"""The records of `estiba-init unpack` and `read`, packed by hand: `plan.encode` is right for plans of fifty operations, here come
tens of thousands. A test holds them to `plan.encode`.
"""

from __future__ import annotations

from struct import Struct

from estiba.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Attributes(NamedTuple):
        """Mode, owner in the jail's ids and modification time of an entry."""

        mode: int
        uid: int
        gid: int
        mtime: int
        nanoseconds: int


_CODES = {name: code for code, (name, *_) in ops.SCHEMA.items()}

_HEAD = Struct("<HHI")
_HEAD_STRING = Struct("<HHII")
_U = Struct("<I")
_Q = Struct("<Q")
_ATTRIBUTES = Struct("<xIIIqI")  # after a string: its NUL first
_ATTRIBUTES_CONTENT = Struct("<xIIIqII")
_OWNER = Struct("<xIIqI")
_CLOSE = Struct("<HHIQIIIqI")
_READ = Struct("<xQQ")

_FILE = _CODES["unpack_file"]
_DATA = _CODES["unpack_data"]
_CLOSE_CODE = _CODES["unpack_close"]


def _named(name: str, path: bytes, rest: bytes = b"\0") -> bytes:
    """A record whose first argument is a path; `rest` begins with the path's NUL."""
    return _HEAD_STRING.pack(_CODES[name], 0, 4 + len(path) + len(rest), len(path)) + path + rest


def _string(text: bytes) -> bytes:
    return b"\0" + _U.pack(len(text)) + text


def layer(folder: bytes, max_bytes: int, max_inodes: int) -> bytes:
    return _named("unpack_layer", folder, _READ.pack(max_bytes, max_inodes))


def directory(path: bytes) -> bytes:
    return _named("unpack_directory", path)


def file_head(path: bytes, attributes: Attributes | tuple[int, int, int, int, int], size: int) -> bytes:
    """All of a file's record but its content of `size` bytes, which follows."""
    length = len(path)
    return _HEAD_STRING.pack(_FILE, 0, length + 33 + size, length) + path + _ATTRIBUTES_CONTENT.pack(*attributes, size)


def open_file(path: bytes) -> bytes:
    return _named("unpack_open", path)


def data_head(offset: int, size: int) -> bytes:
    """All of a data record but its content of `size` bytes, which follows."""
    return _HEAD.pack(_DATA, 0, 12 + size) + _Q.pack(offset) + _U.pack(size)


def close_file(size: int, attributes: Attributes | tuple[int, int, int, int, int]) -> bytes:
    return _CLOSE.pack(_CLOSE_CODE, 0, 32, size, *attributes)


def known(path: bytes, key: bytes) -> bytes:
    return _named("unpack_known", path, _string(key) + b"\0")


def share(path: bytes, key: bytes) -> bytes:
    return _named("unpack_share", path, _string(key) + b"\0")


def link(path: bytes, target: bytes) -> bytes:
    return _named("unpack_link", path, _string(target) + b"\0")


def symlink(path: bytes, target: bytes, attributes: Attributes | tuple[int, int, int, int, int]) -> bytes:
    return _named("unpack_symlink", path, _string(target) + _OWNER.pack(*attributes[1:]))


def fifo(path: bytes, attributes: Attributes | tuple[int, int, int, int, int]) -> bytes:
    return _named("unpack_fifo", path, _ATTRIBUTES.pack(*attributes))


def whiteout(path: bytes) -> bytes:
    return _named("unpack_whiteout", path)


def xattr(path: bytes, name: bytes, value: bytes) -> bytes:
    return _named("unpack_xattr", path, _string(name) + b"\0" + _U.pack(len(value)) + value)


def attributes_of(path: bytes, attributes: Attributes | tuple[int, int, int, int, int]) -> bytes:
    return _named("unpack_attributes", path, _ATTRIBUTES.pack(*attributes))


def erase(path: bytes, *, is_directory: bool) -> bytes:
    return _named("unpack_erase", path, b"\0" + _U.pack(is_directory))


def keep(path: bytes, number: int) -> bytes:
    return _named("unpack_keep", path, b"\0" + _U.pack(number))


def sync() -> bytes:
    return _HEAD.pack(_CODES["unpack_sync"], 0, 0)


def read(path: bytes, offset: int, length: int) -> bytes:
    return _named("unpack_read", path, _READ.pack(offset, length))


def stat(path: bytes) -> bytes:
    return _named("unpack_stat", path)
