"""The unit for systemd: systemd understands it, and its two commands do what a boot and a shutdown want."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine.systemd import unit
from tests.support.containers import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from estiba.config.settings import Settings
    from estiba.store.layout import Store
    from tests.support.command import Command

pytestmark = pytest.mark.host


def verified(text: str, tmp_path: Path) -> None:
    path = tmp_path / "estiba-test.service"
    path.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "estiba" in line]) == (0, []), done.stderr


def commands(text: str) -> dict[str, list[str]]:
    lines = dict(line.split("=", 1) for line in text.splitlines() if line.startswith("Exec"))
    return {key: [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(value)] for key, value in lines.items()}


def states(engine: Callable[..., str]) -> dict[str, str]:
    return dict(line.split() for line in engine("ps", "-a", "--format", "{{.Names}} {{.State}}").splitlines())


def test_boot_and_shutdown(engine: Callable[..., str], estiba: Command, tmp_path: Path) -> None:
    for name, policy in (("always", "always"), ("running", "unless-stopped"), ("stopped", "unless-stopped"), ("plain", "no"), ("failing", "on-failure")):
        engine("run", "-d", "--name", name, "--restart", policy, IMAGE, "sleep", "1000")
    engine("stop", "-t", "0", "stopped", "plain")
    text = engine("container", "systemd")
    verified(text, tmp_path)
    shutdown, boot = commands(text)["ExecStop"][1:], commands(text)["ExecStart"][1:]
    estiba(*shutdown, "-t", "0")
    assert states(engine) == {"always": "exited", "running": "exited", "stopped": "exited", "plain": "exited", "failing": "running"}
    engine("ps")  # brings nobody back
    assert states(engine)["always"] == "exited"
    engine("stop", "-t", "0", "failing")
    estiba(*boot)
    estiba(*boot)
    assert states(engine) == {"always": "running", "running": "running", "stopped": "exited", "plain": "exited", "failing": "exited"}


def test_unit_of_one_container(engine: Callable[..., str], tmp_path: Path) -> None:
    engine("create", "--name", "web", "--restart", "always", "--stop-timeout", "100", IMAGE, "true")
    engine("create", "--name", "job", IMAGE, "true")
    text = engine("container", "systemd", "web")
    verified(text, tmp_path)
    assert commands(text)["ExecStart"][-3:] == ["start", "--wanted", "web"]
    assert "TimeoutStopSec=130\n" in text
    assert "its restart policy is no" in engine("container", "systemd", "job", status=1)
    assert "no such container" in engine("container", "systemd", "missing", status=1)


def test_odd_paths_are_quoted(store: Store, settings: Settings, tmp_path: Path) -> None:
    program = tmp_path / "a folder; with 50%"
    program.mkdir()
    (program / "estiba").write_text("#!/bin/sh\n")
    (program / "estiba").chmod(0o755)
    odd = 'a "quoted" $name; 50%'
    text = unit(store, settings, [], [str(program / "estiba"), "--root", odd])
    verified(text, tmp_path)
    assert commands(text)["ExecStart"][:3] == [str(program / "estiba"), "--root", odd]


def test_unit_of_an_ordinary_user(store: Store, environment: dict[str, str]) -> None:
    settings = load(environ=environment)
    wanted = "multi-user.target" if os.geteuid() == 0 else "default.target"
    assert f"WantedBy={wanted}" in unit(store, settings, [], ["/bin/true"])
