"""The tar reader against the standard library on valid archives, and against anything at all on others."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estiba.errors import DataLoss, NotImplemented
from estiba.store.layers.tar import TarReader
from tests.support.tars import END, member, pax

NAMES = st.text(st.characters(blacklist_characters="\0\n", blacklist_categories=["Cs"]), min_size=1, max_size=150).map(
    lambda t: t.strip("/") or "x"
)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
MEMBERS = st.lists(
    st.tuples(NAMES, KINDS, st.binary(max_size=1500), st.integers(0, 0o7777), st.integers(0, 1 << 31), st.integers(0, 1 << 34), NAMES),
    max_size=6,
)
FORMS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@settings(max_examples=300)
@given(MEMBERS, FORMS, st.integers(1, 5000))
def test_valid_archives_read_as_the_standard_library_reads_them(
    members: list[tuple[str, bytes, bytes, int, int, int, str]], form: int, size: int
) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form, errors="surrogateescape") as tar:
        for name, kind, content, mode, uid, mtime, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.mtime = kind, mode, uid, mtime
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = link
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    target.seek(0)
    expected = []
    with tarfile.open(fileobj=target, errors="surrogateescape") as other:
        for info in other:
            file = other.extractfile(info) if info.isreg() else None
            expected.append((info.name, info.type, info.mode, info.uid, info.mtime, info.linkname, file.read() if file else b""))
    source = io.BytesIO(target.getvalue())
    literals: list[bytes] = []
    reader = TarReader(lambda: source.read(size), literal=lambda piece: literals.append(bytes(piece)))
    got = []
    for entry in reader:
        name = entry.name.decode("utf-8", "surrogateescape").rstrip("/")
        content = bytes(reader.content())
        literals.append(content)
        got.append((name, bytes((entry.kind,)), entry.mode, entry.uid, entry.mtime, entry.link.decode("utf-8", "surrogateescape"), content))
    assert [(e[0].rstrip("/"), *e[1:]) for e in expected] == got
    assert b"".join(literals) == target.getvalue()


BASES = [
    member(b"a", b"content") + pax([(b"path", b"b" * 120), (b"mtime", b"1.5")]) + member(b"b", b"x" * 600) + END,
    pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"90")]) + member(b"s", b"1\n0\n3\n".ljust(512, b"\0") + b"abc") + END,
    member(b"././@LongLink", b"n" * 130 + b"\0", kind=b"L") + member(b"n", b"") + END,
]  # fmt: skip


@settings(max_examples=600)
@given(
    st.sampled_from(BASES), st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=12)), max_size=4), st.integers(0, 4000)
)
def test_damaged_archives_end_in_an_error_or_read_whole(base: bytes, edits: list[tuple[int, bytes]], cut: int) -> None:
    """No other exception, no endless loop, never backwards, and every byte accounted for when it is accepted."""
    data = bytearray(base)
    for position, patch in edits:
        position %= len(data)
        data[position : position + len(patch)] = patch
    data = data[: len(data) - cut % 700] if cut > 3300 else data
    source = io.BytesIO(bytes(data))
    literals: list[bytes] = []
    reader = TarReader(lambda: source.read(333), literal=lambda piece: literals.append(bytes(piece)))
    last = -1
    try:
        for entry in reader:
            assert entry.offset > last
            last = entry.offset
    except (DataLoss, NotImplemented) as error:
        assert "offset" in error.message
        assert error.message.isprintable()
        return
    assert b"".join(literals) == bytes(data)


def test_fuzzing_by_coverage_finds_nothing(tmp_path: Path) -> None:
    """Atheris, from the archives above, for some seconds; a longer run is `python tests/fuzz/fuzz_tar.py -max_total_time=600 CORPUS`."""
    if sys.version_info >= (3, 14):
        pytest.skip("atheris has no wheel for this Python yet")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, base in enumerate(BASES):
        (corpus / str(number)).write_bytes(base)
    harness = Path(__file__).parents[1] / "fuzz/fuzz_tar.py"
    command = [
        sys.executable,
        str(harness),
        "-max_total_time=8",
        "-max_len=8192",
        "-timeout=10",
        f"-artifact_prefix={tmp_path}/",
        str(corpus),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr
