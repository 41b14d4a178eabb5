"""The verbs of a container's life under kill -9 (K01) and other signals (K05) at random moments, and under kill -9 at each step (K02).

Nothing is lost that was told, the next command works, nothing is left, and each container is as it was or as it was asked to be.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.host.test_limits import value
from tests.support.plans import until
from tests.support.soak import times
from tests.support.solo import CREATED, RUNNING

if TYPE_CHECKING:
    from tests.support.solo import Solo

pytestmark = [pytest.mark.host, pytest.mark.soak]


class Case(NamedTuple):
    """A command, what is made before it, how `box` or `new` may be after it was cut off, and how it is once the command has said so."""

    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...]
    after: frozenset[str]
    done: str


def of(flags: tuple[str, ...], words: tuple[str, ...]) -> tuple[str, ...]:
    """`create` or `run` with further flags."""
    return (words[0], *flags, *words[1:])


ALWAYS, GOES = ("--restart", "always"), ("--rm",)
CASES = {
    "create": Case(CREATED, (), frozenset({"", "box created"}), "box created"),
    "run": Case(RUNNING, (), frozenset({"", "box created", "box running"}), "box running"),
    "run --rm": Case(of(GOES, RUNNING), (), frozenset({"", "box running"}), "box running"),
    "run --restart": Case(of(ALWAYS, RUNNING), (), frozenset({"", "box created", "box running"}), "box running"),
    "start": Case(("start", "box"), (CREATED,), frozenset({"box created", "box running"}), "box running"),
    "stop": Case(("stop", "box"), (RUNNING,), frozenset({"box running", "box exited"}), "box exited"),
    "kill": Case(("kill", "box"), (RUNNING,), frozenset({"box running", "box exited"}), "box exited"),
    "restart": Case(("restart", "box"), (RUNNING,), frozenset({"box running", "box exited"}), "box running"),
    "exec": Case(("exec", "box", "true"), (RUNNING,), frozenset({"box running"}), "box running"),
    "exec -d": Case(("exec", "-d", "box", "true"), (RUNNING,), frozenset({"box running"}), "box running"),
    "pause": Case(("pause", "box"), (RUNNING,), frozenset({"box running", "box paused"}), "box paused"),
    "unpause": Case(("unpause", "box"), (RUNNING, ("pause", "box")), frozenset({"box running", "box paused"}), "box running"),
    "update": Case(("update", "-m", "96m", "--pids-limit", "77", "box"), (RUNNING,), frozenset({"box running"}), "box running"),
    "rename": Case(("rename", "box", "new"), (RUNNING,), frozenset({"box running", "new running"}), "new running"),
    "rm": Case(("rm", "box"), (CREATED,), frozenset({"box created", ""}), ""),
    "rm -f": Case(("rm", "-f", "box"), (RUNNING,), frozenset({"box running", "box exited", ""}), ""),
    "stop --restart": Case(("stop", "box"), (of(ALWAYS, RUNNING),), frozenset({"box running", "box exited"}), "box exited"),
    "kill --restart": Case(("kill", "box"), (of(ALWAYS, RUNNING),), frozenset({"box running", "box exited"}), "box exited"),
    "restart --restart": Case(("restart", "box"), (of(ALWAYS, RUNNING),), frozenset({"box running"}), "box running"),
    "rm -f --restart": Case(("rm", "-f", "box"), (of(ALWAYS, RUNNING),), frozenset({"box running", "box exited", ""}), ""),
    "start --rm": Case(("start", "box"), (of(GOES, CREATED),), frozenset({"box created", "box running"}), "box running"),
    "restart --rm": Case(("restart", "box"), (of(GOES, RUNNING),), frozenset({"box running", ""}), "box running"),
    "rename --rm": Case(("rename", "box", "new"), (of(GOES, RUNNING),), frozenset({"box running", "new running"}), "new running"),
    "container prune": Case(("container", "prune", "-f"), (CREATED,), frozenset({"box created", ""}), ""),
    "cp": Case(("cp", "box:/bin", "out"), (CREATED,), frozenset({"box created"}), "box created"),
    "commit": Case(("commit", "box", "local/cut"), (RUNNING,), frozenset({"box running"}), "box running"),
}


def judge(solo: Solo, case: Case, *, told: bool) -> None:
    """Whatever was cut off, once it is over; `told`: the command has said that it is done."""
    allowed = {case.done} if told else case.after
    solo.next_command()
    deadline = time.monotonic() + 10
    while ((state := solo.look()) not in allowed or (left := solo.left())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state in allowed
    assert not left
    if "update" in case.words:
        assert len(updated(solo)) == 1, "all of it, or nothing"
    if "commit" in case.words and told:
        assert solo("images", "-q", "local/cut")
        solo("rmi", "local/cut")
    solo.use(may_go="" in allowed)
    ends_as_it_was_made(solo, case)
    solo.clear()


def ends_as_it_was_made(solo: Solo, case: Case) -> None:
    """What was made with --rm goes with its end, and with --restart it comes back."""
    made = {word for words in (*case.before, case.words) for word in words}
    if not made.intersection((*ALWAYS, *GOES)) or not solo.look():
        return
    ((container, (name, _)),) = solo.known.items()
    status = solo.remains.root / "containers" / container / "status"
    starts = status.read_text().count("running ")
    solo.fork("exec", name, "kill", "1").wait()
    if "--rm" in made:
        until(lambda: not status.exists(), "the end of what goes with it", 10)
    else:
        until(lambda: status.read_text().count("running ") > starts, "another start", 10)


def updated(solo: Solo) -> set[bool]:
    """Whether the limits of the case "update" are there: as `inspect` tells them, and as the kernel has them."""
    container, *shown = solo("inspect", "-f", "{{.Id}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", "box").split()
    kernel = [value(container, "memory.limit_in_bytes", "memory.max"), value(container, "pids.max")]
    return {number == wanted for numbers in (shown, kernel) for number, wanted in zip(numbers, [str(96 << 20), "77"], strict=True)}


#: Seconds that a command takes when nobody disturbs it, by verb.
DURATIONS: dict[str, float] = {}


def duration(solo: Solo, verb: str) -> float:
    """From `DURATIONS`, or measured."""
    if verb not in DURATIONS:
        solo.prepare(CASES[verb].before)
        began = time.monotonic()
        solo.begin(CASES[verb].words).communicate()
        DURATIONS[verb] = time.monotonic() - began
        solo.look()
        solo.clear()
    return DURATIONS[verb]


@pytest.mark.parametrize("verb", CASES)
def test_killed(solo: Solo, verb: str) -> None:
    case = CASES[verb]
    longest = duration(solo, verb) * 1.1
    dice = random.Random(verb)
    for _ in times(2, 500):
        solo.prepare(case.before)
        process = solo.begin(case.words)
        time.sleep(dice.random() * longest)
        process.kill()
        said = process.communicate()[0]
        judge(solo, case, told=bool(said) or process.returncode == 0)


#: Calls of the kernel that change something that others see, or on which others wait.
CALLS = (
    "openat", "write", "pwrite64", "ftruncate", "mkdir", "symlink", "link", "rename", "unlink", "rmdir", "flock", "pidfd_send_signal", "kill",
    "vfork", "clone", "clone3", "execve",
)  # fmt: skip


def steps(solo: Solo, case: Case) -> list[tuple[str, int]]:
    """The calls of a command by which something changes: each by its name, and how often that was called before and with it."""
    solo.prepare(case.before)
    solo.begin(case.words, ["strace", "-qq", "-e", f"trace={','.join(CALLS)}", "-e", "signal=none", "-o", "trace"]).communicate()
    judge(solo, case, told=True)
    found, count = [], dict.fromkeys(CALLS, 0)
    for line in (solo.folder / "trace").read_text().splitlines():
        name = line.partition("(")[0]
        count[name] += 1
        if name != "openat" or "O_CREAT" in line or "O_TRUNC" in line:
            found.append((name, count[name]))
    return found


@pytest.mark.parametrize("verb", CASES)
def test_cut_off_at_each_step(solo: Solo, verb: str) -> None:
    """By kill -9 before each call in turn, which is after the one before (K02), and by SIGINT within it."""
    case = CASES[verb]
    every = [(signal_name, *step) for step in steps(solo, case) for signal_name in ("SIGKILL", "SIGINT")]
    wrong = []
    for signal_name, name, number in every if len(times(1, 2)) == 2 else random.Random(verb).sample(every, 1):
        solo.prepare(case.before)
        process = solo.begin(case.words, ["strace", "-qq", "-e", f"inject={name}:signal={signal_name}:when={number}", "-o", "/dev/null"])
        said, error = process.communicate(timeout=60)
        try:
            assert b"Traceback" not in error, error
            judge(solo, case, told=bool(said) or process.returncode == 0)
        except AssertionError as failure:
            wrong.append(f"{signal_name} at {name} {number}: {failure}")
            solo.look()
            solo.clear()
    assert not wrong, "\n".join(wrong)


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT, signal.SIGTSTP]
CODES = {
    signal.SIGPIPE: {0, -signal.SIGPIPE},  # Python ignores it from some moment on
    signal.SIGTSTP: {0},
}


@pytest.mark.parametrize("verb", CASES)
def test_signalled(solo: Solo, verb: str) -> None:
    """The process alone, as kill(1) does, or its group, as a terminal does. Over all verbs each signal comes equally often."""
    case = CASES[verb]
    longest = duration(solo, verb) * 1.1
    dice = random.Random(verb)
    for turn in times(1, 200):
        number = SIGNALS[(turn + list(CASES).index(verb)) % len(SIGNALS)]
        solo.prepare(case.before)
        process = solo.begin(case.words)
        time.sleep(dice.random() * longest)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if dice.random() < 0.5 else os.kill)(process.pid, number)
        if number == signal.SIGTSTP:
            time.sleep(0.05)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
        _, error = process.communicate(timeout=60)
        assert b"Traceback" not in error, error
        assert process.returncode in CODES.get(number, {0, 1, 125, -number, 128 + number}), error
        judge(solo, case, told=process.returncode == 0)
