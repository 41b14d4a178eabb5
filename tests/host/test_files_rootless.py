"""`cp`, `diff`, `commit` and `export` of ordinary users, with and without subordinate ids."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import IMAGE

if TYPE_CHECKING:
    from tests.support.live import Live


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_an_ordinary_users_container(live_user: Live, state: str) -> None:
    live = live_user
    (live.folder / "new").write_text("new")
    (live.folder / "bound").mkdir(exist_ok=True)
    for path in ("new", "bound"):
        os.chown(live.folder / path, live.folder.stat().st_uid, live.folder.stat().st_gid)
    options = ("-v", f"{live.folder}/bound:/b", "-v", "/own")
    live.start("mkdir /a; echo secret > /a/f; chmod 600 /a/f; chown 3:4 /a/f; chmod 0 /a; rm /etc/motd; echo v > /own/v", *options)
    if state == "stopped":
        live.stop()
    live("cp", "box:/a/f", "f")
    assert (live.folder / "f").read_text() == "secret\n"
    assert (live.folder / "f").stat().st_uid == live.folder.stat().st_uid
    live("cp", "new", "box:/a/new")
    live("cp", "new", "box:/b/new")
    live("cp", "box:/own/v", "v")
    assert (live.folder / "bound/new").read_text() == "new"
    expected = {"A /a", "A /a/f", "A /a/new", "C /etc", "D /etc/motd", "A /b", "A /own"}
    assert set(live("diff", "box").splitlines()) == expected
    with tarfile.open(fileobj=io.BytesIO(live.full("export", "box").stdout)) as archive:
        members = {member.name: member for member in archive}
    squashed = live.full("run", "--rm", IMAGE, "chown", "3:4", "/tmp", status=None).returncode != 0
    assert (members["a/f"].uid, members["a/f"].gid) == ((0, 0) if squashed else (3, 4))
    assert (members["a/new"].uid, members["a"].mode) == (0, 0)
    live("commit", "box", "local/committed")
    assert live("run", "--rm", "local/committed", "sh", "-c", "cat /a/f /a/new; stat -c %a /a; ls /own /b; ls /etc/motd || true") == (
        "secret\nnew0\n/b:\n\n/own:\n" if live("run", "--rm", IMAGE, "ls", "/opt", "/mnt").startswith("/mnt") else "secret\nnew0\n/own:\n\n/b:\n"
    )
    live("rmi", "local/committed")
    live.end()
    for name in ("f", "v", "bound/new"):
        (live.folder / name).unlink()
