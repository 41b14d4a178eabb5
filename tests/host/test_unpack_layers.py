"""Layers through the jail: unpack, share, rebuild, check, remove."""

from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.errors import DataLoss, FailedPrecondition, NotFound, NotImplemented, ResourceExhausted
from estiba.store import layers
from estiba.store.layers import inflate
from tests.support.tars import archive, chunks, diff_id, gz, header, member, pax, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.config.settings import Settings
    from estiba.store.layers import LayerInfo
    from estiba.store.layout import Store


class Bench:
    """A store, and short words for what is done to it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings

    def unpack(self, tar: bytes, *, blob: bytes | None = None, limits: dict[str, int] | None = None) -> LayerInfo:
        settings = self.settings.replace(**limits) if limits else self.settings
        return layers.apply_layer(self.store, settings, diff_id(tar), "", chunks(gz(tar) if blob is None else blob))

    def root(self, tar: bytes) -> Path:
        return Path(self.store.layers, layers.layer_path_name(diff_id(tar)))

    def rebuilt(self, tar: bytes) -> bytes:
        return b"".join(layers.open_tar(self.store, diff_id(tar), self.settings))

    def problems(self, tar: bytes) -> list[str]:
        return layers.verify_layer(self.store, diff_id(tar), self.settings)

    def assert_nothing_is_left(self) -> None:
        for folder in (self.store.layers, self.store.ingest, self.store.trash):
            assert os.listdir(folder) == [], folder

    def shared_names(self) -> list[str]:
        return [name for shelf in os.listdir(self.store.files) for name in os.listdir(f"{self.store.files}/{shelf}")]


@pytest.fixture
def bench(store: Store, settings: Settings) -> Bench:
    return Bench(store, settings)


XATTRS = pax([(b"SCHILY.xattr.user.note", b"hello"), (b"SCHILY.xattr.trusted.x", b"t"), (b"SCHILY.xattr.security.selinux", b"s")])
# VFS_CAP_REVISION_2 | effective, cap_net_raw (capabilities(7), linux/capability.h).
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
EVERYTHING = archive(
    header(b"./", kind=b"5", mode=0o711, mtime=1_500_000_000),
    header(b"bin", kind=b"5", mode=0o755, uid=3, gid=4),
    XATTRS + member(b"bin/tool", b"program", mode=0o4755, uid=1000, gid=2000),
    pax([(b"SCHILY.xattr.security.capability", CAPABILITY)]) + member(b"bin/ping", b"ping", mode=0o755),
    header(b"bin/link", kind=b"2", link=b"/etc/../bin/tool", uid=5, mtime=7),
    header(b"bin/again", kind=b"1", link=b"bin/tool"),
    header(b"run/fifo", kind=b"6", mode=0o620, uid=9),
    header(b"dev/null", kind=b"3"),
    header(b"dev/sda", kind=b"4"),
    header(b"tmp", kind=b"5", mode=0o1777),
    header(b"closed", kind=b"5", mode=0),
    member(b"closed/secret", b"s", mode=0),
    member(b"etc/.wh.gone"),
    member(b"var/.wh..wh..opq"),
    member(b"big", os.urandom(3 << 20)),
    member(b"empty"),
    pax([(b"mtime", b"1600000000.123456789"), (b"path", b"\xff\xfe name with blanks\n")]) + member(b"x", b"odd"),
    member(b"/abs/olute", b"stripped"),
)


def test_everything_that_a_layer_can_hold(bench: Bench) -> None:
    info = bench.unpack(EVERYTHING)
    root = bench.root(EVERYTHING)
    assert stat.S_IMODE(root.stat().st_mode) == 0o711
    assert root.stat().st_mtime == 1_500_000_000
    tool = (root / "bin/tool").stat()
    assert (stat.S_IMODE(tool.st_mode), tool.st_uid, tool.st_gid, tool.st_mtime) == (0o4755, 1000, 2000, 1_700_000_000)
    assert os.getxattr(root / "bin/tool", "user.note") == b"hello"
    assert os.listxattr(root / "bin/tool") == ["user.note"]
    assert (root / "bin/again").stat().st_ino == tool.st_ino
    assert (root / "bin").stat().st_uid == 3
    assert (root / "bin").stat().st_mtime == 1_700_000_000
    link = (root / "bin/link").lstat()
    assert (os.readlink(root / "bin/link"), link.st_uid, link.st_mtime) == ("/etc/../bin/tool", 5, 7)
    assert stat.S_ISFIFO((root / "run/fifo").stat().st_mode)
    assert stat.S_IMODE((root / "run/fifo").stat().st_mode) == 0o620
    assert os.listdir(root / "dev") == []
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((root / "closed").stat().st_mode) == 0
    gone = (root / "etc/gone").stat()
    assert (stat.S_ISCHR(gone.st_mode), gone.st_rdev) == (True, 0)
    assert os.getxattr(root / "var", "user.overlay.opaque") == b"y"
    assert os.listdir(root / "var") == []
    assert (root / os.fsdecode(b"\xff\xfe name with blanks\n")).stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert (root / "abs/olute").read_bytes() == b"stripped"
    assert info.not_made["device nodes"] == (2, "'dev/null'")
    assert set(info.not_made) == {"device nodes", "trusted.* attributes", "security.* attributes"}
    assert info.highest_gid == (2000, "'bin/tool'")
    assert bench.rebuilt(EVERYTHING) == EVERYTHING
    assert bench.problems(EVERYTHING) == []


def test_file_capabilities_are_kept(bench: Bench) -> None:
    bench.unpack(EVERYTHING)
    said = subprocess.run(["getcap", bench.root(EVERYTHING) / "bin/ping"], capture_output=True, text=True, check=True)
    assert said.stdout.split()[1] == "cap_net_raw=ep"


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_compressions(bench: Bench, compression: str) -> None:
    import zstandard

    tar = tree_of({"a/b": b"x" * 100_000})
    blob = {"none": tar, "gzip": gz(tar), "zstd": zstandard.compress(tar)}[compression]
    bench.unpack(tar, blob=blob)
    assert bench.rebuilt(tar) == tar


def test_real_alpine(bench: Bench, alpine_tars: list[bytes]) -> None:
    for tar in alpine_tars:
        bench.unpack(tar)
        assert bench.rebuilt(tar) == tar
        assert bench.problems(tar) == []


@pytest.fixture
def alpine_tars() -> list[bytes]:
    """Alpine's root file systems where they are; else archives with what is in them: links, set-uid, deep names, many files."""
    folder = Path(__file__).parents[3] / "shared/images"
    found = sorted(folder.glob("alpine-minirootfs-*-x86_64.tar.gz"))
    if found:
        return [b"".join(inflate.inflate([path.read_bytes()], "gzip")) for path in found]
    return [tree_of({f"usr/lib/{version}/{number}": os.urandom(number * 37) for number in range(400)}) for version in "ab"]


