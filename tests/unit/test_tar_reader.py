"""The strict tar reader: what it reads, and what it refuses where others stop silently or guess (bad inputs 24-29)."""

from __future__ import annotations

import io
import re
import tarfile

import pytest

from estiba.errors import DataLoss, NotImplemented
from estiba.store.layers import tar
from estiba.store.layers.tar import Entry, TarReader
from tests.support.tars import END, archive, header, member, pax, tree_of


def read(data: bytes, size: int = 700) -> list[tuple[Entry, bytes]]:
    """Everything in an archive, handed over in pieces that fit no boundary; also that no byte is lost on the way."""
    source = io.BytesIO(data)
    parts: list[bytes] = []
    reader = TarReader(lambda: source.read(size), what="layer x", literal=lambda piece: parts.append(bytes(piece)))
    found = []
    for entry in reader:
        content = bytes(reader.content())
        parts.append(content)
        found.append((entry, content))
    assert b"".join(parts) == data
    return found


def names(data: bytes) -> list[bytes]:
    return [entry.name for entry, _ in read(data)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("size", [1, 511, 513, 1 << 20])
def test_it_reads_what_the_standard_library_writes(form: int, size: int) -> None:
    deep = "/".join(["a" * 60] * 3)
    files = {"one": b"1", f"{deep}/file": b"x" * 5000, "dir/empty": b""}
    if form != tarfile.USTAR_FORMAT:
        files["é" * 120 + "/ü"] = b"unicode"
    data = tree_of(files, form=form)
    source = io.BytesIO(data)
    with tarfile.open(fileobj=source) as other:
        expected = [(m.name, m.size, m.mode, m.mtime, m.type) for m in other]
    got = [(e.name.decode().rstrip("/"), e.size, e.mode, e.mtime, bytes((e.kind,))) for e, _ in read(data, size)]
    assert got == expected


def test_all_kinds_of_members() -> None:
    data = archive(
        header(b"d/", kind=b"5", mode=0o1777, uid=7, gid=8),
        header(b"s", kind=b"2", link=b"../target"),
        header(b"h", kind=b"1", link=b"f"),
        header(b"c", kind=b"3"),
        header(b"b", kind=b"4"),
        header(b"p", kind=b"6"),
        member(b"old", b"v7", kind=b"\0", magic=b"\0" * 8),
        header(b"olddir/", kind=b"\0", magic=b"\0" * 8),
        member(b"contiguous", b"c", kind=b"7"),
    )
    kinds = {entry.name: entry.kind for entry, _ in read(data)}
    assert kinds == {
        b"d/": tar.DIRECTORY, b"s": tar.SYMLINK, b"h": tar.HARD_LINK, b"c": tar.CHARACTER, b"b": tar.BLOCK, b"p": tar.FIFO,
        b"old": tar.FILE, b"olddir/": tar.DIRECTORY, b"contiguous": tar.FILE,
    }  # fmt: skip
    first = read(data)[0][0]
    assert (first.mode, first.uid, first.gid, first.offset) == (0o1777, 7, 8, 0)


def test_numbers() -> None:
    big = (0x80 << 88 | 3_000_000_000).to_bytes(12, "big")
    negative = (-5).to_bytes(12, "big", signed=True)
    entry = read(archive(header(uid=b"    17 ", gid=b"\x80" + (4_000_000_000).to_bytes(7, "big"), mtime=negative)))[0][0]
    assert (entry.uid, entry.gid, entry.mtime) == (0o17, 4_000_000_000, -5)
    assert read(archive(header(mtime=big)))[0][0].mtime == 3_000_000_000


def test_ustar_and_star_prefixes() -> None:
    star = bytes(32 + 32 + 16) + b"pre".ljust(131, b"\0") + b"00000000000 00000000000 " + bytes(8) + b"tar\0"
    assert names(archive(header(b"n", prefix=b"long/prefix"), header(b"n", rest=star))) == [b"long/prefix/n", b"pre/n"]
    # GNU keeps times where ustar has the prefix.
    assert names(archive(header(b"n", prefix=b"12345670123", magic=b"ustar  \0"))) == [b"n"]


def test_pax_records() -> None:
    records = [
        (b"path", b"\xff" * 300), (b"uid", b"70000"), (b"gid", b"80000"), (b"mtime", b"1700000000.123456789123"),
        (b"SCHILY.xattr.user.a", b"x\0y=\n"), (b"SCHILY.xattr.security.capability", b""), (b"comment", b"\xff\0"),
    ]  # fmt: skip
    entry, content = read(archive(pax(records) + member(b"short", b"abc")))[0]
    assert content == b"abc"
    assert (entry.name, entry.uid, entry.gid, entry.mtime, entry.nanoseconds) == (b"\xff" * 300, 70000, 80000, 1_700_000_000, 123456789)
    assert entry.xattrs == {b"user.a": b"x\0y=\n", b"security.capability": b""}
    assert entry.offset == 0


def test_pax_times_before_1970_and_a_size_beyond_octal() -> None:
    entry = read(archive(pax([(b"mtime", b"-1.25")]) + member()))[0][0]
    assert (entry.mtime, entry.nanoseconds) == (-2, 750_000_000)
    entry, content = read(archive(pax([(b"size", b"3")]) + header(b"f", size=b"garbage") + b"abc" + bytes(509)))[0]
    assert content == b"abc"


def test_gnu_long_names() -> None:
    long = b"n" * 200
    data = archive(member(b"././@LongLink", long + b"\0", kind=b"L"), member(b"././@LongLink", b"t" * 150, kind=b"K"), header(kind=b"2", link=b"x"))
    entry = read(data)[0][0]
    assert (entry.name, entry.link) == (long, b"t" * 150)


def test_a_global_header_with_a_comment_is_skipped() -> None:
    assert names(archive(pax([(b"comment", b"commit 1234")], kind=b"g"), member(b"a"))) == [b"a"]


def test_content_that_is_not_taken_is_skipped() -> None:
    data = archive(member(b"a", b"x" * 3000), member(b"b", b"y"))
    source = io.BytesIO(data)
    literals: list[bytes] = []
    reader = TarReader(lambda: source.read(100), literal=lambda piece: literals.append(bytes(piece)))
    assert [entry.name for entry in reader] == [b"a", b"b"]
    assert b"".join(literals) == data


def test_the_end() -> None:
    body = member(b"a", b"data")
    assert names(body + END) == [b"a"]
    assert names(body + bytes(10240)) == [b"a"]
    assert names(body) == [b"a"], "no end blocks, but the stream ends exactly (as Go)"
    assert names(body + bytes(512)) == [b"a"]
    assert names(body[:516]) == [b"a"], "and without the padding"
    assert names(b"") == []


# --- refused -------------------------------------------------------------------------------------------------------------

TWO = member(b"a", b"first") + member(b"b", b"second")


def sparse_1_0(map_text: bytes, content: bytes, realsize: bytes) -> bytes:
    keys = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"s"), (b"GNU.sparse.realsize", realsize)]
    block = map_text + bytes(-len(map_text) % 512)
    return pax(keys) + member(b"GNUSparseFile.0/s", block + content)


