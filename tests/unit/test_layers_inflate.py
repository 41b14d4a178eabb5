"""Decompression: members and frames, damage, bombs, digests."""

from __future__ import annotations

import bz2
import hashlib
import lzma

import pytest
import zstandard

from estiba.errors import DataLoss, NotImplemented, ResourceExhausted
from estiba.store.layers.inflate import Inflater, compression_of, inflate
from tests.support.tars import chunks, gz

DATA = b"".join(b"%d line\n" % number for number in range(100_000))


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
STREAMS = {
    "gzip": gz(DATA),
    "gzip, two members": gz(DATA[:5000]) + gz(DATA[5000:]),
    "zstd": zstd(DATA),
    "zstd, frames": zstd(DATA[:100]) + SKIPPABLE + zstd(DATA[100:]) + SKIPPABLE,
    "xz": lzma.compress(DATA),
    "xz, two streams": lzma.compress(DATA[:100]) + bytes(4) + lzma.compress(DATA[100:]),
    "bzip2": bz2.compress(DATA),
    "none": DATA,
}


@pytest.mark.parametrize("size", [1, 1000, 1 << 22])
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_it_inflates_whatever_the_first_bytes_say(stream: bytes, size: int) -> None:
    if size == 1:
        stream = stream[:200] + stream[200:]
    pieces = list(inflate(chunks(stream, size if size > 1 else 7), "detect"))
    assert b"".join(pieces) == DATA
    assert max(map(len, pieces)) <= 1 << 18


@pytest.mark.parametrize("name", ["gzip", "bzip2", "zstd", "xz"])
def test_cut_streams_are_refused(name: str) -> None:
    stream = STREAMS[name]
    for end in (len(stream) - 1, len(stream) // 2, 20):
        with pytest.raises(DataLoss, match="cut short"):
            list(inflate(chunks(stream[:end], 100), name))


@pytest.mark.parametrize("name", ["gzip", "bzip2", "zstd", "xz"])
def test_damage_is_refused(name: str) -> None:
    stream = bytearray(STREAMS[name])
    stream[-6 if name == "gzip" else len(stream) // 2] ^= 0x55
    with pytest.raises(DataLoss):
        list(inflate(chunks(bytes(stream)), name))


def test_zeros_behind_a_layer_are_refused_and_behind_an_archive_are_not() -> None:
    stream = STREAMS["gzip"] + bytes(600)
    with pytest.raises(DataLoss):
        list(inflate([stream], "gzip"))
    assert b"".join(inflate([stream, bytes(9), STREAMS["gzip"]], "gzip", padding=True)) == DATA + DATA


def test_a_gzip_checksum_that_does_not_fit_is_refused() -> None:
    stream = bytearray(STREAMS["gzip"])
    stream[-8] ^= 1
    with pytest.raises(DataLoss, match="damaged gzip"):
        list(inflate([bytes(stream)], "gzip"))


@pytest.mark.parametrize("name", ["gzip", "bzip2", "zstd", "xz"])
def test_bytes_behind_the_stream_are_refused(name: str) -> None:
    with pytest.raises(DataLoss):
        list(inflate([STREAMS[name] + b"garbage garbage garbage"], name))


def test_a_zstd_window_of_gibibytes_is_refused() -> None:
    """Frame header (RFC 8878, 3.1.1.1): no single segment, window descriptor 2^31, then an empty last block."""
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes((21 << 3,)) + b"\x01\x00\x00"
    with pytest.raises(DataLoss, match="zstd"):
        list(inflate([frame], "zstd"))


def test_it_hands_over_data_and_digest() -> None:
    stream = Inflater(chunks(STREAMS["gzip"]), "gzip", budget=len(DATA), what="unpack x")
    got = b""
    while piece := stream.read():
        got += piece
    assert got == DATA
    assert stream.finish() == "sha256:" + hashlib.sha256(DATA).hexdigest()
    assert stream.read() == b"", "the end stays the end"


@pytest.mark.parametrize("compress", [gz, zstd, lzma.compress], ids=["gzip", "zstd", "xz"])
def test_bombs_stop_at_the_budget(compress: object) -> None:
    assert callable(compress)
    bomb = compress(bytes(80 << 20))
    assert len(bomb) < 2 << 20
    stream = Inflater([bomb], "detect", budget=10 << 20, what="unpack layer x")
    with pytest.raises(ResourceExhausted, match="10485760 bytes") as caught:
        while stream.read():
            pass
    assert "unpack-max-bytes" in str(caught.value.hint)
    assert stream.size < 50 << 20, "the rest was never made"


def test_data_behind_the_archive_is_refused_at_the_end() -> None:
    with pytest.raises(DataLoss, match="data after the end"):
        Inflater(chunks(DATA), "none", budget=1 << 30, what="x").finish()


def test_media_types() -> None:
    assert compression_of("application/vnd.oci.image.layer.v1.tar+zstd") == "zstd"
    assert compression_of("application/vnd.docker.image.rootfs.diff.tar.gzip") == "gzip"
    with pytest.raises(NotImplemented, match="encrypted"):
        compression_of("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
