"""Containers that fight `cp`, `diff`, `commit` and `export`; each attack beside a way of copying that it would defeat."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine import containers
from estiba.store.layout import Store
from tests.support.soak import times

if TYPE_CHECKING:
    from tests.support.live import Live

SECRET = "the host's own"


@pytest.fixture
def outside(live: Live) -> Path:
    """A folder of the host with a file in it; containers know its path."""
    folder = live.folder / "outside"
    folder.mkdir()
    (folder / "file").write_text(SECRET)
    return folder


def upper(live: Live) -> Path:
    """The changes of `box` on the host."""
    settings = load(environ=live.environment)
    return Path(containers.find(Store.open(settings), "box").folder, "upper")


# --- links out -----------------------------------------------------------------------------------------------------------------


def links(outside: Path) -> str:
    up = "../" * 30
    return f"""mkdir /a; ln -s {outside}/file /a/file; ln -s {outside} /a/dir; ln -s {up}{outside} /a/up; ln -s /proc/1/root{outside} /a/proc
ln -s {outside}/new /a/new; echo mine > /a/mine"""


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_links_of_a_container_end_in_it(live: Live, outside: Path, state: str) -> None:
    live.start(links(outside))
    if state == "stopped":
        live.stop()
    (live.folder / "x").write_text("attack")
    for path in ("/a/file", "/a/dir/file", "/a/up/file", "/a/proc/file"):
        live.full("cp", "-L", f"box:{path}", "out", status=None)
        live.full("cp", f"box:{path}/", "out", status=None)
        live.full("cp", "x", f"box:{path}", status=None)
    for path in ("/a/dir", "/a/up/", "/a/proc", "/a/new"):
        live.full("cp", "-aL", f"box:{path}/.", "out", status=None)
        live.full("cp", "x", f"box:{path}", status=None)
        live.full("cp", "-", f"box:{path}", stdin=tar_of(live, "x"), status=None)
    live("cp", "box:/a", "everything")
    live("export", "-o", "export.tar", "box")
    assert os.readlink(live.folder / "everything/file") == f"{outside}/file"
    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_text() == SECRET
    found = subprocess.run(["grep", "-rl", SECRET, "out", "export.tar"], cwd=live.folder, capture_output=True, text=True, check=False)
    assert found.stdout == ""


def tar_of(live: Live, name: str) -> bytes:
    return subprocess.run(["tar", "-c", name], cwd=live.folder, capture_output=True, check=True).stdout


def test_those_links_lead_out_for_who_follows_them(live: Live, outside: Path) -> None:
    live.start(links(outside))
    live.stop()
    assert (upper(live) / "a/file").read_text() == (upper(live) / "a/dir/file").read_text() == SECRET
    (upper(live) / "a/new").write_text("attack")
    assert (outside / "new").read_text() == "attack"


# --- links that are exchanged while files are copied ---------------------------------------------------------------------------------

# A copy that finds no `d` makes one, which would be in the way for ever.
EXCHANGE = """mkdir -p /r/good; echo good > /r/good/file; ln -s {outside} /r/evil; mkdir /r/s
(while :; do rm -rf /r/d; mv -T /r/good /r/d 2>/dev/null; mv -T /r/d /r/good; mv -T /r/evil /r/d; mv -T /r/d /r/evil; done) >/dev/null 2>&1 &"""


@pytest.mark.parametrize("_round", times(1, 20))
def test_a_folder_that_becomes_a_link_meanwhile(live: Live, outside: Path, _round: int) -> None:
    live.start(EXCHANGE.format(outside=outside))
    tree = live.folder / "tree/d"
    tree.mkdir(parents=True)
    (tree / "file").write_text("attack")
    (tree / "new").write_text("attack")
    results: set[int] = set()
    for number in range(200):
        if results == {0, 1} and number >= 5:
            break
        done = live.full("cp", "box:/r/d/file", f"out{number}", status=None)
        results.add(done.returncode)
        assert b"Traceback" not in done.stderr, done.stderr
        live.full("cp", "box:/r", f"all{number}", status=None)
        for words in (("tree/d/.", "box:/r/d"), ("-a", "tree/d", "box:/r"), ("tree/d/file", "box:/r/d/file")):
            done = live.full("cp", *words, status=None)
            assert b"Traceback" not in done.stderr, done.stderr
    else:
        raise AssertionError(f"always {results}: the race proves nothing")
    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_text() == SECRET
    found = subprocess.run(["grep", "-rl", SECRET, "."], cwd=live.folder, capture_output=True, text=True, check=False)
    assert found.stdout == "./outside/file\n"


def test_who_looks_first_and_opens_then_is_led_out(live: Live, outside: Path) -> None:
    live.start(EXCHANGE.format(outside=outside))
    folder = upper(live) / "r"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if not (folder / "d").is_symlink() and (folder / "d/file").read_text() == SECRET:
                return
        except OSError:
            continue
    raise AssertionError("nobody was led out")


# --- users of the container against each other ---------------------------------------------------------------------------------------

TRAP = """echo precious > /victim; chmod 600 /victim; mkdir -m 777 /play
su -s /bin/sh nobody -c 'cd /play; while :; do rm -f f; ln -s /victim f; rm -f f; ln -s /etc g; mv -T g f 2>/dev/null; done' >/dev/null 2>&1 &"""


def test_a_user_of_the_container_cannot_turn_a_copy_on_other_files(live: Live) -> None:
    live.start(TRAP)
    source = live.folder / "f"
    source.write_text("attack")
    source.chmod(0o666)
    (live.folder / "dir/f").mkdir(parents=True)
    (live.folder / "dir/f/passwd").write_text("attack")
    done = 0
    for _ in range(12):
        done += live.full("cp", "-a", "f", "box:/play/", status=None).returncode == 0
        live.full("cp", "-a", "dir/f", "box:/play", status=None)
    assert done, "no copy succeeded: it proves nothing"
    assert live.inside("cat /victim; stat -c %a:%u /victim; head -c 4 /etc/passwd; stat -c %a:%u /etc /etc/passwd").split() == [
        "precious", "600:0", "root755:0", "644:0",
    ]  # fmt: skip


def test_that_user_turns_a_copy_that_follows_links(live: Live) -> None:
    live.start("echo precious > /victim; chmod 600 /victim; mkdir -m 777 /play; ln -s /victim /play/f; echo attack > /f")
    live.inside("cat /f > /play/f")
    assert live.inside("cat /victim") == "attack"


# --- trees that are made to hurt -------------------------------------------------------------------------------------------------------

HOSTILE = r"""mkdir /h; cd /h; mkfifo pipe; touch "$(printf 'new\nline')" "$(printf 'esc\033[31m')" "$(printf '\377\376')" -- -rf '..x' ' ' 'a:b'
i=0; while [ $i -lt 60 ]; do mkdir "$(printf '%0200d' $i)"; cd "$(printf '%0200d' $i)"; i=$((i+1)); done; echo deep > file
cd /h; p=$(printf 'd/%.0s' $(seq 1000)); mkdir -p flat/$p; cd flat/$p; mkdir -p $p; cd $p; mkdir -p $p"""


def test_names_of_all_kinds_are_kept(live: Live) -> None:
    live.start(HOSTILE.partition("\n")[0])
    live("cp", "box:/h", "h")
    names = set(os.listdir(os.fsencode(live.folder / "h")))
    assert names == {b"pipe", b"new\nline", b"esc\033[31m", b"\xff\xfe", b"-rf", b"..x", b" ", b"a:b"}
    live("cp", "h", "box:/back")
    assert live.inside("rm /h/pipe; [ -p /back/pipe ] && rm /back/pipe && diff -r /h /back && echo same") == "same"
    live("cp", "box:/h/a:b", "c")
    live("export", "-o", "e.tar", "box")
    with tarfile.open(live.folder / "e.tar") as archive:
        assert {os.path.basename(os.fsencode(name)) for name in archive.getnames() if name.startswith("h/")} == names - {b"pipe"}


def test_paths_without_end_end_in_an_error(live: Live) -> None:
    live.start(HOSTILE)
    try:
        done = live.full("cp", "box:/h", "h", status=None)
        assert b"has a path of " in done.stderr
        assert b"Traceback" not in done.stderr
        done = live.full("export", "-o", "e.tar", "box")
        assert b"has a path of " in done.stderr
        assert "File name too long" in live.fails("commit", "--no-pause", "box")
        assert "File name too long" in live.fails("diff", "box")
    finally:  # pytest's own removal of old folders recurses in Python, and fails the run in which it gives up
        subprocess.run(["rm", "-rf", live.folder / "h"], check=True)


def test_a_file_larger_than_the_disk(live: Live) -> None:
    live.start("dd of=/hole bs=1 count=1 seek=1099511627776 if=/dev/zero 2>/dev/null; dd of=/end bs=1 count=0 seek=1099511627776 2>/dev/null")
    live("cp", "box:/hole", "hole")
    live("cp", "box:/end", "end")
    assert (live.folder / "hole").stat().st_size == (1 << 40) + 1
    assert (live.folder / "end").stat().st_size == 1 << 40
    assert (live.folder / "hole").stat().st_blocks * 512 < 1 << 20
    assert len(live.full("export", "box").stdout) < 100 << 20


def test_a_tree_that_grows_for_ever(live: Live) -> None:
    """It is the same file again and again to the copy: as long as it was when it was opened."""
    live.start("(while :; do echo more >> /grows; done) >/dev/null 2>&1 & (while :; do : > /shrinks; head -c 100000 /dev/zero > /shrinks; done) &")
    for number in range(8):
        live("cp", "box:/grows", f"g{number}")
        done = live.full("cp", "box:/shrinks", f"s{number}")
        assert (live.folder / f"s{number}").stat().st_size <= 100_000
        assert re.fullmatch(rb"(estiba: warning: .*'shrinks' changed while it was read\n)?", done.stderr), done.stderr


def test_more_files_than_are_taken(live: Live) -> None:
    live.start("mkdir /m; cd /m; i=0; while [ $i -lt 700 ]; do : > $i; i=$((i+1)); done")
    config = live.folder / "config.json"
    config.write_text('{"unpack-max-inodes": 600}')
    for words in (("cp", "box:/m", "m"), ("diff", "box"), ("export", "-o", "e", "box"), ("commit", "--no-pause", "box")):
        done = live.full("--config", str(config), *words, status=None)
        assert b"more than 600 files" in done.stderr, (words, done.stderr)


# --- what an archive brings -----------------------------------------------------------------------------------------------------------


def test_an_archive_cannot_leave_by_its_own_links(live: Live, outside: Path) -> None:
    import io

    live.start("mkdir /in")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, target in (("out", str(outside)), ("up", "../../../../.."), ("etc", "/etc")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
            member = tarfile.TarInfo(f"{name}/passwd")
            member.size = 6
            archive.addfile(member, io.BytesIO(b"attack"))
    done = live.full("cp", "-", "box:/in", stdin=data.getvalue(), status=None)
    assert done.returncode == 1
    assert os.listdir(outside) == ["file"]
    assert live.inside("head -c 4 /etc/passwd") == "root"
