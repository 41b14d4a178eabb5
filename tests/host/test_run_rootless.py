"""`run` as an ordinary user, with subordinate ids and with a single id, and as root whose store is on an overlay."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.command import command_under_test
from tests.support.containers import IMAGE, Remains
from tests.support.plans import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.users import User

EXIT_CODES = {"true": 0, "exit 42": 42, "/etc": 126, "nope": 127, "kill -TERM $$; sleep 1": 143}


@pytest.fixture
def user(ordinary_user: User, alpine_tar: Path) -> Iterator[User]:
    """Each kind of user, with IMAGE in his store; afterwards the store holds no container."""
    image = ordinary_user.folder / "alpine.tar.gz"
    shutil.copyfile(alpine_tar, image)
    os.chown(image, ordinary_user.uid, ordinary_user.gid)
    ordinary_user.estiba("import", "alpine.tar.gz", IMAGE)
    yield ordinary_user
    left = Remains(ordinary_user.folder / "root", ordinary_user.folder / "run" / "estiba").gone()
    assert not left


def run(user: User, *words: str, status: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return user.estiba("run", "--rm", *words, status=status, stdin=stdin)


def test_is_root_inside_and_himself_outside(user: User) -> None:
    (user.folder / "shared").mkdir(exist_ok=True)
    os.chown(user.folder / "shared", user.uid, user.gid)
    script = "id -u; id -g; touch /x/made; cat /proc/self/uid_map"
    lines = run(user, "-v", f"{user.folder}/shared:/x", IMAGE, "sh", "-c", script).stdout.splitlines()
    assert lines[:2] == ["0", "0"]
    assert lines[2].split()[:2] == ["0", str(user.uid)]
    made = (user.folder / "shared/made").stat()
    assert (made.st_uid, made.st_gid) == (user.uid, user.gid)
    shutil.rmtree(user.folder / "shared")


def test_other_users_exist_with_subordinate_ids_only(user: User) -> None:
    if user.has_subordinate_ids:
        script = "id -u; touch /tmp/mine; stat -c %u:%g /tmp/mine"
        assert run(user, "-u", "5:7", IMAGE, "sh", "-c", script).stdout.split() == ["5", "5:7"]
        assert run(user, IMAGE, "sh", "-c", "touch /a; chown 9:9 /a; stat -c %u:%g /a /etc/shadow").stdout.split() == ["9:9", "0:42"]
    else:
        refused = run(user, "-u", "5", IMAGE, "true", status=125)
        assert "\nestiba: cannot " in refused.stderr
        run(user, IMAGE, "chown", "9:9", "/tmp", status=1)


def test_a_single_id_is_told_once_in_one_line(user: User) -> None:
    notices = [line for line in run(user, IMAGE, "true").stderr.splitlines() if "subuid" in line or "single id" in line]
    assert len(notices) == (0 if user.has_subordinate_ids else 1)


@pytest.mark.parametrize("command", EXIT_CODES)
def test_exit_codes(user: User, command: str) -> None:
    words = [command] if command in ("/etc", "nope") else ["sh", "-c", command]
    done = run(user, "--init", IMAGE, *words, status=EXIT_CODES[command])
    assert "Traceback" not in done.stderr


def test_streams_and_read_only_binds(user: User) -> None:
    (user.folder / "file").write_text("of the host\n")
    os.chown(user.folder / "file", user.uid, user.gid)
    assert run(user, "-i", IMAGE, "cat", stdin="through").stdout == "through"
    bind = f"{user.folder}/file:/file:ro"
    assert run(user, "-v", bind, IMAGE, "cat", "/file").stdout == "of the host\n"
    run(user, "-v", bind, IMAGE, "sh", "-c", "echo >/file", status=1)
    assert (user.folder / "file").read_text() == "of the host\n"


def test_network_and_capabilities_are_the_containers_own(user: User) -> None:
    assert run(user, IMAGE, "ls", "/sys/class/net").stdout.split() == ["lo"]
    held = run(user, IMAGE, "grep", "CapEff", "/proc/self/status").stdout.split()[1]
    assert held == "00000000800405fb"


def test_what_the_user_may_not_read_stays_unread(user: User, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "secret").write_text("root's\n")
        (tmp_path / "secret").chmod(0o600)
        refused = user.estiba("run", "--rm", "-v", f"{tmp_path}/secret:/s", IMAGE, "cat", "/s", status=None)
        assert refused.returncode != 0
        assert "root's" not in refused.stdout


def test_what_is_removed_goes_whosever_it_was(user: User) -> None:
    """Behind `rm`, which does not wait: files of subordinate ids are not the user's to unlink outside of his namespace."""
    script = "mkdir -p /deep/er; touch /deep/er/file" + ("; chown -R 9:9 /deep" if user.has_subordinate_ids else "")
    user.estiba("run", "--name", "ended", IMAGE, "sh", "-c", script)
    user.estiba("run", "-d", "--name", "runs", IMAGE, "sh", "-c", f"{script}; sleep 1000")
    assert user.estiba("rm", "-f", "ended", "runs").stdout.split() == ["ended", "runs"]
    until(lambda: not os.listdir(user.folder / "root/trash"), "an empty trash, without another command")


NESTED = """
mkdir lower upper work merged memory
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
mount -t tmpfs tmpfs memory
"""


def test_store_on_an_overlay_is_refused_with_a_hint_or_runs(
    environment: dict[str, str], alpine_tar: Path, tmp_path: Path
) -> None:
    """The root of a container of another engine is an overlay, on which no upper layer can be (overlayfs.rst, Nesting)."""
    command = " ".join(command_under_test())
    script = f"""set -e; cd {tmp_path}; {NESTED}
    on() {{ ESTIBA_ROOT={tmp_path}/$1/root {command} import {alpine_tar} nested >&2
        set +e; ESTIBA_ROOT={tmp_path}/$1/root {command} run --rm nested echo ran on $1; echo $1 $?; set -e; }}
    on memory; on merged"""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["ran on memory", "memory 0"], done.stderr
    if lines[2:] != ["ran on merged", "merged 0"]:
        assert lines[2:] == ["merged 125"], done.stdout
        assert "estiba: cannot " in done.stderr
        assert "hint: " in done.stderr
