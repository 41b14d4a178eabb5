"""PID 1 of a User-Mode Linux guest: a machine with cgroup version 2 alone, whose root is the host's with a layer of its own to write to.

It runs the commands of a file, prints their results as one line, and powers the guest off. A last command `exec` takes its place as PID 1
when the others have succeeded. As another process than PID 1 it does no more than run commands and print.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys

LINUX_REBOOT_CMD_POWER_OFF = 0x4321FEDC
MS_PRIVATE, MNT_DETACH, SYS_PIVOT_ROOT = 1 << 18, 2, 155
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)


def mount(fstype: str, target: str, options: str = "") -> None:
    os.makedirs(target, exist_ok=True)
    check(libc.mount(fstype.encode(), target.encode(), fstype.encode(), 0, options.encode()), target)


def enter_root() -> None:
    """What is written goes to memory: users are made there, and nothing reaches the host."""
    mount("tmpfs", "/run")
    for name in ("upper", "work"):
        os.mkdir(f"/run/{name}")
    mount("overlay", "/run/root", "lowerdir=/,upperdir=/run/upper,workdir=/run/work")
    os.chdir("/run/root")
    check(libc.syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root")  # chroot(2) would forbid user namespaces
    check(libc.umount2(b".", MNT_DETACH), "the old root")
    os.chdir("/")
    for fstype, target in (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run"), ("cgroup2", "/sys/fs/cgroup")):
        mount(fstype, target)


def run(command: list[str], folder: str) -> dict[str, object]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        commands = json.load(file)
    if os.getpid() == 1:
        enter_root()
    os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/run", TMPDIR="/run", ESTIBA_ROOT="/run/store")
    successor = commands.pop()[1:] if commands[-1][0] == "exec" else []
    results = [run(command, sys.argv[2]) for command in commands]
    if successor and not any(result["code"] for result in results):
        os.chdir("/")
        os.execv(successor[0], successor)
    print("RESULTS " + json.dumps(results), flush=True)


try:
    main()
finally:
    if os.getpid() == 1:
        libc.reboot(LINUX_REBOOT_CMD_POWER_OFF)