BAD = {
    "checksum": (TWO[:1024] + b"X" + TWO[1025:] + END, "offset 1024.*bad checksum"),
    "checksum field": (TWO[:1024 + 148] + b"zz" + TWO[1024 + 150:] + END, "offset 1024.*bad checksum"),
    "cut in header": (TWO[:1300], "offset 1300.*truncated in a header"),
    "cut in data": (TWO[:1538], "offset 1538.*truncated in a member's content"),
    "cut in padding": (TWO[:600], "truncated in padding"),
    "data after the end": (TWO + END + TWO, "offset 3072.*data after the end"),
    "data after one zero block": (TWO + bytes(512) + TWO, "data after the end"),
    "one byte in the last record": (TWO + END + bytes(700) + b"\1", "data after the end"),
    "pax size -512": (archive(pax([(b"size", b"-512")]) + member()), "'-512' is not a decimal"),
    "pax size abc": (archive(pax([(b"size", b"abc")]) + member()), "'abc' is not a decimal"),
    "pax size with a blank": (archive(pax([(b"size", b" 5")]) + member()), "' 5' is not a decimal"),
    "pax size in Arabic digits": (archive(pax([(b"size", "٣".encode())]) + member()), "is not a decimal"),
    "pax size with underscore": (archive(pax([(b"size", b"1_0")]) + member()), "is not a decimal"),
    "pax size 2^63": (archive(pax([(b"size", b"9223372036854775808")]) + member()), "out of range"),
    "pax uid +1": (archive(pax([(b"uid", b"+1")]) + member()), "is not a decimal"),
    "pax mtime 1e3": (archive(pax([(b"mtime", b"1e3")]) + member()), "is not a decimal"),
    "pax mtime nan": (archive(pax([(b"mtime", b"nan")]) + member()), "is not a decimal"),
    "pax mtime 1.-2": (archive(pax([(b"mtime", b"1.-2")]) + member()), "is not a time"),
    "pax record without =": (archive(member(b"x", b"6 abc\n", kind=b"x") + member()), "not key=value"),
    "pax record too long": (archive(member(b"x", b"99 a=b\n", kind=b"x") + member()), "length is wrong"),
    "pax record too short": (archive(member(b"x", b"3 a=b\n", kind=b"x") + member()), "length is wrong"),
    "pax record length 0": (archive(member(b"x", b"0 a=b\n", kind=b"x") + member()), "length is wrong"),
    "pax record without newline": (archive(member(b"x", b"6 a=b ", kind=b"x") + member()), "length is wrong"),
    "pax NUL in path": (archive(pax([(b"path", b"a\0b")]) + member()), "a NUL in its name"),
    "pax NUL in linkpath": (archive(pax([(b"linkpath", b"a\0b")]) + header(kind=b"2")), "a NUL in its name"),
    "pax NUL in a sparse name": (archive(pax([(b"GNU.sparse.name", b"a\0b"), (b"GNU.sparse.size", b"0"), (b"GNU.sparse.map", b"")]) + member()), "a NUL"),
    "pax xattr without a name": (archive(pax([(b"SCHILY.xattr.", b"x")]) + member()), "attribute named ''"),
    "pax header of 6 GiB": (header(b"x", kind=b"x", size=6 << 30) + END, "6442450944 bytes, the limit is 1048576"),
    "GNU name of 2 MiB": (header(b"x", kind=b"L", size=2 << 20) + END, "2097152 bytes, the limit"),
    "negative size": (archive(header(size=(-512).to_bytes(12, "big", signed=True))), "a negative size"),
    "size beyond 2^63": (archive(header(size=b"\x80" + b"\xff" * 11)), "out of range"),
    "size in hexadecimal": (archive(header(size=b"0x1f")), "is not octal"),
    "size with digit 9": (archive(header(size=b"00000000009")), "is not octal"),
    "size 1_0": (archive(header(size=b"1_0")), "is not octal"),
    "fifo with content": (archive(header(kind=b"6", size=5) + bytes(512)), "special file with 5 bytes"),
    "symlink with content": (archive(header(kind=b"2", size=5, link=b"t") + bytes(512)), "special file with 5 bytes"),
    "two pax headers": (archive(pax([(b"path", b"a")]) + pax([(b"path", b"b")]) + member()), "two extended headers"),
    "pax and GNU name": (archive(pax([(b"path", b"a")]) + member(b"L", b"b", kind=b"L") + member()), "a pax and a GNU name"),
    "pax header at the end": (archive(member(), pax([(b"path", b"a")])), "without a member"),
    "global path": (archive(pax([(b"path", b"a")], kind=b"g") + member()), "global extended header that sets 'path'"),
    "global xattr": (archive(pax([(b"SCHILY.xattr.user.a", b"a")], kind=b"g") + member()), "global extended header"),
    "sparse 9.9": (archive(pax([(b"GNU.sparse.major", b"9"), (b"GNU.sparse.minor", b"9"), (b"GNU.sparse.realsize", b"5")]) + member()), "sparse format '9'.'9'"),
    "star sparse": (archive(pax([(b"SCHILY.realsize", b"99")]) + member()), "'SCHILY.realsize' is not supported"),
    "sparse overlap": (archive(sparse_1_0(b"2\n0\n5\n3\n5\n", b"x" * 10, b"100")), "overlap"),
    "sparse beyond the file": (archive(sparse_1_0(b"1\n95\n10\n", b"x" * 10, b"100")), "overlap or leave"),
    "sparse map too short": (archive(sparse_1_0(b"1\n0\n5\n", b"x" * 10, b"100")), "5 bytes over 10 stored"),
    "sparse map huge": (archive(sparse_1_0(b"99999999\n", b"", b"100")), "more than 65536 parts"),
    "sparse map not a number": (archive(sparse_1_0(b"one\n", b"", b"100")), "is not a decimal"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "cause"), BAD.values(), ids=BAD.keys())
