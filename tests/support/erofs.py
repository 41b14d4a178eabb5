"""Reads EROFS images as far as `estiba-init image` writes them (Documentation/filesystems/erofs.rst), to compare them with trees."""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK, SLOT, SUPER = 4096, 32, 1024
PLAIN, INLINE = 0, 2
PREFIXES = {1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security."}
TYPES = {1: stat.S_IFREG, 2: stat.S_IFDIR, 3: stat.S_IFCHR, 4: stat.S_IFBLK, 5: stat.S_IFIFO, 6: stat.S_IFSOCK, 7: stat.S_IFLNK}


@dataclass
class Node:
    number: int
    mode: int
    uid: int
    gid: int
    mtime: tuple[int, int]
    links: int
    device: int
    data: bytes
    xattrs: dict[str, bytes] = field(default_factory=dict)


class Image:
    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        magic, _, compat, bits, _, self.root, self.inodes = struct.unpack_from("<IIIBBHQ", self.data, SUPER)
        (blocks,) = struct.unpack_from("<I", self.data, SUPER + 36)
        (incompat,) = struct.unpack_from("<I", self.data, SUPER + 80)
        assert (magic, compat, bits, incompat) == (0xE0F5E1E2, 0, 12, 0)
        assert blocks * BLOCK == len(self.data)

    def node(self, number: int) -> Node:
        at = number * SLOT
        form, icount, mode, _, size, block, _, uid, gid, mtime, ns, links = struct.unpack_from("<HHHHQIIIIQII", self.data, at)
        assert form & 1, "an extended inode"
        xattrs_size = 12 + (icount - 1) * 4 if icount else 0
        tail_at = at + 64 + xattrs_size
        whole = size - size % BLOCK if form >> 1 == INLINE else size
        content = b""
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            content = self.data[block * BLOCK : block * BLOCK + whole] if whole else b""
            if whole < size:
                assert tail_at // BLOCK == (tail_at + size - whole - 1) // BLOCK, "what is left of the data crosses a block"
                content += self.data[tail_at : tail_at + size - whole]
            assert len(content) == size
        return Node(number, mode, uid, gid, (mtime, ns), links, block, content, self._xattrs(at + 64, xattrs_size))

    def _xattrs(self, at: int, size: int) -> dict[str, bytes]:
        found, end = {}, at + size
        at += 12
        while at < end:
            name_size, prefix, value_size = struct.unpack_from("<BBH", self.data, at)
            name = self.data[at + 4 : at + 4 + name_size].decode()
            found[PREFIXES[prefix] + name] = self.data[at + 4 + name_size : at + 4 + name_size + value_size]
            at += (4 + name_size + value_size + 3) // 4 * 4
        return found

    def names(self, folder: Node) -> Iterator[tuple[bytes, int, int]]:
        """Name, inode and type of each entry, in the order of the image, which the kernel searches by halving."""
        for begin in range(0, len(folder.data), BLOCK):
            block = folder.data[begin : begin + BLOCK]
            (first,) = struct.unpack_from("<H", block, 8)
            entries = [struct.unpack_from("<QHBB", block, at) for at in range(0, first, 12)]
            for index, (inode, name_at, kind, _) in enumerate(entries):
                end = entries[index + 1][1] if index + 1 < len(entries) else len(block)
                yield block[name_at:end].split(b"\0")[0], inode, TYPES[kind]

    def walk(self, number: int | None = None, path: bytes = b"") -> Iterator[tuple[bytes, Node]]:
        """Every path and its node, the root's first."""
        node = self.node(self.root if number is None else number)
        yield path, node
        if not stat.S_ISDIR(node.mode):
            return
        names = list(self.names(node))
        assert [name for name, _, _ in names] == sorted(name for name, _, _ in names)
        assert {b".", b".."} <= {name for name, _, _ in names}
        for name, inode, kind in names:
            if name == b".":
                assert inode == node.number
            elif name != b"..":
                assert stat.S_IFMT(self.node(inode).mode) == kind
                yield from self.walk(inode, path + b"/" + name)
