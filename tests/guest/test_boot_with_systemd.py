"""A machine that boots with systemd: the generated unit brings containers back as their restart policies say, and stops them at the end.

A User-Mode Linux guest on the host's files, with few units of its own and the store on a disk that outlives the boots.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cgroup2 import boot, script
from tests.support.command import command_under_test

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "/var/lib/estiba"
ESTIBA = [*command_under_test(), "--root", ROOT]
UNITS = "/usr/lib/systemd/system"
#: What a boot and a shutdown are made of; all that the host starts at its own boot stays away.
NEEDED = (
    "basic.target final.target local-fs-pre.target local-fs.target multi-user.target paths.target poweroff.target shutdown.target slices.target"
    " sockets.target swap.target sysinit.target systemd-poweroff.service timers.target umount.target"
)
OWN_UNITS_ONLY = f"mkdir /run/units && cd {UNITS} && cp {NEEDED} /run/units && mount --bind /run/units {UNITS} && rm -rf /etc/systemd/system/* /etc/fstab"
#: Runs when the unit is done, and ends the boot.
REPORT = """\
[Unit]
After=estiba.service
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'exec {program} >/dev/console'
[Install]
WantedBy=multi-user.target
"""
#: The device's node is made where the kernel does not fill /dev.
DISK = ["sh", "-c", f"[ -b /dev/ubda ] || mknod /dev/ubda b 98 0; mkdir -p {ROOT} && mount -t ext4 /dev/ubda {ROOT}"]
STATES = [*ESTIBA, "ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}"]
CONTAINERS = {"always": "always", "kept": "unless-stopped", "stopped": "unless-stopped", "plain": "no"}


def states(result: dict[str, Any]) -> dict[str, str]:
    assert result["code"] == 0, result
    return {line.split()[0]: line.split()[1] for line in result["out"].splitlines()}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run(["mkfs.ext4", "-q", path], check=True)
    return path


def boot_with_systemd(uml: Path, folder: Path, disk: Path, commands: list[list[str]]) -> list[dict[str, Any]]:
    """The results of commands that are run when the boot is over."""
    program = script(folder, "report", commands)
    return boot(
        uml,
        folder,
        [
            DISK,
            ["sh", "-c", OWN_UNITS_ONLY],
            ["cp", f"{ROOT}/unit", "/etc/systemd/system/estiba.service"],
            ["sh", "-c", 'printf %s "$0" >/etc/systemd/system/report.service', REPORT.format(program=program)],
            ["systemctl", "enable", "estiba.service", "report.service"],
            ["exec", "/usr/bin/env", "-i", "SYSTEMD_GENERATOR_PATH=/nowhere", "/lib/systemd/systemd", "--unit=multi-user.target", "--show-status=no", "--log-target=null"],
        ],
        f"ubd0={disk}",
    )


def test_containers_come_back(uml: Path, tmp_path: Path, disk: Path, alpine_tar: Path) -> None:
    run = [*ESTIBA, "run", "-d", "--network", "none"]
    started = boot(
        uml,
        tmp_path,
        [
            DISK,
            [*ESTIBA, "import", str(alpine_tar), "image"],
            *([*run, "--name", name, "--restart", policy, "--stop-timeout", "1", "image", "sleep", "1000"] for name, policy in CONTAINERS.items()),
            [*ESTIBA, "stop", "-t", "0", "stopped"],
            ["sh", "-c", f"{' '.join(ESTIBA)} container systemd >{ROOT}/unit"],
            STATES,
            ["sync"],
        ],
        f"ubd0={disk}",
    )
    assert [result["code"] for result in started] == [0] * len(started), started
    assert states(started[-2]) == {"always": "running", "kept": "running", "stopped": "exited", "plain": "running"}

    # The power was cut: nobody has stopped anything.
    expected = {"always": "running", "kept": "running", "stopped": "exited", "plain": "exited"}
    first, active, own, program = boot_with_systemd(
        uml, tmp_path, disk, [STATES, ["systemctl", "is-active", "estiba.service"], ["cat", "/proc/1/comm"], [*ESTIBA, "exec", "always", "id", "-u"]]
    )
    assert (states(first), active["out"], own["out"], program["out"]) == (expected, "active\n", "systemd\n", "0\n")
    assert "plain exited Exited (255)" in first["out"]

    # And this time systemd has shut the machine down, which stopped them for a while only.
    looked, log = boot(uml, tmp_path, [DISK, STATES, ["sh", "-c", f"cat {ROOT}/containers/*/status"]], f"ubd0={disk}")[1:]
    assert states(looked) == {"always": "exited", "kept": "exited", "stopped": "exited", "plain": "exited"}
    assert "Exited (255)" not in next(line for line in looked["out"].splitlines() if line.startswith("always")), log
    (again,) = boot_with_systemd(uml, tmp_path, disk, [STATES])
    assert states(again) == expected


def test_without_the_unit_none_comes_back(uml: Path, tmp_path: Path, disk: Path, alpine_tar: Path) -> None:
    """The twin: it is the unit that starts them, no command that looks."""
    run = [*ESTIBA, "run", "-d", "--network", "none", "--name", "always", "--restart", "always", "image", "sleep", "1000"]
    boot(uml, tmp_path, [DISK, [*ESTIBA, "import", str(alpine_tar), "image"], run, ["sync"]], f"ubd0={disk}")
    _, first, second = boot(uml, tmp_path, [DISK, STATES, STATES], f"ubd0={disk}")
    assert states(first) == states(second) == {"always": "exited"}
