"""The numbers of a container's processes belong to others by now (J01): no verb sends those a signal.

In a namespace of its own for pids, where numbers between 300 and 400 come round soon (pid_max is the namespace's own since Linux 6.14), and with a
runtime directory of its own, whose records name those pids.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.command import command_under_test
from tests.support.containers import IMAGE
from tests.support.soak import times

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.host, pytest.mark.soak, pytest.mark.skipif(os.geteuid() != 0, reason="only root lowers pid_max")]

SCRIPT = """
import os, signal, subprocess, sys, time
rounds, image, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
open("/proc/sys/kernel/pid_max", "w").write("400")
VERBS = [["kill", "-s", "USR1", "box"], ["kill", "box"], ["stop", "-t", "0", "box"], ["start", "box"], ["ps"], ["restart", "-t", "0", "box"]]


def engine(*words, check=True):
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    assert not check or done.returncode == 0, (words, done)
    return done.stdout.strip()


def parent(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def take(number, pool):
    # Forks until one has the number. That one tells a signal by what is pending, or by its death.
    while True:
        child = os.fork()
        if child == 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while True:
                time.sleep(1000)
        if child == number:
            pool.append(child)
            return
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def pending(pid):
    fields = dict(line.split(":\\t") for line in open(f"/proc/{pid}/status").read().splitlines() if ":\\t" in line)
    state = fields["State"][0]
    return state not in "SR" or int(fields["SigPnd"], 16) or int(fields["ShdPnd"], 16)


for _ in range(301):  # numbers below 300 are given away only once (RESERVED_PIDS of kernel/pid.c)
    child = os.fork() or os._exit(0)
    os.waitpid(child, 0)
struck = 0
for round_ in range(rounds):
    engine("run", "-d", "--name", "box", image, "sleep", "1000")
    program = int(engine("inspect", "-f", "{{.State.Pid}}", "box"))
    keeper = parent(program)
    numbers = [program, keeper, parent(keeper)]
    if round_ % 2:
        engine("kill", "box")  # they end as they should
    else:
        for number in signal.SIGSTOP, signal.SIGKILL:  # nobody lives to write it down, or to start another watcher
            for pid in numbers[::-1]:
                os.kill(pid, number)
    while any(os.path.exists(f"/proc/{number}") for number in numbers):
        reap()
    pool = []
    for number in numbers:
        take(number, pool)
    for verb in VERBS[round_ % 3 :: 3]:
        engine(*verb, check=False)
    engine("rm", "-f", "box")
    assert engine("ps", "-aq") == ""
    struck += sum(bool(pending(pid)) for pid in pool)
    if round_ == 0:  # the twin: a signal would have been seen
        os.kill(pool[0], signal.SIGUSR1)
        assert pending(pool[0])
    for pid in pool:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    reap()
print("signals to others:", struck)
"""


def test_no_signal_to_others(environment: dict[str, str], alpine_store: Path) -> None:
    rounds = str(len(times(3, 200)))
    inner = 'mkdir -p /run/estiba && mount -t tmpfs -o mode=0700 none /run/estiba && exec "$@"'
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inner, "sh"]
    words += [sys.executable, "-c", SCRIPT, rounds, IMAGE, *command_under_test()]
    done = subprocess.run(
        words, env=environment | {"ESTIBA_ROOT": str(alpine_store)}, capture_output=True, text=True, timeout=60 + 5 * int(rounds), check=False
    )
    assert (done.returncode, done.stdout) == (0, "signals to others: 0\n"), done.stderr
