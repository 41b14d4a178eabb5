"""The split file, the records and layer.json: what is written is what is read."""

from __future__ import annotations

import io

import pytest
import zstandard

from estiba.errors import DataLoss
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import parse_digest
from estiba.plan import ops
from estiba.plan.encode import encode_op
from estiba.store.layers import records
from estiba.store.layers.info import LayerBlob, LayerInfo, parse_info
from estiba.store.layers.split import Part, SplitWriter, read_split
from tests.support.tars import diff_id

META = (0o4755, 1000, 2000, -5, 999_999_999)


@pytest.mark.parametrize(
    ("packed", "op"),
    [
        (records.layer(b"layer-1", 1 << 40, 9), ops.unpack_layer("layer-1", 1 << 40, 9)),
        (records.directory(b"a/b"), ops.unpack_directory("a/b")),
        (records.file_head(b"a", META, 3) + b"xyz", ops.unpack_file("a", *META, b"xyz")),
        (records.open_file(b""), ops.unpack_open("")),
        (records.data_head(1 << 33, 2) + b"ab", ops.unpack_data(1 << 33, b"ab")),
        (records.close_file(7, META), ops.unpack_close(7, *META)),
        (records.known(b"a", b"k"), ops.unpack_known("a", "k")),
        (records.share(b"a", b"k"), ops.unpack_share("a", "k")),
        (records.link(b"a", b"b"), ops.unpack_link("a", "b")),
        (records.symlink(b"a", b"b", META), ops.unpack_symlink("a", "b", *META[1:])),
        (records.fifo(b"a", META), ops.unpack_fifo("a", *META)),
        (records.whiteout(b"a"), ops.unpack_whiteout("a")),
        (records.xattr(b"a", b"user.x", b"\0v"), ops.unpack_xattr("a", "user.x", b"\0v")),
        (records.attributes_of(b"a", META), ops.unpack_attributes("a", *META)),
        (records.erase(b"a", is_directory=True), ops.unpack_erase("a", 1)),
        (records.keep(b"a", 7), ops.unpack_keep("a", 7)),
        (records.sync(), ops.unpack_sync()),
        (records.read(b"fs/a", 1, 2), ops.unpack_read("fs/a", 1, 2)),
        (records.stat(b"fs/a"), ops.unpack_stat("fs/a")),
    ],
)
def test_records_are_what_the_encoder_makes(packed: bytes, op: ops.Op) -> None:
    assert packed == encode_op(op)


def written() -> bytes:
    file = io.BytesIO()
    split = SplitWriter(file)
    split.literal(b"header")
    split.literal(memoryview(b"more"))
    split.file(b"a/b", 3, 0, 5, 77)
    split.file(b"a/b", 3, 10, 1 << 40, 78)
    split.literal(b"z" * (9 << 20))
    split.finish()
    return file.getvalue()


def test_a_split_reads_back() -> None:
    found = list(read_split(io.BytesIO(written()), "layer x"))
    parts = [(part.path, part.member, part.offset, part.size, part.crc) for part in found if isinstance(part, Part)]
    assert parts == [(b"a/b", 3, 0, 5, 77), (b"a/b", 3, 10, 1 << 40, 78)]
    literals = [piece for piece in found if isinstance(piece, bytes)]
    assert literals[0] == b"headermore"
    assert b"".join(literals[1:]) == b"z" * (9 << 20)


def test_a_damaged_split_is_refused() -> None:
    good = written()
    for bad in (good[: len(good) // 2], b"", good[:40] + bytes((good[40] ^ 1,)) + good[41:], zstandard.compress(b"something else")):
        with pytest.raises(DataLoss, match="layer x: its split file is damaged"):
            list(read_split(io.BytesIO(bad), "layer x"))


def test_layer_json() -> None:
    info = LayerInfo(diff_id(b"x"))
    info.size, info.files, info.shared_bytes, info.tar_size, info.squashed = 1, 2, 3, 4, True
    digest = parse_digest("sha256:" + "0" * 64)
    info.blobs = [LayerBlob(digest, 5, Descriptor("application/x", digest, 5).media_type, "host:5000/name")]
    info.not_made = {"device nodes": (2, "'dev/null'")}
    info.highest_uid, info.kept = (70000, "'a'"), frozenset((1, 1 << 40))
    again = parse_info(info.to_json(), info.diff_id, "layer x")
    assert again.to_json() == info.to_json()
    with pytest.raises(DataLoss, match="of another layer"):
        parse_info(info.to_json(), diff_id(b"y"), "layer x")
    with pytest.raises(DataLoss, match="squashed"):
        parse_info(info.to_json().replace(b'"squashed":true', b'"squashed":1'), info.diff_id, "layer x")
