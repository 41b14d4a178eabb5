"""Ordinary users: made for the tests when root runs them, with and without subordinate ids (subuid(5))."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.command import Command


@dataclass(frozen=True)
class User:
    """An ordinary user with a folder of his own that he and nobody else may write."""

    name: str
    uid: int
    gid: int
    folder: Path
    python: Path
    has_subordinate_ids: bool

    @property
    def prefix(self) -> list[str]:
        """What runs a command as this user: nothing when we are he."""
        if os.geteuid() == self.uid:
            return []
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--inh-caps=-all", "--"]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.python.parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "USER": self.name,
            "ESTIBA_ROOT": str(self.folder / "root"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "DOCKER_CONFIG": str(self.folder / "docker"),
        }

    def run(
        self, *words: str, stdin: str = "", status: int | None = 0, timeout: float = 60, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as this user and checks its exit status (`status=None`: any)."""
        done = subprocess.run(
            [*self.prefix, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment | extra,
            cwd=self.folder,
            check=False,
        )
        if status is not None:
            assert done.returncode == status, f"{words}: status {done.returncode}, not {status}\n{done.stderr}{done.stdout}"
        return done

    @property
    def estiba(self) -> Command:
        """The installed command line, as this user."""

        def run(
            *words: str, stdin: str | bytes = "", status: int | None = 0, timeout: float = 60, **extra: str
        ) -> subprocess.CompletedProcess[str]:
            text = stdin if isinstance(stdin, str) else stdin.decode()
            launcher = self.python.with_name("estiba")  # it is there where the tests run on an installation
            command = [str(launcher)] if launcher.exists() else [str(self.python), "-m", "estiba"]
            return self.run(*command, *words, stdin=text, status=status, timeout=timeout, **extra)

        return run


def has_subordinate_ids(name: str, uid: int) -> bool:
    lines = [line for file in ("/etc/subuid", "/etc/subgid") if os.path.exists(file) for line in Path(file).read_text().splitlines()]
    return sum(line.split(":")[0] in {name, str(uid)} for line in lines) >= 2 and shutil.which("newuidmap") is not None


@pytest.fixture(scope="session")
def public_python() -> Iterator[Path]:
    """An interpreter with this installation that every user can reach, wherever the checkout is."""
    folder = Path(tempfile.mkdtemp(prefix="estiba-test-python-"))
    folder.chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next((folder / "lib").glob("python3*")) / "site-packages"
    import estiba

    sources = {Path(next(iter(estiba.__path__)))}
    installed = Path(sysconfig.get_path("purelib"))
    sources |= {installed / name for name in ("isal", "zstandard") if (installed / name).is_dir()}
    for source in sources:
        shutil.copytree(source, site / source.name)
    launcher = Path(sys.executable).with_name("estiba")
    if launcher.exists():
        shutil.copy2(launcher, folder / "bin" / "estiba")
    yield folder / "bin" / "python3"
    shutil.rmtree(folder)


def make_user(name: str, *, subordinate: bool) -> pwd.struct_passwd:
    """useradd(8) gives subordinate ids to every user that is no system user."""
    kind = [] if subordinate else ["--system"]
    subprocess.run(["useradd", *kind, "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh", name], check=True)
    return pwd.getpwnam(name)


def user_of(entry: pwd.struct_passwd, python: Path, folder: Path) -> User:
    folder.chmod(0o700)
    (folder / "run").mkdir(mode=0o700)
    if os.geteuid() == 0:
        for path in (folder, folder / "run"):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, folder, python, has_subordinate_ids(entry.pw_name, entry.pw_uid))


def remove_folder(folder: Path, entry: pwd.struct_passwd) -> None:
    """Files of subordinate owners are root's to remove, or their user's from inside a user namespace."""
    if os.geteuid() == 0:
        shutil.rmtree(folder)
        return
    unshare = ["unshare", "--user", "--map-root-user", *(["--map-auto"] if has_subordinate_ids(entry.pw_name, entry.pw_uid) else [])]
    subprocess.run([*unshare, "rm", "-rf", str(folder)], check=True)


def lend_user(python: Path, *, subordinate: bool) -> Iterator[User]:
    folder = Path(tempfile.mkdtemp(prefix="estiba-test-user-"))
    if os.geteuid() != 0:
        entry = pwd.getpwuid(os.geteuid())
        if has_subordinate_ids(entry.pw_name, entry.pw_uid) is not subordinate:
            folder.rmdir()
            pytest.skip("this user's subordinate ids are what they are; root's run of the tests covers both")
        yield user_of(entry, python, folder)
    else:
        entry = make_user(f"estiba-{'sub' if subordinate else 'one'}-{os.getpid()}", subordinate=subordinate)
        yield user_of(entry, python, folder)
        subprocess.run(["userdel", entry.pw_name], check=True, capture_output=True)
    remove_folder(folder, entry)


@pytest.fixture(scope="session")
def user_with_subids(public_python: Path) -> Iterator[User]:
    yield from lend_user(public_python, subordinate=True)


@pytest.fixture(scope="session")
def user_without_subids(public_python: Path) -> Iterator[User]:
    yield from lend_user(public_python, subordinate=False)


@pytest.fixture(params=["user_with_subids", "user_without_subids"])
def ordinary_user(request: pytest.FixtureRequest) -> User:
    """Each kind of ordinary user in turn."""
    user = request.getfixturevalue(request.param)
    assert isinstance(user, User)
    return user
