"""Attacks that once succeeded, by programs, images and other users; each with a twin that shows the attack would be seen."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import Settings
from estiba.engine import reclaim
from estiba.errors import PermissionDenied
from estiba.store.layout import Store
from tests.support.command import command_under_test

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.command import Command
    from tests.support.users import User

HELD_BY_NOBODY = "b" * 64


@pytest.fixture
def image(estiba: Command, alpine_tar: Path) -> str:
    estiba("import", str(alpine_tar), "base")
    return "base"


# --- the caller's session keyring -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`keys COMMAND...` runs a command in a session that has a key; `keys` alone prints that key's payload, or an errno."""
    folder = tmp_path_factory.mktemp("keys")
    folder.chmod(0o755)
    (folder / "keys.c").write_text(r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
/* linux/keyctl.h, which musl has not */
enum { JOIN_SESSION_KEYRING = 1, SEARCH = 10, READ = 11, SESSION_KEYRING = -3 };
int main(int count, char **words)
{
    char data[64];
    if (count > 1) {
        syscall(SYS_keyctl, JOIN_SESSION_KEYRING, NULL);
        syscall(SYS_add_key, "user", "estiba-test", "treasure", 8, SESSION_KEYRING);
        execvp(words[1], words + 1);
        return 1;
    }
    long key = syscall(SYS_keyctl, SEARCH, SESSION_KEYRING, "user", "estiba-test", 0);
    long size = key < 0 ? -1 : syscall(SYS_keyctl, READ, key, data, sizeof data, 0);
    if (size < 0)
        printf("errno %d\n", errno);
    else
        printf("%.*s\n", (int)size, data);
    return 0;
}
""")
    subprocess.run(["musl-gcc", "-static", "-o", str(folder / "keys"), str(folder / "keys.c")], check=True)
    return folder / "keys"


@pytest.mark.parametrize("option", ["--privileged", "--security-opt=seccomp=unconfined"])
def test_keys_of_the_session_stay_outside(image: str, keys: Path, estiba: Command, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setenv("ESTIBA_UNDER_TEST", " ".join([str(keys), *command_under_test()]))
    assert estiba("run", "--rm", option, "-v", f"{keys}:/keys:ro", image, "/keys").stdout == "errno 126\n"  # ENOKEY


def test_keys_of_the_session_are_seen_by_a_child(keys: Path) -> None:
    assert subprocess.run([keys, keys], capture_output=True, text=True, check=True).stdout == "treasure\n"


# --- what an image says to the terminal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", ["\\u009b31m", "\\u001b[31m", "\\u0007", "\\u007f", "\\u202e", "\\u2066"])
def test_command_of_an_image_controls_no_terminal(estiba: Command, alpine_tar: Path, sequence: str) -> None:
    estiba("import", "--change", f'CMD ["no{sequence}such"]', str(alpine_tar), "speaks")
    text = estiba("run", "--rm", "speaks", status=127).stderr
    assert "no?" in text
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("terminal", [True, False])
def test_plan_of_an_image_controls_no_terminal(estiba: Command, alpine_tar: Path, environment: dict[str, str], *, terminal: bool) -> None:
    """JSON escapes what is below U+0020 and nothing else; a file or pipe gets it as it is."""
    estiba("import", "--change", "ENV SAID=no\u009b31m\u202e\u007fsuch", str(alpine_tar), "speaks")
    ours, theirs = pty.openpty() if terminal else os.pipe()
    text = b""
    with subprocess.Popen([*command_under_test(), "run", "--dry-run", "speaks", "true"], stdout=theirs, env=environment) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # EIO: a terminal whose other end nobody has any more
            while piece := os.read(ours, 4096):
                text += piece
        os.close(ours)
    assert process.returncode == 0
    assert b"SAID=no" in text
    assert text.decode().translate(dict.fromkeys(b"\r\n\t")).isprintable() == terminal


def test_command_of_an_image_is_told_in_its_own_letters(estiba: Command, alpine_tar: Path) -> None:
    estiba("import", "--change", 'CMD ["año\u00a0Â漢"]', str(alpine_tar), "speaks")
    assert "año\u00a0Â漢" in estiba("run", "--rm", "speaks", status=127).stderr


# --- set-uid programs of images, on the host ----------------------------------------------------------------------------------


@pytest.fixture
def open_root(tmp_path: Path, estiba: Command) -> Iterator[Path]:
    """A store in a folder that was there before, with its usual mode; it holds a set-uid program."""
    archive = tmp_path / "layer.tar"
    program = tarfile.TarInfo("id")
    program.mode, content = 0o4755, Path("/usr/bin/id").read_bytes()
    program.size = len(content)
    with tarfile.open(archive, "w") as target:
        target.addfile(program, io.BytesIO(content))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        estiba("import", str(archive), "setuid", ESTIBA_ROOT=name)
        yield root


def test_setuid_program_of_an_image_is_out_of_reach(open_root: Path, user_without_subids: User) -> None:
    (program,) = open_root.glob("layers/*/fs/id")
    assert program.stat().st_mode & 0o4001
    assert "ermission denied" in user_without_subids.run("sh", "-c", f"{program} -u", status=126).stderr


def test_setuid_program_of_an_image_is_reached_in_an_open_store(open_root: Path, user_without_subids: User, estiba: Command) -> None:
    (program,) = open_root.glob("layers/*/fs/id")
    open_root.chmod(0o711)
    assert user_without_subids.run("sh", "-c", f"{program} -u").stdout == f"{os.geteuid()}\n"
    assert "other users may enter" in estiba("images", status=None, ESTIBA_ROOT=str(open_root)).stderr


# --- the folder of volatile state -------------------------------------------------------------------------------------------


def plant(runtime: Path, victim: Path) -> None:
    """A record of a dead container whose folder is the victim's."""
    (runtime / "live").mkdir(parents=True)
    lines = f"creator 1 0\nfolder {victim}\nname {victim}/none\ntrash {runtime}\nremove 1\n"
    (runtime / "live" / HELD_BY_NOBODY).write_text(lines)


@pytest.mark.parametrize("trap", ["open", "link"])
def test_records_that_others_may_write_are_not_obeyed(tmp_path: Path, trap: str) -> None:
    runtime, real = tmp_path / "run" / "estiba", tmp_path / "real"
    plant(real if trap == "link" else runtime, tmp_path / "precious")
    if trap == "link":
        runtime.parent.mkdir()
        real.chmod(0o700)
        runtime.symlink_to(real)
    else:
        runtime.chmod(0o777)
    settings = Settings(uid=os.geteuid(), root=str(tmp_path / "root"), runtime_dir=str(runtime), config_dir=str(tmp_path))
    with pytest.raises(PermissionDenied, match="0700"):
        Store.open(settings)


def test_records_of_ones_own_are_obeyed(tmp_path: Path) -> None:
    runtime, victim = tmp_path / "run" / "estiba", tmp_path / "precious"
    victim.mkdir()
    plant(runtime, victim)
    runtime.chmod(0o700)
    settings = Settings(uid=os.geteuid(), root=str(tmp_path / "root"), runtime_dir=str(runtime), config_dir=str(tmp_path))
    Store.open(settings)
    assert reclaim.sweep(settings) == [HELD_BY_NOBODY]
    assert not victim.exists()
