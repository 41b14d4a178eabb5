"""Compressed archives: every format, cut, damaged, joined, padded, and a bomb. The tools themselves make the input."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator

import pytest

from estiba.engine.compression import inflate
from estiba.errors import DataLoss, ResourceExhausted

CONTENT = random.Random(1).randbytes(1 << 20) + bytes(1 << 20)
COMMANDS = {"gzip": ["gzip", "-c"], "bzip2": ["bzip2", "-c"], "xz": ["xz", "-c1"], "zstd": ["zstd", "-cq"], "plain": ["cat"]}


def packed(name: str, content: bytes = CONTENT) -> bytes:
    if name == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(content)
    return subprocess.run(COMMANDS[name], input=content, capture_output=True, check=True).stdout


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def unpacked(data: bytes, size: int = 65536, budget: int = 1 << 40) -> bytes:
    return b"".join(inflate(chunks(data, size), "it", budget))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("size", [7, 65536, 1 << 30])
def test_round_trip(name: str, size: int) -> None:
    content = CONTENT[-(1 << 20) - 50000 :] if size == 7 else CONTENT
    assert unpacked(packed(name, content), size) == content


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_two_streams_are_one(name: str) -> None:
    assert unpacked(packed(name, b"first ") + packed(name, b"second")) == b"first second"
    assert unpacked(packed(name, b"first ") + packed(name, b"second"), 1) == b"first second"


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
@pytest.mark.parametrize("part", [0.001, 0.5, 0.9999])
def test_cut(name: str, part: float) -> None:
    data = packed(name)
    with pytest.raises(DataLoss, match="cut short"):
        unpacked(data[: max(6, int(len(data) * part))])


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_rubbish_behind(name: str) -> None:
    with pytest.raises(DataLoss, match=r"damaged|cut short"):
        unpacked(packed(name) + b"rubbish")


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_padding_behind(name: str) -> None:
    assert unpacked(packed(name, b"text") + bytes(1000), 50) == b"text"


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_flipped_byte(name: str) -> None:
    data = bytearray(packed(name))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(DataLoss):
        unpacked(bytes(data))


@pytest.mark.parametrize("name", COMMANDS)
def test_budget(name: str) -> None:
    with pytest.raises(ResourceExhausted, match="more than 1000000 bytes"):
        unpacked(packed(name), budget=1_000_000)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_pieces_are_bounded(name: str) -> None:
    zeros = packed(name, bytes(64 << 20))
    assert max(len(piece) for piece in inflate(iter([zeros]), "it", 1 << 40)) <= 32 << 20
