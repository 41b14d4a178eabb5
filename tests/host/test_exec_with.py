"""`exec --with`: the programs of another image in a container that has none."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import IMAGE
from tests.support.plans import FALLBACKS, SOURCES, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.live import Live


def bare_image(live: Live, *, name: str = "bare") -> str:
    """One program, one account, nothing else: no shell, no /lib, no /tmp."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content, mode in (
            ("sleep", Path("/bin/busybox").read_bytes(), 0o755),
            ("etc/passwd", b"app:x:1234:1234::/data:/none\n", 0o644),
            ("data/file", b"of the container\n", 0o600),
        ):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    live("import", "-", name, stdin=archive.getvalue())
    return name


@pytest.fixture
def bare(live: Live) -> Iterator[Live]:
    live("run", "-d", "--name", "bare", "-v", "/vol", bare_image(live), "/sleep", "1000")
    yield live
    live("rm", "-f", "bare")
    live("rmi", "bare")


def inside(live: Live, script: str, *options: str) -> str:
    return live("exec", "--with", IMAGE, *options, "bare", "sh", "-c", script)


def test_tools_see_the_container_and_it_does_not_see_them(bare: Live) -> None:
    assert inside(bare, "cat /data/file; cat /etc/alpine-release; hostname; ls -d /vol /proc/1 /dev/pts /etc/hosts").split("\n")[0] == "of the container"
    assert "/sleep 1000" in inside(bare, "ps -o args; tr '\\0' ' ' </proc/1/cmdline")
    assert inside(bare, "ls /proc/1/root").split() == ["data", "dev", "etc", "proc", "sleep", "sys", "vol"]
    assert "not found" in bare.fails("exec", "bare", "sh")
    assert not [line for line in bare("diff", "bare").splitlines() if "bin" in line or "lib" in line]
    names = inside(bare, "for kind in mnt pid net ipc uts cgroup user; do readlink /proc/$$/ns/$kind; readlink /proc/1/ns/$kind; done").split()
    assert names[2::2] == names[3::2]
    assert names[0] != names[1]


def test_nothing_is_written_by_mistake_and_all_on_purpose(bare: Live) -> None:
    assert "Read-only" in bare.full("exec", "--with", IMAGE, "bare", "sh", "-c", "echo x > /data/new", status=1).stderr.decode()
    inside(bare, "echo volume > /vol/new; echo own > /proc/1/root/data/own")
    assert inside(bare, "cat /vol/new /proc/1/root/data/own") == "volume\nown\n"


def test_users_are_the_containers(bare: Live) -> None:
    assert inside(bare, "id -u", "-u", "app") == "1234\n"
    assert "no such user" in bare.fails("exec", "--with", IMAGE, "-u", "guest", "bare", "true")  # whom only the tools know


def test_terminal_and_rights_are_the_containers(bare: Live) -> None:
    assert "/dev/pts/" in inside(bare, "tty", "-t")
    status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/$1/status"
    own, further = (bare("exec", "--with", IMAGE, "bare", "sh", "-c", status, "sh", pid) for pid in ("1", "self"))
    assert own == further
    assert inside(bare, "ls /proc/$$/fd; true").split() == ["0", "1", "2"]


def test_images_are_not_taken_from_under_it(bare: Live) -> None:
    """What is only used by a tool stays until it ends."""
    bare("tag", IMAGE, "kept")
    extra = bare("run", "-d", "--name", "made", IMAGE, "sh", "-c", "echo tool > /tool").strip()
    bare("wait", "made")
    bare("commit", "made", "tools")
    bare("rm", extra)
    words = [*bare.command, "exec", "-i", "--with", "tools", "bare", "sh", "-c", "echo up; read x; cat /tool"]
    with subprocess.Popen(words, env=bare.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"up\n"
            bare("rmi", "tools")
            bare("image", "prune", "-f")
        finally:
            out = process.communicate(b"\n", timeout=60)[0]
    assert out == b"tool\n"
    layers = Path(bare.environment["ESTIBA_ROOT"]) / "layers"
    before = len(list(layers.iterdir()))
    until(lambda: bare("image", "prune", "-f") is not None and len(list(layers.iterdir())) < before, "its layer to go")
    bare("rmi", "kept")


def test_several_images_and_a_path_of_their_own(bare: Live) -> None:
    bare("image", "from-host", "own", "/bin/busybox")
    bare("import", "-c", "ENV PATH=/special", str(archive_of(bare.folder)), "special")
    assert bare("exec", "--with", IMAGE, "--with", "special", "bare", "where").strip() == "here"
    assert inside(bare, "echo $PATH", "-e", "PATH=/bin").strip() == "/bin"


def archive_of(folder: Path) -> Path:
    path = folder / "special.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("special/where")
        content = b"#!/bin/sh\necho here\n"
        member.size, member.mode = len(content), 0o755
        tar.addfile(member, io.BytesIO(content))
    return path


def test_without_lowerdir_plus(bare: Live) -> None:
    subprocess.run(["make", "-s", "-C", str(SOURCES), "fallbacks"], check=True)
    config = bare.folder / "config.json"
    config.write_text(json.dumps({"helper-path": FALLBACKS}))
    old = bare.environment
    bare.environment = old | {"ESTIBA_CONFIG": str(config)}
    assert inside(bare, "cat /data/file; ls /proc/1/root/sleep") == "of the container\n/proc/1/root/sleep\n"
    bare.environment = old


def test_an_ordinary_users_container(live_user: Live) -> None:
    live = live_user
    live("run", "-d", "--name", "bare", bare_image(live), "/sleep", "1000")
    assert inside(live, "cat /data/file; cat /etc/alpine-release | wc -l") == "of the container\n1\n"
    live("rm", "-f", "bare")
    live("rmi", "bare")


@pytest.mark.skipif(os.geteuid() != 0, reason="--userns host is root's")
def test_without_a_user_namespace(live: Live) -> None:
    live("run", "-d", "--name", "bare", "--userns", "host", bare_image(live), "/sleep", "1000")
    assert inside(live, "cat /data/file; readlink /proc/self/ns/user") == f"of the container\n{os.readlink('/proc/self/ns/user')}\n"
    live("rm", "-f", "bare")