def test_twenty_thousand_files(bench: Bench) -> None:
    tar = tree_of({f"usr/share/{number % 997}/{number}": b"%d " % number * (number % 50) for number in range(20_000)})
    info = bench.unpack(tar)
    assert info.files == 20_000
    assert info.tar_size == len(tar)
    assert bench.rebuilt(tar) == tar
    assert bench.problems(tar) == []


@pytest.mark.parametrize("target", ["/etc", "../../../../../../etc", "/proc/self/root", "/proc/1/cwd/etc", "..", "/"])
def test_links_of_a_layer_lead_into_the_layer(bench: Bench, target: str) -> None:
    """The file lands where the container will see it; the negative twin is a link with a plain target."""
    marker = f"estiba-test-{os.getpid()}"
    for goal, folder in ((target, None), ("plain", "plain")):
        tar = archive(
            header(b"l", kind=b"2", link=goal.encode()),
            member(b"l/" + marker.encode(), b"inside"),
            header(b"h", kind=b"1", link=b"l/" + marker.encode()),
        )
        bench.unpack(tar)
        found = list(bench.root(tar).rglob(marker))
        assert [path.read_bytes() for path in found] == [b"inside"]
        assert found[0].stat().st_ino == (bench.root(tar) / "h").stat().st_ino
        assert folder is None or found[0].parent.name == folder
        assert bench.rebuilt(tar) == tar
    assert not any(os.path.lexists(f"{place}/{marker}") for place in ("/etc", "/", bench.store.root, bench.store.layers, bench.store.ingest))


def test_a_layer_is_unpacked_once(bench: Bench) -> None:
    tar = tree_of({"a": b"1"})
    bench.unpack(tar)

    class Never:
        def __iter__(self) -> Iterator[bytes]:
            raise AssertionError("asked for the blob of a layer that is there")

    layers.apply_layer(bench.store, bench.settings, diff_id(tar), "", Never())
    assert layers.has_layer(bench.store, diff_id(tar))