def test_refused(data: bytes, cause: str) -> None:
    with pytest.raises(DataLoss) as caught:
        read(data)
    assert re.search(cause, caught.value.message), caught.value.message
    assert caught.value.message.startswith("cannot read layer x (offset ")


@pytest.mark.parametrize(
    ("kind", "name"),
    [(b"M", "multi-volume"), (b"V", "volume header"), (b"D", "dump directory"), (b"N", "long name"), (b"Z", "unknown type 'Z'"), (b"\n", r"'\\n'")],
)
def test_unsupported_types_are_refused_by_name(kind: bytes, name: str) -> None:
    with pytest.raises(NotImplemented, match=name):
        read(archive(member(b"a", b"x"), header(b"odd", kind=kind)))


def test_the_standard_library_ends_silently_where_this_reader_stops() -> None:
    """The reason for this reader (P1): if this ever fails, the standard one has learnt it."""
    data = TWO[:1024] + b"X" + TWO[1025:] + END
    with tarfile.open(fileobj=io.BytesIO(data)) as other:
        assert other.getnames() == ["a"]


def test_signed_checksums_of_old_writers() -> None:
    block = bytearray(header(b"\xe9t\xe9"))
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in block)
    assert names(archive(bytes(block))) == [b"\xe9t\xe9"]


