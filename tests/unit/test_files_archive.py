"""Tar as `cp`, `export` and `commit` write it: what our own strict reader, tarfile and tar(1) make of it."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estiba.engine.files.archive import archive, members
from estiba.engine.files.entries import nothing, set_parts
from estiba.store.layers import tar
from estiba.store.layers.tar import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from estiba.engine.files.entries import Source

KINDS = (tar.FILE, tar.DIRECTORY, tar.SYMLINK, tar.FIFO, tar.HARD_LINK)
NAMES = st.lists(st.binary(min_size=1, max_size=255).filter(lambda part: not {0, 47} & set(part) and part not in (b".", b"..")), min_size=1, max_size=5)


class Made:
    """An entry and its content."""

    def __init__(self, entry: Entry, content: bytes) -> None:
        self.entry = entry
        self.content = content

    def take(self, size: int) -> Iterator[bytes]:
        piece, self.content = self.content[:size], self.content[size:]
        yield piece[: size // 2]
        yield piece[size // 2 :]


@st.composite
def made(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from(KINDS))
    owner = st.integers(0, (1 << 32) - 2)
    entry = Entry(b"/".join(draw(NAMES)), kind, draw(st.integers(0, 0o7777)), draw(owner), draw(owner), 0, draw(st.integers(-(1 << 40), 1 << 40)), b"", 0)
    if kind in (tar.SYMLINK, tar.HARD_LINK):
        entry.link = b"/".join(draw(NAMES))
    content = b""
    if kind == tar.FILE:
        content = draw(st.binary(max_size=2000))
        entry.real_size = len(content)
        parts = [(0, len(content))] if content else []
        if draw(st.booleans()):
            hole, first = 512 * draw(st.integers(1, 1 << 25)), len(content) // 1024 * 512
            entry.real_size += hole
            parts = [part for part in ((0, first), (hole + first, len(content) - first)) if part[1]]
        set_parts(entry, parts)
        entry.xattrs = draw(st.none() | st.dictionaries(st.sampled_from([b"user.a", b"security.capability"]), st.binary(max_size=40), min_size=1))
    return entry, content


def source(entries: list[tuple[Entry, bytes]]) -> Source:
    for entry, content in entries:
        yield entry, Made(entry, content).take if entry.kind == tar.FILE else nothing


def described(entry: Entry) -> tuple[Any, ...]:
    name = entry.name.rstrip(b"/")
    return name, entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime, entry.link, entry.real_size, entry.xattrs or None


def stored(entry: Entry, data: bytes) -> dict[int, int]:
    """The bytes that are not zero, by their place."""
    found: dict[int, int] = {}
    at = 0
    for offset, length in [(0, entry.size)] if entry.parts is None else entry.parts:
        found |= {offset + place: byte for place, byte in enumerate(data[at : at + length]) if byte}
        at += length
    return found


@given(st.lists(made(), max_size=4))
@settings(max_examples=150)
def test_what_is_written_is_read(entries: list[tuple[Entry, bytes]]) -> None:
    small = [(entry, content) for entry, content in entries if entry.real_size - len(content) >= 1 << 16 or entry.real_size == len(content)]
    expected = [(described(entry), stored(entry, content)) for entry, content in small]
    data = b"".join(archive(source(small)))
    assert len(data) % 512 == 0
    read = []
    for entry, take in members(io.BytesIO(data), "it"):
        content = b"".join(bytes(piece) for piece in take(entry.size))
        read.append((described(entry), stored(entry, content)))
    assert read == expected


def test_small_holes_are_zeros() -> None:
    entry = Entry(b"f", tar.FILE, 0o644, 0, 0, 0, 0, b"", 0)
    entry.real_size = 10_000
    set_parts(entry, [(4096, 3)])
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive(source([(entry, b"abc")]))))) as found:
        (member,) = found
        assert not member.issparse()
        content = found.extractfile(member)
        assert content is not None
        assert content.read() == bytes(4096) + b"abc" + bytes(10_000 - 4099)


@pytest.mark.parametrize("parts", [[], [(0, 512)], [(1 << 30, 3)], [(1024, 1024), (1 << 20, 512), (1 << 30, 3)]])
def test_other_readers_know_the_holes(tmp_path: Path, parts: list[tuple[int, int]]) -> None:
    entry = Entry("höle".encode(), tar.FILE, 0o640, 5, 6, 0, 1000, b"", 0)
    entry.real_size = (1 << 30) + 3
    set_parts(entry, parts)
    data = random.Random(1).randbytes(sum(length for _, length in parts))
    (tmp_path / "t.tar").write_bytes(b"".join(archive(source([(entry, data)]))))
    assert (tmp_path / "t.tar").stat().st_size < 20_000
    with tarfile.open(tmp_path / "t.tar") as found:
        (member,) = found
        assert (member.name, member.size, member.uid, member.mode) == ("höle", (1 << 30) + 3, 5, 0o640)
    subprocess.run(["tar", "-xf", "t.tar", "--no-same-owner"], cwd=tmp_path, check=True)
    assert (tmp_path / "höle").stat().st_size == (1 << 30) + 3
    with (tmp_path / "höle").open("rb") as file:
        read = b""
        for offset, length in parts:
            file.seek(offset)
            read += file.read(length)
    assert read == data


def test_an_empty_source_is_an_archive() -> None:
    assert b"".join(archive(iter(()))) == bytes(1024)
