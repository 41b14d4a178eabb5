"""Coverage-guided fuzzing of the tar reader and of the tree that its members make: `python tests/fuzz/fuzz_tar.py -max_total_time=60`.

Whatever the bytes: an archive is read whole, with every byte accounted for, or refused with an estiba error. Each 512-byte block whose
first byte is even gets a right checksum first, so that the fuzzer comes past it.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["estiba.store.layers"]):
    from estiba.errors import DataLoss, NotImplemented
    from estiba.store.layers.pax import Malformed
    from estiba.store.layers.rebuild import _Nobody
    from estiba.store.layers.tar import TarReader
    from estiba.store.layers.tree import Tree, clean


def repaired(data: bytes) -> bytes:
    blocks = []
    for start in range(0, len(data), 512):
        block = bytearray(data[start : start + 512])
        if len(block) == 512 and block[0] % 2 == 0 and any(block):
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
        blocks.append(bytes(block))
    return b"".join(blocks)


def one(data: bytes) -> None:
    archive = repaired(data)
    pieces = iter([archive[start : start + 700] for start in range(0, len(archive), 700)])
    literals: list[bytes] = []
    reader = TarReader(lambda: next(pieces, b""), literal=lambda piece: literals.append(bytes(piece)))
    tree = Tree(_Nobody())
    try:
        for number, entry in enumerate(reader, 1):
            assert entry.size >= 0
            assert entry.real_size >= 0
            try:
                path, _ = tree.enter(entry, number)
            except Malformed:
                continue
            assert clean(path) == path
            assert not path.startswith(b"/")
            assert b".." not in path.split(b"/")
    except (DataLoss, NotImplemented):
        return
    assert b"".join(literals) == archive


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
