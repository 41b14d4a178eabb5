"""PID 1 of a User-Mode Linux guest whose root is the host's, read-only: a machine with cgroup version 2 alone.

It mounts what a machine has, runs the commands of the file `commands.json` beside the link that the kernel was given as init (the
kernel's command line drops arguments with a dot), prints their results as one line, and powers the guest off.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys

LINUX_REBOOT_CMD_POWER_OFF = 0x4321FEDC
libc = ctypes.CDLL(None, use_errno=True)


def mount(fstype: str, target: str) -> None:
    if libc.mount(fstype.encode(), target.encode(), fstype.encode(), 0, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def run(command: list[str]) -> dict[str, object]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def main() -> None:
    for fstype, target in (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run"), ("cgroup2", "/sys/fs/cgroup")):
        mount(fstype, target)
    os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/run", TMPDIR="/run", ESTIBA_ROOT="/run/store")
    with open(sys.argv[1], encoding="utf-8") as file:
        commands = json.load(file)
    print("RESULTS " + json.dumps([run(command) for command in commands]), flush=True)


try:
    main()
finally:
    libc.reboot(LINUX_REBOOT_CMD_POWER_OFF)