def test_the_diff_id_of_an_import_is_found(bench: Bench) -> None:
    tar = tree_of({"a": b"1"})
    for _ in range(2):
        assert layers.import_layer(bench.store, bench.settings, [gz(tar)]).diff_id == diff_id(tar)
    assert os.listdir(bench.store.ingest) == os.listdir(bench.store.trash) == []


def test_sparse_files_have_holes(bench: Bench) -> None:
    keys = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"s"), (b"GNU.sparse.realsize", b"10000000")]
    tar = archive(pax(keys) + member(b"GNUSparseFile.0/s", b"2\n0\n3\n9000000\n4\n".ljust(512, b"\0") + b"abcwxyz"))
    bench.unpack(tar)
    path = bench.root(tar) / "s"
    assert path.stat().st_size == 10_000_000
    assert path.stat().st_blocks * 512 < 100_000
    with path.open("rb") as file:
        assert file.read(4) == b"abc\0"
        file.seek(9_000_000)
        assert file.read(5) == b"wxyz\0"
    assert bench.rebuilt(tar) == tar
    assert bench.problems(tar) == []


# --- duplicates ----------------------------------------------------------------------------------------------------------


def test_duplicates_are_settled_and_the_tar_is_still_exact(bench: Bench) -> None:
    tar = archive(
        member(b"a", b"first content"),
        member(b"a", b"second"),
        member(b"d/x", b"below"),
        header(b"d/l", kind=b"2", link=b"x"),
        member(b"d", b"now a file"),
        member(b"f", b"file"),
        header(b"f", kind=b"5"),
        member(b"f/y", b"y"),
        member(b".wh.w"),
        member(b"w", b"wins"),
        member(b"o/.wh.p"),
        header(b"o/p", kind=b"5"),
        header(b"h", kind=b"1", link=b"a"),
        member(b"a", b"third"),
    )
    info = bench.unpack(tar)
    root = bench.root(tar)
    assert (root / "a").read_bytes() == b"third"
    assert (root / "h").read_bytes() == b"second"
    assert (root / "d").read_bytes() == b"now a file"
    assert (root / "f/y").read_bytes() == b"y"
    assert (root / "w").read_bytes() == b"wins"
    assert os.getxattr(root / "o/p", "user.overlay.opaque") == b"y"
    assert sorted(os.listdir(root.parent / "kept")) == ["1", "2", "3", "6"]
    assert info.kept == frozenset((1, 2, 3, 6))
    assert bench.rebuilt(tar) == tar
    assert bench.problems(tar) == []
    kinds = {path: kind for path, kind, _ in layers.tree_entries(bench.store, diff_id(tar))}
    assert kinds == {
        b"": "directory", b"a": "file", b"d": "file", b"f": "directory", b"f/y": "file", b"h": "file", b"o": "directory", b"o/p": "opaque",
        b"w": "file",
    }  # fmt: skip


# --- sharing -------------------------------------------------------------------------------------------------------------


def test_a_similar_layer_shares_its_files(bench: Bench) -> None:
    files = {f"usr/share/{number % 10}/{number}": b"%d" % number * 200 for number in range(500)}
    first, second = tree_of(files), tree_of(files | {f"usr/share/1/{number}": b"other" for number in range(1, 500, 10)})
    bench.unpack(first)
    info = bench.unpack(second)
    same = [name for name in files if (bench.root(first) / name).stat().st_ino == (bench.root(second) / name).stat().st_ino]
    assert len(same) == 450
    assert info.shared_bytes == sum(len(files[name]) for name in same)
    assert bench.rebuilt(first) == first
    assert bench.rebuilt(second) == second


def test_large_files_are_shared_too(bench: Bench) -> None:
    content = os.urandom(2 << 20)
    first, second = archive(member(b"big", content)), archive(member(b"big", content), member(b"other", b"x"))
    bench.unpack(first)
    bench.unpack(second)
    assert (bench.root(first) / "big").stat().st_ino == (bench.root(second) / "big").stat().st_ino
    assert bench.rebuilt(second) == second


@pytest.mark.parametrize(
    "other",
    [
        member(b"b", b"same"),
        member(b"a", b"same", mode=0o600),
        member(b"a", b"same", uid=1),
        member(b"a", b"same", gid=1),
        member(b"a", b"same", mtime=1),
        member(b"a", b"sam"),
        pax([(b"mtime", b"1700000000.5")]) + member(b"a", b"same"),
        pax([(b"SCHILY.xattr.user.x", b"1")]) + member(b"a", b"same"),
    ],
    ids=["path", "mode", "uid", "gid", "time", "content", "nanoseconds", "attribute"],
)
def test_what_differs_in_path_or_metadata_is_not_shared(bench: Bench, other: bytes) -> None:
    first, second = archive(member(b"a", b"same")), archive(other)
    bench.unpack(first)
    assert bench.unpack(second).shared_bytes == 0
    inodes = {path.stat().st_ino for root in (bench.root(first), bench.root(second)) for path in root.iterdir()}
    assert len(inodes) == 2
    assert len(bench.shared_names()) == 2


