"""Archives as named members: what leads out of them, what is no file, and the twins that show that the rest is read."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from estiba.engine.archives import Archive, LayoutDirectory, TarArchive, open_archive, plain_tar, read_member
from estiba.errors import DataLoss, EstibaError, InvalidArgument, NotFound, ResourceExhausted

Member = tuple[str, bytes, str | bytes]


def make_tar(path: Path, members: list[Member]) -> str:
    with tarfile.open(path, "w") as file:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            data = content if isinstance(content, bytes) else b""
            info.size, info.linkname = len(data), content if isinstance(content, str) else ""
            file.addfile(info, io.BytesIO(data))
    return str(path)


def file(name: str, data: bytes = b"data") -> Member:
    return name, tarfile.REGTYPE, data


def opened(path: str) -> Archive:
    return open_archive(path, os.path.dirname(path), 1 << 30)


def test_members(tmp_path: Path) -> None:
    archive = opened(make_tar(tmp_path / "a", [("./d", tarfile.DIRTYPE, ""), file("./d/one", b"1"), file("two", bytes(700_000))]))
    assert (archive.has("d/one"), archive.has("one"), archive.has("d")) == (True, False, False)
    assert (archive.size("two"), read_member(archive, "d/one")) == (700_000, b"1")
    assert b"".join(archive.chunks("two")) == bytes(700_000)
    with pytest.raises(NotFound, match="'three' is missing"):
        archive.size("three")
    with pytest.raises(DataLoss, match="700000 bytes, the limit is 10"):
        read_member(archive, "two", 10)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([file("../x")], "'../x' lies outside"),
        ([file("a/../../x")], "'a/../../x' lies outside"),
        ([file("/etc/x")], "'/etc/x' lies outside"),
        ([file("x"), file("x")], "'x' is there twice"),
        ([file("x"), ("x", tarfile.SYMTYPE, "y")], "'x' is there twice"),
        ([("pipe", tarfile.FIFOTYPE, "")], "'pipe' is a device or FIFO"),
        ([("null", tarfile.CHRTYPE, "")], "'null' is a device or FIFO"),
    ],
)
def test_refused(tmp_path: Path, members: list[Member], message: str) -> None:
    with pytest.raises(DataLoss, match=message):
        opened(make_tar(tmp_path / "a", [file("ok"), *members]))
    assert opened(make_tar(tmp_path / "b", [file("ok")])).has("ok")


@pytest.mark.parametrize(
    ("name", "kind", "target", "leads"),
    [
        ("a/layer.tar", tarfile.SYMTYPE, "../b/layer.tar", True),
        ("a/layer.tar", tarfile.LNKTYPE, "b/layer.tar", True),
        ("a/layer.tar", tarfile.SYMTYPE, "/etc/passwd", False),
        ("a/layer.tar", tarfile.SYMTYPE, "../../../etc/passwd", False),
        ("a/layer.tar", tarfile.SYMTYPE, "../b", False),
        ("a/layer.tar", tarfile.SYMTYPE, "layer.tar", False),
    ],
)
def test_a_link_leads_to_a_file_of_the_archive_or_nowhere(tmp_path: Path, name: str, kind: bytes, target: str, leads: bool) -> None:
    archive = opened(make_tar(tmp_path / "a", [file("b/layer.tar", b"layer"), (name, kind, target)]))
    if leads:
        assert read_member(archive, name) == b"layer"
    else:
        with pytest.raises(DataLoss, match=r"'a/layer\.tar' is a link to"):
            archive.size(name)


@pytest.mark.parametrize("cut", [100, 700, 1100])
def test_a_cut_archive_is_refused(tmp_path: Path, cut: int) -> None:
    path = Path(make_tar(tmp_path / "a", [file("x", bytes(600))]))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataLoss, match="truncated"):
        opened(str(path))


def test_compressed_and_piped(tmp_path: Path) -> None:
    plain = Path(make_tar(tmp_path / "a", [file("x")])).read_bytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(plain))
    assert opened(str(tmp_path / "a.gz")).has("x")
    reading, writing = os.pipe()
    os.write(writing, gzip.compress(plain))
    os.close(writing)
    with open(reading, "rb", buffering=0) as stream:
        archive = open_archive(stream, str(tmp_path), 1 << 30)
    assert (archive.what, archive.has("x")) == ("standard input", True)
    assert sorted(os.listdir(tmp_path)) == ["a", "a.gz"]  # what a pipe held has no name


def test_budget_of_what_is_kept(tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(10 << 20)))
    with open(tmp_path / "bomb.gz", "rb") as stream, pytest.raises(ResourceExhausted):
        plain_tar(stream.fileno(), "it", str(tmp_path), 1 << 20)


def test_what_is_no_archive(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgument, match="neither a regular file nor a directory"):
        opened(str(tmp_path / "pipe"))  # without a writer: would block if it were waited for
    with pytest.raises(NotFound, match="no such file"):
        opened(str(tmp_path / "none"))
    (tmp_path / "text").write_bytes(b"x" * 2000)
    with pytest.raises(DataLoss, match="bad checksum"):
        opened(str(tmp_path / "text"))


def make_layout(folder: Path, change: Callable[[Path], object]) -> Archive:
    (folder / "blobs/sha256").mkdir(parents=True)
    (folder / "blobs/sha256/aa").write_bytes(b"blob")
    (folder / "index.json").write_bytes(b"{}")
    change(folder)
    return opened(str(folder))


def replaced_by_link(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        os.rename(folder / name, folder.parent / "elsewhere")
        os.symlink(folder.parent / "elsewhere", folder / name)

    return change


def replaced_by_fifo(folder: Path) -> None:
    (folder / "blobs/sha256/aa").unlink()
    os.mkfifo(folder / "blobs/sha256/aa")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("index.json", replaced_by_link("index.json")),
        ("blobs/sha256/aa", replaced_by_link("blobs/sha256/aa")),
        ("blobs/sha256/aa", replaced_by_link("blobs")),
        ("blobs/sha256/aa", replaced_by_fifo),
    ],
)
def test_layout_of_links_and_pipes(tmp_path: Path, name: str, change: Callable[[Path], object]) -> None:
    archive = make_layout(tmp_path / "layout", change)
    with pytest.raises(DataLoss, match=r"not a regular file|not a directory"):
        read_member(archive, name)
    twin = make_layout(tmp_path / "twin", lambda _: None)
    assert isinstance(twin, LayoutDirectory)
    assert (read_member(twin, "index.json"), read_member(twin, "blobs/sha256/aa")) == (b"{}", b"blob")


def test_layout_names(tmp_path: Path) -> None:
    archive = make_layout(tmp_path / "layout", lambda _: None)
    assert not archive.has("blobs/sha256/bb")
    for name in ("../layout/index.json", "/etc/passwd"):
        with pytest.raises(DataLoss, match="lies outside"):
            archive.size(name)


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    good, bad = make_tar(tmp_path / "a", [file("x")]), make_tar(tmp_path / "b", [file("../x")])
    layout = make_layout(tmp_path / "layout", lambda _: None)
    read_member(layout, "index.json")
    layout.close()
    for path in (good, bad):
        try:
            archive = opened(path)
            assert isinstance(archive, TarArchive)
            read_member(archive, "x")
            archive.close()
        except EstibaError:
            continue
    assert os.listdir("/proc/self/fd") == before