# --- sparse --------------------------------------------------------------------------------------------------------------


def test_sparse_1_0() -> None:
    entry, content = read(archive(sparse_1_0(b"2\n0\n3\n90\n4\n", b"abcwxyz", b"100")))[0]
    assert (entry.name, entry.real_size, entry.parts, content) == (b"s", 100, [(0, 3), (90, 4)], b"abcwxyz")


@pytest.mark.parametrize(
    "keys",
    [
        [(b"GNU.sparse.size", b"50"), (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.offset", b"10"), (b"GNU.sparse.numbytes", b"3")],
        [(b"GNU.sparse.size", b"50"), (b"GNU.sparse.name", b"s"), (b"GNU.sparse.map", b"10,3")],
    ],
    ids=["0.0", "0.1"],
)
def test_sparse_0(keys: list[tuple[bytes, bytes]]) -> None:
    entry, content = read(archive(pax(keys) + member(b"s", b"abc")))[0]
    assert (entry.name, entry.real_size, entry.parts, content) == (b"s", 50, [(10, 3)], b"abc")


def pair(offset: int, length: int) -> bytes:
    return b"%011o\0%011o\0" % (offset, length)


def gnu_256(number: int) -> bytes:
    return number.to_bytes(12, "big", signed=True)


@pytest.mark.parametrize(
    ("map_fields", "real_size"),
    [(bytes(96), gnu_256(-5)), ((pair(0, 0)[:12] + gnu_256(-3)).ljust(96, b"\0"), pair(50, 0)[:12]), ((gnu_256(-9) + gnu_256(0)).ljust(96, b"\0"), pair(50, 0)[:12])],
    ids=["size", "length", "offset"],
)  # fmt: skip
def test_negative_numbers_in_sparse_maps_are_refused(map_fields: bytes, real_size: bytes) -> None:
    rest = bytes(386 - 265) + map_fields + b"\0" + real_size
    with pytest.raises(DataLoss, match="sparse"):
        read(archive(header(b"s", kind=b"S", magic=b"ustar  \0", rest=rest)))


def test_old_gnu_sparse_with_an_extension_block() -> None:
    # Fields of the old GNU header: atime, ctime, offset, longnames and a pad before the map at 386.
    first = bytes(386 - 265) + b"".join(pair(10 * i, 1) for i in range(4)) + b"\1" + b"%011o\0" % 200
    extension = (pair(40, 1) + pair(100, 2)).ljust(504, b"\0") + bytes(8)
    data = archive(header(b"s", kind=b"S", size=7, magic=b"ustar  \0", rest=first) + extension + b"abcdefg" + bytes(505))
    entry, content = read(data)[0]
    assert entry.parts == [(0, 1), (10, 1), (20, 1), (30, 1), (40, 1), (100, 2)]
    assert (entry.kind, entry.real_size, content) == (tar.FILE, 200, b"abcdefg")