def test_equal_files_at_two_paths_of_one_layer_stay_two(bench: Bench) -> None:
    tar = archive(member(b"a", b"same"), member(b"b", b"same"))
    bench.unpack(tar)
    assert (bench.root(tar) / "a").stat().st_ino != (bench.root(tar) / "b").stat().st_ino


def test_a_file_with_all_its_names_used_up_is_copied(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = archive(member(b"a", b"x"))
    bench.unpack(tar)
    monkeypatch.setattr("estiba.store.layers.apply.MAX_NAMES", 2)
    second = archive(member(b"a", b"x"), member(b"b", b"y"))
    assert bench.unpack(second).shared_bytes == 0
    assert bench.rebuilt(second) == second


def test_files_are_shared_whether_their_shelves_are_listed_or_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.unpack(archive(member(b"a", b"x"), member(b"b", b"y")))
    monkeypatch.setattr("estiba.store.layers.apply.MAX_LISTED", 0)
    assert bench.unpack(archive(member(b"a", b"x"), member(b"c", b"y"))).shared_bytes == 1
    monkeypatch.undo()
    assert bench.unpack(archive(member(b"a", b"x"), member(b"c", b"y"), member(b"d", b"z"))).shared_bytes == 2


def test_removing_gives_back_what_no_other_layer_holds(bench: Bench) -> None:
    first, second = tree_of({"same": b"s" * 5000, "one": b"1" * 5000}), tree_of({"same": b"s" * 5000, "two": b"2"})
    bench.unpack(first)
    bench.unpack(second)
    layers.remove_layer(bench.store, diff_id(first))
    assert not layers.has_layer(bench.store, diff_id(first))
    layers.empty_trash(bench.store, bench.settings)
    assert os.listdir(bench.store.trash) == []
    assert len(bench.shared_names()) == 3
    assert layers.sweep_files(bench.store) > 0
    assert len(bench.shared_names()) == 2
    assert bench.rebuilt(second) == second
    with pytest.raises(NotFound):
        layers.remove_layer(bench.store, diff_id(first))


def test_a_directory_chain_deeper_than_there_are_descriptors_is_removed(bench: Bench) -> None:
    at = os.open(bench.store.trash, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    layers.empty_trash(bench.store, bench.settings)
    assert os.listdir(bench.store.trash) == []


def test_removal_does_not_follow_links(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("stays")
    os.symlink(tmp_path / "outside", f"{bench.store.trash}/link")
    os.mkdir(f"{bench.store.trash}/folder")
    os.symlink("../../../outside", f"{bench.store.trash}/folder/link")
    layers.empty_trash(bench.store, bench.settings)
    assert (tmp_path / "outside/file").read_text() == "stays"
    assert os.listdir(bench.store.trash) == []


# --- damage --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["content", "length", "missing", "link", "mode", "time", "owner"])
def test_damage_is_found_and_named(bench: Bench, how: str) -> None:
    tar = tree_of({"d/file": b"good content", "d/other": b"x"})
    bench.unpack(tar)
    path = bench.root(tar) / "d/file"
    before = path.stat()
    if how == "content":
        path.write_bytes(b"evil content")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "length":
        path.write_bytes(b"good content and more")
    elif how == "missing":
        path.unlink()
    elif how == "link":
        path.unlink()
        path.symlink_to("/etc/passwd")
    elif how == "mode":
        path.chmod(0o777)
    elif how == "time":
        os.utime(path, (1, 1))
    else:
        os.chown(path, 1, 1)
    problems = bench.problems(tar)
    assert any("'d/file'" in problem for problem in problems), problems
    if how in {"content", "missing", "link"}:
        with pytest.raises(DataLoss, match="'d/file'"):
            bench.rebuilt(tar)


def test_a_missing_split_is_named(bench: Bench) -> None:
    tar = tree_of({"a": b"1"})
    bench.unpack(tar)
    (bench.root(tar).parent / "split").unlink()
    with pytest.raises(DataLoss, match="its split file is missing"):
        bench.rebuilt(tar)


# --- refused, and nothing left --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tar", "error", "cause"),
    [
        (archive(member(b"../x", b"1")), DataLoss, r"offset 0\): entry '\.\./x': a name with '\.\.'"),
        (archive(member(b"ok", b"1"), member(b"a/../../x", b"1")), DataLoss, "offset 1024.*'..'"),
        (archive(pax([(b"path", b"n" * 4097)]) + member()), DataLoss, "a name of 4097 bytes"),
        (archive(header(b"h", kind=b"1", link=b"none")), DataLoss, "hard link to 'none', which no earlier entry made"),
        (archive(member(b"a"), header(b"d", kind=b"5"), header(b"h", kind=b"1", link=b"d")), DataLoss, "not a file"),
        (archive(header(b"Z", kind=b"Z")), NotImplemented, "unknown type 'Z'"),
        (archive(header(b"u", uid=b"\x80\0\0\0\xff\xff\xff\xff")), FailedPrecondition, "'u' belongs to uid 4294967295"),
        (archive(pax([(b"SCHILY.xattr.user.overlay.opaque", b"y")]) + member(b"o")), DataLoss, "overlay's own"),
        (archive(pax([(b"SCHILY.xattr.user.overlay.redirect", b"/x")]) + header(b"o", kind=b"5")), DataLoss, "overlay's own"),
        (archive(member(b"a", b"x"))[:-1020] + b"garbage!" * 100, DataLoss, "checksum|truncated"),
        (archive(member(b"a", b"x")) + member(b"b", b"y"), DataLoss, "data after the end"),
    ],
)
def test_bad_layers_leave_nothing(bench: Bench, tar: bytes, error: type[Exception], cause: str) -> None:
    with pytest.raises(error, match=cause) as caught:
        bench.unpack(tar)
    assert "layer sha256:" in str(caught.value)
    bench.assert_nothing_is_left()


def test_a_layer_that_is_not_its_diff_id_leaves_nothing(bench: Bench) -> None:
    tar, other = tree_of({"a": b"1"}), tree_of({"a": b"2"})
    with pytest.raises(DataLoss, match=f"has the digest {diff_id(tar)}"):
        layers.apply_layer(bench.store, bench.settings, diff_id(other), "", [gz(tar)])
    bench.assert_nothing_is_left()
    assert bench.shared_names() == []


def test_a_blob_that_fails_at_its_last_byte_leaves_nothing(bench: Bench) -> None:
    tar = tree_of({"a": b"1"})

    def blob() -> Iterator[bytes]:
        yield gz(tar)
        raise DataLoss("cannot fetch blob: the digest is another")

    with pytest.raises(DataLoss, match="the digest is another"):
        layers.apply_layer(bench.store, bench.settings, diff_id(tar), "", blob())
    bench.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("limits", "tar"),
    [
        ({"unpack_max_bytes": 1 << 20}, archive(member(b"zeros", bytes(50 << 20)))),
        ({"unpack_max_inodes": 10}, archive(*[member(b"%d" % number) for number in range(11)])),
        ({"unpack_max_inodes": 10}, archive(member(b"/".join([b"d"] * 12)))),
    ],
    ids=["bytes", "members", "implied directories"],
)
def test_budgets(bench: Bench, limits: dict[str, int], tar: bytes) -> None:
    with pytest.raises(ResourceExhausted) as caught:
        bench.unpack(tar, limits=limits)
    assert "unpack-max-" in str(caught.value.hint)
    bench.assert_nothing_is_left()
    bench.unpack(tar)


def test_an_archive_of_the_standard_library_in_every_format(bench: Bench) -> None:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        tar = tree_of({"a/b/c": b"x", "é" * (20 if form == tarfile.USTAR_FORMAT else 120): b"y"}, form=form)
        bench.unpack(tar)
        assert bench.rebuilt(tar) == tar
        with tarfile.open(fileobj=io.BytesIO(bench.rebuilt(tar))) as again:
            assert len(again.getmembers()) == 4


def test_blobs_are_remembered(bench: Bench) -> None:
    from estiba.oci.descriptor import Descriptor
    from estiba.oci.digest import Digest

    tar = tree_of({"a": b"1"})
    bench.unpack(tar)
    for number, source in ((1, "one/x"), (2, "two/x"), (1, "one/x")):
        digest = Digest("sha256:" + f"{number}" * 64)
        layers.add_blob(bench.store, diff_id(tar), Descriptor("application/x", digest, number), source)
    assert [(blob.size, blob.source) for blob in layers.layer_info(bench.store, diff_id(tar)).blobs] == [(1, "one/x"), (2, "two/x")]
