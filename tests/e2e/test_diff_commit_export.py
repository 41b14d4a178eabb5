"""`diff`, `commit` and `export`, from the command line."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.containers import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.live import Live

CHANGES = """mkdir -p /new/deep; echo 1 > /new/deep/file; ln -s file /new/link; rm /etc/motd; rm -r /media; echo >> /etc/hostname
rm -r /home; mkdir /home; echo x > /home/x; chmod 700 /srv; rm -r /usr/share/udhcpc; echo file > /usr/share/udhcpc
rm /bin/arch; mkdir /bin/arch; echo hi >> /etc/passwd; touch -d @5 /opt; echo gone > /gone; rm /gone; mkfifo /new/pipe"""
LINES = """A /home/x
A /new
A /new/deep
A /new/deep/file
A /new/link
A /new/pipe
C /bin
C /bin/arch
C /etc
C /etc/passwd
C /home
C /opt
C /srv
C /usr
C /usr/share
C /usr/share/udhcpc
D /etc/motd
D /media"""


@pytest.fixture
def images(live: Live) -> Iterator[Live]:
    """The store is shared by a module: the images that a test makes go."""
    before = set(live("images", "-aq", "--no-trunc").split())
    yield live
    live.end()
    for image in set(live("images", "-aq", "--no-trunc").split()) - before:
        live("rmi", "-f", image)


def sorted_lines(text: str) -> list[str]:
    return sorted(text.splitlines())


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_diff(live: Live, state: str) -> None:
    live.start(CHANGES)
    if state == "stopped":
        live.stop()
    text = live("diff", "box")
    assert sorted_lines(text) == LINES.splitlines()
    assert [line[2:] for line in text.splitlines()] == sorted(line[2:] for line in text.splitlines())
    assert live("container", "diff", "box") == text


@pytest.mark.parametrize("options", [(), ("--hostname", "h", "-v", "/etc/conf"), ("-t",), ("--privileged",), ("--read-only",)])
def test_a_container_that_changed_nothing(live: Live, options: tuple[str, ...]) -> None:
    live("run", "--name", "box", *options, IMAGE, "true")
    expected = ["A /etc/conf", "C /etc"] if "-v" in options else []
    assert sorted_lines(live("diff", "box")) == expected


def test_diff_says_what_a_file_was_made_of(live: Live) -> None:
    live.start("mkdir -p /a; printf x > '/a/\\033[31m'; touch -- \"$(printf '/a/\\377')\"")
    lines = live.full("diff", "box").stdout
    assert b"\x1b" not in lines
    assert len(lines.splitlines()) == 3


def inspect(live: Live, name: str) -> dict[str, Any]:
    return dict(json.loads(live("image", "inspect", name))[0])


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_commit(images: Live, state: str) -> None:
    live = images
    live.start(CHANGES)
    if state == "stopped":
        live.stop()
    printed = live("commit", "-a", "A. Author", "-m", "a message", "box", "local/committed")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", printed)
    found, base = inspect(live, "local/committed"), inspect(live, IMAGE)
    assert found["Id"] == printed.strip()
    assert (found["Author"], found["Comment"]) == ("A. Author", "a message")
    assert found["RootFS"]["Layers"][:-1] == base["RootFS"]["Layers"]
    run = live("run", "--rm", "local/committed", "sh", "-c", CHECK)
    assert run.split() == "1 file no nomedia x 700 file dir hi 5 nogone pipe".split()
    # The image and the container that it came from differ from the base by the same lines.
    live("run", "--name", "second", "local/committed", "true")
    assert live("diff", "second") == ""


CHECK = """cat /new/deep/file; readlink /new/link; [ -e /etc/motd ] || echo no; [ -e /media ] || echo nomedia; ls /home
stat -c %a /srv; cat /usr/share/udhcpc; [ -d /bin/arch ] && echo dir; tail -n 1 /etc/passwd; stat -c %Y /opt
[ -e /gone ] || echo nogone; [ -p /new/pipe ] && echo pipe"""


def test_commit_twice_gives_equal_layers(images: Live) -> None:
    live = images
    live.start(CHANGES)
    live.stop()
    live("commit", "box", "local/one")
    live("commit", "box", "local/two")
    assert inspect(live, "local/one")["RootFS"] == inspect(live, "local/two")["RootFS"]


def test_commit_of_nothing_adds_no_layer(images: Live) -> None:
    live = images
    live("run", "--name", "box", IMAGE, "true")
    live("commit", "box", "local/same")
    assert inspect(live, "local/same")["RootFS"] == inspect(live, IMAGE)["RootFS"]
    history = live("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Size}}", "local/same").splitlines()
    assert history[0] == "true|0B"


def test_commit_and_the_configuration(images: Live) -> None:
    live = images
    options = ("-e", "GIVEN=1", "-w", "/tmp", "-u", "5:6", "-l", "mine=yes", "--stop-signal", "SIGUSR1", "-v", "/own")
    live("run", "--name", "box", *options, IMAGE, "sh", "-c", "echo hi > /tmp/x")
    live("commit", "box", "local/base")
    config = inspect(live, "local/base")["Config"]
    assert config["Env"] == ["GIVEN=1"]
    assert (config["WorkingDir"], config["User"], config["StopSignal"]) == ("/tmp", "5:6", "SIGUSR1")
    assert (config["Labels"], config["Volumes"], config["Cmd"]) == ({"mine": "yes"}, {"/own": {}}, ["sh", "-c", "echo hi > /tmp/x"])
    changes = ("ENV B=$GIVEN", "EXPOSE 80", "LABEL other=l", 'ENTRYPOINT ["cat"]', "WORKDIR sub")
    live("commit", *(word for change in changes for word in ("-c", change)), "box", "local/changed")
    config = inspect(live, "local/changed")["Config"]
    assert config["Env"] == ["GIVEN=1", "B=1"]
    assert (config["Entrypoint"], config["Cmd"], config["ExposedPorts"]) == (["cat"], None, {"80/tcp": {}})
    assert (config["Labels"], config["WorkingDir"]) == ({"mine": "yes", "other": "l"}, "/tmp/sub")


def test_commit_knows_the_entrypoint_from_the_command(images: Live) -> None:
    live = images
    live("run", "--name", "box", "--entrypoint", "echo", IMAGE, "a", "b")
    live("commit", "box", "local/echo")
    config = inspect(live, "local/echo")["Config"]
    assert (config["Entrypoint"], config["Cmd"]) == (["echo"], ["a", "b"])
    live("run", "--name", "second", "local/echo", "c")
    live("commit", "second", "local/echo2")
    config = inspect(live, "local/echo2")["Config"]
    assert (config["Entrypoint"], config["Cmd"]) == (["echo"], ["c"])


def test_a_container_that_was_created_and_never_ran(images: Live) -> None:
    live = images
    live("create", "--name", "box", "-v", "/etc/apk", "-v", "/new/own", IMAGE, "cat", "/new/own/x", "/y")
    (live.folder / "x").write_text("x")
    assert live("diff", "box") == ""
    live("cp", "x", "box:/new/own/x")
    live("cp", "x", "box:/y")
    live("cp", "box:/etc/apk/arch", "arch")  # the volume has what the image has there
    assert set(live("diff", "box").splitlines()) == {"A /new", "A /new/own", "A /y"}
    assert live("start", "-a", "box") == "xx"
    live("cp", "box:/etc/apk/world", "world")
    assert (live.folder / "world").stat().st_size


def test_commit_refuses_before_it_reads(live: Live) -> None:
    live("run", "--name", "box", IMAGE, "true")
    text = live.fails("commit", "-c", "RUN true", "box")
    assert "'RUN' is not allowed here" in text
    assert "hint: allowed are CMD ENTRYPOINT ENV EXPOSE" in text
    assert "no such container" in live.fails("commit", "nobody")
    assert "invalid" in live.fails("commit", "box", "UPPER:case").lower()
    assert "exclude each other" in live.fails("commit", "--pause", "--no-pause", "box")


def test_commit_refuses_names_that_would_delete(live: Live) -> None:
    live.start("touch /tmp/.wh.victim")
    assert "'tmp/.wh.victim': names that begin with .wh." in live.fails("commit", "box")


def test_volumes_are_no_part_of_it(images: Live) -> None:
    live = images
    (live.folder / "bound").mkdir()
    live.start("echo 1 > /own/x; echo 2 > /b/x; echo 3 > /t/x; echo 4 > /kept", "-v", "/own", "-v", f"{live.folder}/bound:/b", "--tmpfs", "/t")
    live("commit", "box", "local/without")
    assert live("run", "--rm", "local/without", "sh", "-c", "ls /own; ls /b; ls /t; cat /kept").split() == ["4"]
    with tarfile.open(fileobj=io.BytesIO(live.full("export", "box").stdout)) as archive:
        names = set(archive.getnames())
    assert {"own", "b", "t", "kept"} <= names
    assert not {"own/x", "b/x", "t/x", "proc/1"} & names


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_export_and_import_give_the_same_tree(images: Live, state: str) -> None:
    live = images
    live.start(CHANGES + "; ln /etc/passwd /etc/passwd2; chown 3:4 /srv; chmod 1777 /opt")
    before = live.inside(SNAPSHOT)
    if state == "stopped":
        live.stop()
    live("export", "-o", "box.tar", "box")
    live("import", "box.tar", "local/flat")
    live.end()
    live.start(name="flat", image="local/flat")
    assert live.inside(SNAPSHOT, name="flat").splitlines() == before.splitlines()


# Without the names that the engine mounts on, and the size of folders, which is the file system's.
SNAPSHOT = """find / -xdev ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path /etc/hosts ! -path /etc/hostname \
! -path /etc/resolv.conf ! -path / ! -path /etc | sort | while read p; do stat -c '%n %F %a %u:%g %Y %N' "$p"; done
md5sum /etc/passwd /bin/busybox; [ /etc/passwd -ef /etc/passwd2 ] && echo linked"""


def test_export_of_a_container_that_never_ran_is_its_image(live: Live) -> None:
    live("run", "--name", "box", IMAGE, "true")
    with tarfile.open(fileobj=io.BytesIO(live.full("export", "box").stdout)) as archive:
        members = {member.name: member for member in archive}
    assert members["bin/busybox"].mode == 0o755
    assert members["."].isdir()
    assert "etc/alpine-release" in members


def test_export_refuses_a_terminal(live: Live, tmp_path: Path) -> None:
    live("run", "--name", "box", IMAGE, "true")
    leader, follower = os.openpty()
    try:
        import subprocess

        done = subprocess.run([*live.command, "export", "box"], stdout=follower, stderr=subprocess.PIPE, env=live.environment, check=False)
    finally:
        os.close(leader)
        os.close(follower)
    assert b"standard output is a terminal" in done.stderr


def test_sharing_reaches_committed_layers(images: Live) -> None:
    """A file that the store has already is not stored again."""
    live = images
    live.start("head -c 300000 /dev/zero > /big; touch -d @1000 /big")
    live("commit", "box", "local/one")
    live.end()
    live.start("head -c 300000 /dev/zero > /big; touch -d @1000 /big; echo > /other")
    live("commit", "box", "local/two")
    root = live.environment["ESTIBA_ROOT"]
    hexes = [inspect(live, name)["RootFS"]["Layers"][-1].partition(":")[2] for name in ("local/one", "local/two")]
    first, second = (os.stat(f"{root}/layers/{name}/fs/big") for name in hexes)
    assert hexes[0] != hexes[1]
    assert (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
