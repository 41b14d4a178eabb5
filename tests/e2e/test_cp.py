"""`cp` by Docker's rules, with containers that run and such that do not."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.support.live import listing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.live import Live

SCRIPT = """mkdir -p /src/sub /dst; echo one > /src/file; echo two > /src/sub/inner; chmod 750 /src/sub
ln -s file /src/link; ln -s /src /linked; ln -s src/file /tofile; echo old > /dst/old; ln -s nowhere /dangling
chown 7:8 /src/file; chmod 4751 /src/file"""


@pytest.fixture(params=["running", "stopped"])
def box(request: pytest.FixtureRequest, live: Live) -> Live:
    """The container `box`, which holds what SCRIPT makes."""
    live.start(SCRIPT)
    if request.param == "stopped":
        live.stop()
    return live


TREE = {"link": ("0o120777", b"file"), "sub": ("0o40750", None), "sub/inner": ("0o100644", b"two\n"), "file": ("0o100751", b"one\n")}


def below(folder: str, tree: dict[str, object] = TREE) -> dict[str, object]:  # type: ignore[assignment]
    return {folder: ("0o40755", None)} | {f"{folder}/{path}": value for path, value in tree.items()}


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("/src/file", "new", {"new": TREE["file"]}),
        ("src/file", "out", {"out": ("0o40755", None), "out/file": TREE["file"]}),
        ("/src/file", "out/", {"out": ("0o40755", None), "out/file": TREE["file"]}),
        ("/src/sub/../file", "out/.", {"out": ("0o40755", None), "out/file": TREE["file"]}),
        ("/src/file", "there", {"there": TREE["file"]}),
        ("/src", "new", below("new")),
        ("/src/", "new", below("new")),
        ("/src/.", "new", below("new")),
        ("/src", "out", {"out": ("0o40755", None)} | below("out/src")),
        ("/src/", "out", {"out": ("0o40755", None)} | below("out/src")),
        ("/src/.", "out", below("out")),
        ("/tofile", "new", {"new": ("0o120777", b"src/file")}),
        ("/tofile", "out", {"out": ("0o40755", None), "out/tofile": ("0o120777", b"src/file")}),
        ("/linked", "out", {"out": ("0o40755", None), "out/linked": ("0o120777", b"/src")}),
        ("/linked/", "out", {"out": ("0o40755", None)} | below("out/linked")),
        ("/linked/.", "out", below("out")),
        ("/linked/file", "new", {"new": TREE["file"]}),
        ("/dangling", "new", {"new": ("0o120777", b"nowhere")}),
    ],
)
def test_out(box: Live, source: str, target: str, expected: dict[str, object]) -> None:
    work = box.folder / "work"
    work.mkdir()
    if target.startswith("out"):
        (work / "out").mkdir()
    if target == "there":
        (work / "there").write_text("before")
    box("cp", f"box:{source}", f"work/{target}")
    assert listing(work) == expected


@pytest.mark.parametrize(
    ("source", "expected"), [("/tofile", {"new": TREE["file"]}), ("/linked", below("new")), ("/src/file", {"new": TREE["file"]})]
)
def test_out_following_the_link(box: Live, source: str, expected: dict[str, object]) -> None:
    (box.folder / "work").mkdir()
    box("cp", "-L", f"box:{source}", "work/new")
    assert listing(box.folder / "work") == expected


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("/none", "new", "there is no such file or folder in the container"),
        ("/src/file/", "new", "it is no folder"),
        ("/src/file/x", "new", "no such file or folder"),
        ("/src/file", "new/", "there is no such folder"),
        ("/src/file", "no/such", "there is no folder 'no'"),
        ("/src", "there", "a folder cannot take the place of a file"),
        ("/src/file", "there/", "it is no folder"),
        ("/src/file", "taken", "a folder is there, and what is copied is none"),
        ("/src", "taken2", "something is there that is no folder"),
        ("/proc/cpuinfo", "new", "/proc belongs to the container's kernel"),
    ],
)
def test_out_refused(box: Live, source: str, target: str, words: str) -> None:
    (box.folder / "there").write_text("before")
    (box.folder / "taken/file").mkdir(parents=True)
    (box.folder / "taken2").mkdir()
    (box.folder / "taken2/src").write_text("before")
    before = listing(box.folder)
    assert words in box.fails("cp", f"box:{source}", target)
    assert listing(box.folder) == before


IN = """find /dst /made -mindepth 0 2>/dev/null | sort | while read p; do stat -c '%n %F %a %u:%g' "$p"; [ -f "$p" ] && cat "$p"; done"""


def host_tree(folder: Path) -> None:
    (folder / "tree/sub").mkdir(parents=True)
    (folder / "tree/file").write_text("one\n")
    (folder / "tree/file").chmod(0o640)
    (folder / "tree/sub").chmod(0o701)
    (folder / "tree/link").symlink_to("file")
    (folder / "linked").symlink_to("tree")


def seen(box: Live) -> list[str]:
    """What is in /dst and /made of the container, whether it runs or not."""
    out = box.folder / "seen"
    out.mkdir()
    lines = []
    for top in ("dst", "made"):
        if box.full("cp", "-a", f"box:/{top}", str(out / top), status=None).returncode == 0:
            status = os.lstat(out / top)
            lines.append(f"{top} {oct(status.st_mode)}")
            for path in sorted((out / top).rglob("*")) if not (out / top).is_symlink() and (out / top).is_dir() else []:
                status = os.lstat(path)
                lines.append(f"{path.relative_to(out)} {oct(status.st_mode)} {status.st_uid}:{status.st_gid}")
    return lines


INSIDE = ["file 0o100640 0:0", "link 0o120777 0:0", "sub 0o40701 0:0"]
OLD = ["dst 0o40755", "dst/old 0o100644 0:0"]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("tree/file", "/dst", ["dst 0o40755", "dst/file 0o100640 0:0", "dst/old 0o100644 0:0"]),
        ("tree/file", "dst/", ["dst 0o40755", "dst/file 0o100640 0:0", "dst/old 0o100644 0:0"]),
        ("tree/file", "/dst/old", ["dst 0o40755", "dst/old 0o100640 0:0"]),
        ("tree/file", "/made", [*OLD, "made 0o100640"]),
        ("tree", "/made", [*OLD, "made 0o40755", *(f"made/{line}" for line in INSIDE)]),
        ("tree/.", "/made", [*OLD, "made 0o40755", *(f"made/{line}" for line in INSIDE)]),
        ("tree", "/dst", [OLD[0], OLD[1], "dst/tree 0o40755 0:0", *(f"dst/tree/{line}" for line in INSIDE)]),
        ("tree/", "/dst/", [OLD[0], OLD[1], "dst/tree 0o40755 0:0", *(f"dst/tree/{line}" for line in INSIDE)]),
        ("tree/.", "/dst", ["dst 0o40755", *(f"dst/{line}" for line in INSIDE[:2]), "dst/old 0o100644 0:0", "dst/sub 0o40701 0:0"]),
        ("linked", "/dst", ["dst 0o40755", "dst/linked 0o120777 0:0", "dst/old 0o100644 0:0"]),
        ("linked/", "/made", [*OLD, "made 0o40755", *(f"made/{line}" for line in INSIDE)]),
        ("tree/link", "/made", [*OLD, "made 0o120777"]),
    ],
)
def test_in(box: Live, source: str, target: str, expected: list[str]) -> None:
    host_tree(box.folder)
    for path in [box.folder / "tree", *(box.folder / "tree").rglob("*")]:
        if os.geteuid() == 0:
            os.chown(path, 12, 34, follow_symlinks=False)
    box("cp", source, f"box:{target}")
    assert seen(box) == expected


def test_in_keeps_owners_where_it_is_asked_for(box: Live) -> None:
    host_tree(box.folder)
    if os.geteuid() == 0:
        os.chown(box.folder / "tree/file", 12, 34)
    box("cp", "-a", "tree/file", "box:/made")
    with tarfile.open(fileobj=io.BytesIO(box.full("cp", "box:/made", "-").stdout)) as archive:
        member = archive.getmember("made")
    assert (member.uid, member.gid) == ((12, 34) if os.geteuid() == 0 else (os.getuid(), os.getgid()))


def test_in_through_links_of_the_container(box: Live) -> None:
    (box.folder / "new").write_text("new\n")
    box("cp", "new", "box:/tofile")  # the target is followed
    box("cp", "new", "box:/linked")  # into the folder that it leads to
    box("cp", "new", "box:/dangling")  # made where it leads
    box("cp", "box:/src", "out")
    assert (box.folder / "out/file").read_text() == (box.folder / "out/new").read_text() == "new\n"
    box("cp", "box:/nowhere", "nowhere")
    assert (box.folder / "nowhere").read_text() == "new\n"
    box("cp", "box:/dangling", "dangling")
    assert os.readlink(box.folder / "dangling") == "nowhere"


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("none", "/dst", "there is no 'none' on this machine"),
        ("tree/file/", "/dst", "'tree/file/' is no folder"),
        ("tree/file", "/made/", "there is no such folder"),
        ("tree/file", "/no/such", "there is no folder '/no' in the container"),
        ("tree", "/dst/old", "a folder cannot take the place of a file"),
        ("tree/file", "/dst/old/", "it is no folder"),
        ("tree/sub", "/taken", "'sub': something is there that is no folder"),
        ("tree/file", "/taken2", "'file': a folder is there, and what is copied is none"),
        ("tree/file", "/proc/x", "/proc belongs to the container's kernel"),
        ("tree/file", "/dev/../sys", "/sys belongs to the container's kernel"),
    ],
)
def test_in_refused(box: Live, source: str, target: str, words: str) -> None:
    host_tree(box.folder)
    (box.folder / "taken").mkdir()
    (box.folder / "taken/sub").write_text("before")
    box("cp", "taken", "box:/")
    (box.folder / "taken2/file").mkdir(parents=True)
    box("cp", "taken2", "box:/")
    assert words in box.fails("cp", source, f"box:{target}")


# --- tar streams ---------------------------------------------------------------------------------------------------------------


def stream(*members: tarfile.TarInfo, content: bytes = b"hello") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return out.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    for key, value in values.items():
        setattr(member, key, value)
    return member


def test_out_as_a_stream(box: Live) -> None:
    with tarfile.open(fileobj=io.BytesIO(box.full("cp", "box:/src", "-").stdout)) as archive:
        names = {member.name: member for member in archive}
    assert set(names) == {"src", "src/file", "src/link", "src/sub", "src/sub/inner"}
    assert (names["src/file"].uid, names["src/file"].gid, names["src/file"].mode) == (7, 8, 0o4751)
    with tarfile.open(fileobj=io.BytesIO(box.full("cp", "box:/src/file", "-").stdout)) as archive:
        assert [member.name for member in archive] == ["file"]
    with tarfile.open(fileobj=io.BytesIO(box.full("cp", "box:/src/.", "-").stdout)) as archive:
        assert {member.name for member in archive} == {".", "file", "link", "sub", "sub/inner"}


def test_in_from_a_stream(box: Live) -> None:
    data = stream(
        info("./", tarfile.DIRTYPE, mode=0o700),
        info("deep/er/file", uid=5, gid=6, mode=0o604),
        info("pipe", tarfile.FIFOTYPE, mode=0o622),
        info("sub", tarfile.DIRTYPE, mode=0o711, uid=9, mtime=1000),
        info("sub/x"),
        info("hard", tarfile.LNKTYPE, linkname="sub/x"),
    )
    box("cp", "-", "box:/dst", stdin=data)
    with tarfile.open(fileobj=io.BytesIO(box.full("cp", "box:/dst", "-").stdout)) as archive:
        found = {member.name: member for member in archive}
    assert (found["dst/deep/er/file"].uid, found["dst/deep/er/file"].gid, found["dst/deep/er/file"].mode) == (5, 6, 0o604)
    assert (found["dst/deep"].mode, found["dst/deep"].uid) == (0o755, 0)
    assert (found["dst/sub"].mode, found["dst/sub"].uid, found["dst/sub"].mtime) == (0o711, 9, 1000)
    assert found["dst/pipe"].isfifo()
    assert {found["dst/hard"].islnk(), found["dst/sub/x"].islnk()} == {True, False}
    assert found["dst"].mode == 0o755


def test_in_from_a_stream_through_links_of_the_container(box: Live) -> None:
    box("cp", "-", "box:/", stdin=stream(info("linked/new"), info("plain"), info("linked/sub/more"), info("linked/d", tarfile.DIRTYPE, mode=0o701)))
    box("cp", "box:/src", "out")
    assert (box.folder / "out/new").read_bytes() == (box.folder / "out/sub/more").read_bytes() == b"hello"
    assert (box.folder / "out/d").stat().st_mode & 0o777 == 0o701
    assert "something is there that is no folder" in box.fails("cp", "-", "box:/", stdin=stream(info("linked", tarfile.DIRTYPE)))


@pytest.mark.parametrize("name", ["../escape", "a/../../escape", ".."])
def test_a_stream_does_not_leave_its_folder(box: Live, name: str) -> None:
    assert "'..'" in box.fails("cp", "-", "box:/dst", stdin=stream(info(name)))
    box.fails("cp", "box:/escape", "out")


def test_streams_that_are_refused(box: Live) -> None:
    assert "a tar stream needs one" in box.fails("cp", "-", "box:/dst/old", stdin=stream(info("x")))
    assert "there is no such folder" in box.fails("cp", "-", "box:/none", stdin=stream(info("x")))
    assert "cannot read standard input" in box.fails("cp", "-", "box:/dst", stdin=stream(info("x"))[:700])
    done = box.full("cp", "-", "box:/dst", stdin=stream(info("null", tarfile.CHRTYPE, devmajor=1, devminor=3), info("x")))
    assert b"'null' is a device" in done.stderr


def test_words_that_are_no_copy(live: Live) -> None:
    live.start()
    assert "no place is in a container" in live.fails("cp", "a", "b")
    assert "no place is in a container" in live.fails("cp", "./box:a", "b")
    assert "both places are in containers" in live.fails("cp", "box:a", "box:b")
    assert "no such container" in live.fails("cp", "nobody:a", "b")
    live("cp", "box:/etc/hostname", "./box:a")
    assert (live.folder / "box:a").is_file()


# --- mounts --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_volumes_binds_and_files_of_the_engine(live: Live, state: str) -> None:
    (live.folder / "bound").mkdir()
    (live.folder / "single").write_text("single")
    (live.folder / "bound/here").write_text("here")
    (live.folder / "new").write_text("new")
    options = ("-v", f"{live.folder}/bound:/b", "-v", "/own", "-v", f"{live.folder}/single:/single", "-v", f"{live.folder}/bound:/ro:ro")
    live.start("echo made > /own/made", *options, "--hostname", "named")
    if state == "stopped":
        live.stop()
    live("cp", "box:/b/here", "out")
    live("cp", "box:/own/made", "made")
    live("cp", "box:/etc/hostname", "hostname")
    assert ((live.folder / "out").read_text(), (live.folder / "made").read_text()) == ("here", "made\n")
    assert (live.folder / "hostname").read_text() == "named\n"
    live("cp", "new", "box:/b/new")
    live("cp", "new", "box:/own")
    inode = os.stat(live.folder / "single").st_ino
    live("cp", "new", "box:/single")  # it cannot be replaced, so it is written to
    assert (live.folder / "bound/new").read_text() == (live.folder / "single").read_text() == "new"
    assert os.stat(live.folder / "single").st_ino == inode
    live("cp", "box:/own/new", "again")
    assert "it is read-only" in live.fails("cp", "new", "box:/ro/x")
    assert not (live.folder / "bound/x").exists()
    live("cp", "box:/", "everything")
    assert (live.folder / "everything/b/here").read_text() == "here"


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_read_only_root_stays_so(live: Live, state: str) -> None:
    (live.folder / "bound").mkdir()
    (live.folder / "new").write_text("new")
    live.start("true", "--read-only", "-v", f"{live.folder}/bound:/b")
    if state == "stopped":
        live.stop()
    assert "it is read-only" in live.fails("cp", "new", "box:/etc/new")
    live("cp", "new", "box:/b/new")
    assert (live.folder / "bound/new").read_text() == "new"


def test_what_is_copied_is_there_when_the_container_goes_on(live: Live) -> None:
    live.start("mkdir /x")
    (live.folder / "new").write_text("new")
    live("cp", "new", "box:/x/new")
    assert live.inside("cat /x/new; stat -c %u:%g /x/new") == "new0:0"


def test_programs_of_a_container_lose_their_set_id_bits_here(live: Live) -> None:
    live.start("cp /bin/busybox /s; chmod 6755 /s")
    live("cp", "box:/s", "plain")
    live("cp", "-a", "box:/s", "kept")
    assert (live.folder / "plain").stat().st_mode & 0o7777 == 0o755
    assert (live.folder / "kept").stat().st_mode & 0o7777 == 0o6755


def test_holes_links_and_attributes_are_kept(live: Live) -> None:
    source = live.folder / "tree"
    source.mkdir()
    with (source / "hole").open("wb") as file:
        file.seek(1 << 30)
        file.write(b"end")
    (source / "a").write_text("a")
    os.link(source / "a", source / "b")
    os.setxattr(source / "a", "user.note", b"\0binary")
    os.utime(source / "a", ns=(0, 1234567890123456789))
    live.start()
    live("cp", "tree", "box:/tree")
    live("cp", "box:/tree", "back")
    back = live.folder / "back"
    assert (back / "hole").stat().st_size == (1 << 30) + 3
    assert (back / "hole").stat().st_blocks * 512 < 1 << 20
    assert (back / "a").stat().st_ino == (back / "b").stat().st_ino
    assert (back / "a").stat().st_mtime_ns == 1234567890123456789
    assert os.getxattr(back / "a", "user.note") == b"\0binary"
    data = live.full("cp", "box:/tree", "-").stdout
    assert len(data) < 1 << 20
    live("cp", "-", "box:/mnt", stdin=data)
    assert live.inside("stat -c %s /mnt/tree/hole") == str((1 << 30) + 3)
