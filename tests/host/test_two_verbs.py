"""Two commands at the same time on one container, each verb with each: both end, as if one had come before the other, and nothing is left.

A verb is a generator over a model of the containers: what it does between two `yield`s it does at once. What may come of two is what
comes of any order of their steps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.soak import times
from tests.support.solo import CREATED, RUNNING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.solo import Solo

pytestmark = [pytest.mark.host, pytest.mark.soak]

MOST_STEPS = 6
#: Seconds by which the second command may come later: about as long as most take.
LATER_SECONDS = 0.03
#: And until watchers and the kernel have done what they still have to do.
PATIENCE_SECONDS = 10


class Refused(Exception):
    """What a verb says where it does nothing; it exits with 1."""


class Box:
    """One container: created, running, paused or exited, or "" when it is gone."""

    def __init__(self, name: str, status: str, *, goes: bool = False) -> None:
        self.name = name
        self.status = status
        self.goes = goes  # of --rm, with its end
        self.ends = 0
        self.stands_still = False  # for a commit

    @property
    def lives(self) -> bool:
        return self.status in ("running", "paused")

    @property
    def is_going(self) -> bool:
        return self.status == "exited" and self.goes

    def end(self) -> Iterator[None]:
        """In three steps, unless it ends in between: who is paused goes on, it ends, and goes where it is of --rm."""
        lived, ends = self.lives, self.ends
        if self.status == "paused":
            self.status = "running"
        yield
        if lived and self.lives and self.ends == ends:
            self.status = "exited"
            self.ends += 1
        yield
        if self.is_going:
            self.status = ""


#: Who made a container, its name, its status.
Shown = frozenset[tuple[int, str, str]]


class World:
    """Containers, by who made them: 0 for the beginning, 1 and 2 for the two verbs."""

    def __init__(self, *, status: str, goes: bool = False) -> None:
        self.boxes = {0: Box("box", status, goes=goes)}

    def find(self, name: str = "box") -> Box:
        for box in self.boxes.values():
            if box.status and box.name == name:
                return box
        raise Refused

    def shown(self) -> Shown:
        return frozenset((who, box.name, box.status) for who, box in self.boxes.items() if box.status)


Codes = frozenset[int]
Steps = Generator[None, None, Codes]
OK, EITHER = frozenset({0}), frozenset({0, 1})
Outcome = tuple[Codes, Codes, Shown]
#: Of a program that was being executed when its container ended.
TORN = frozenset({0, 1, 126, 137})


def check(condition: bool) -> None:
    if not condition:
        raise Refused


def start(world: World, _who: int) -> Steps:
    box = world.find()
    yield
    check(box.status not in ("", "paused") and not box.is_going)
    box.status = "running"
    return OK


def stop(world: World, _who: int) -> Steps:
    box = world.find()
    yield
    check(box.status != "")
    yield from box.end()
    return OK


def kill(world: World, _who: int) -> Steps:
    box = world.find()
    yield
    check(box.status != "")
    yield
    check(box.lives)
    yield from box.end()
    return OK


def restart(world: World, _who: int) -> Steps:
    box = world.find()
    yield
    check(box.status != "" and not box.is_going)
    goes, box.goes = box.goes, False
    yield from box.end()
    yield
    check(box.status not in ("", "paused"))
    box.status, box.goes = "running", goes
    return OK


def pause(world: World, _who: int) -> Steps:
    box = world.find()
    yield
    check(box.status == "running")
    box.status = "paused"
    return OK


def unpause(world: World, _who: int) -> Steps:
    box = world.find()
    yield
    check(box.status == "paused")
    box.status = "running"
    return OK


def rename(world: World, _who: int) -> Steps:
    box = world.find()
    yield
    check(box.status != "")
    if box.name == "new":
        return frozenset({125})
    box.name = "new"
    return EITHER if box.is_going else OK


def rm(world: World, _who: int) -> Steps:
    box = world.find()
    check(not box.lives)
    yield
    check(not box.lives)
    box.status = ""
    return OK


def rm_force(world: World, _who: int) -> Steps:
    try:
        box = world.find()
    except Refused:
        return OK
    yield
    yield from box.end()
    yield
    check(not box.lives)
    box.status = ""
    return OK


def prune(world: World, _who: int) -> Steps:
    found = [box for box in world.boxes.values() if box.status in ("created", "exited")]
    yield
    for box in found:
        if not box.lives:
            box.status = ""
    return OK


def exec_(world: World, _who: int) -> Steps:
    box = world.find()
    check(box.status == "running" and not box.stands_still)
    ends = box.ends
    yield
    return OK if box.ends == ends else TORN


def look_inside(world: World, _who: int) -> Steps:
    """Verbs that read or change a container and leave it as it is."""
    box = world.find()
    ends = box.ends
    yield
    return OK if box.status and box.ends == ends and not box.is_going else EITHER


def commit(world: World, _who: int) -> Steps:
    box = world.find()
    ends = box.ends
    yield
    box.stands_still = True
    yield
    box.stands_still = False
    return OK if box.status and box.ends == ends and not box.is_going else EITHER


def create(world: World, who: int) -> Steps:
    return _new(world, who, "created")


def run(world: World, who: int) -> Steps:
    return _new(world, who, "running")


def _new(world: World, who: int, status: str) -> Steps:
    yield
    try:
        world.find()
    except Refused:
        world.boxes[who] = Box("box", status)
        return OK
    return frozenset({125})


VERBS: dict[str, tuple[tuple[str, ...], Callable[[World, int], Steps]]] = {
    "start": (("start", "box"), start),
    "stop": (("stop", "-t", "1", "box"), stop),
    "kill": (("kill", "box"), kill),
    "restart": (("restart", "-t", "1", "box"), restart),
    "pause": (("pause", "box"), pause),
    "unpause": (("unpause", "box"), unpause),
    "rename": (("rename", "box", "new"), rename),
    "rm": (("rm", "box"), rm),
    "rm -f": (("rm", "-f", "box"), rm_force),
    "container prune": (("container", "prune", "-f"), prune),
    "exec": (("exec", "box", "true"), exec_),
    "cp out": (("cp", "box:/bin", "-"), look_inside),
    "cp in": (("cp", "/etc/passwd", "box:/copied"), look_inside),
    "commit": (("commit", "box", "local/cut"), commit),
    "update": (("update", "-m", "96m", "box"), look_inside),
    "inspect": (("inspect", "box"), look_inside),
    "logs": (("logs", "box"), look_inside),
    "create": (CREATED, create),
    "run": (RUNNING, run),
}
BEGINNINGS: dict[str, tuple[tuple[tuple[str, ...], ...], dict[str, Any]]] = {
    "created": ((CREATED,), {"status": "created"}),
    "running": ((RUNNING,), {"status": "running"}),
    "paused": ((RUNNING, ("pause", "box")), {"status": "paused"}),
    "exited": ((RUNNING, ("stop", "box")), {"status": "exited"}),
    "of --restart": ((("run", "--restart", "always", *RUNNING[1:]),), {"status": "running"}),
    "of --rm": ((("run", "--rm", *RUNNING[1:]),), {"status": "running", "goes": True}),
}


@cache
def outcomes(beginning: str, verbs: tuple[str, str]) -> list[Outcome]:
    """Exit codes of both, and the containers, after each order of their steps."""
    found = []
    for mine in combinations(range(2 * MOST_STEPS), MOST_STEPS):
        world = World(**BEGINNINGS[beginning][1])
        steps = [VERBS[verb][1](world, who) for who, verb in enumerate(verbs, 1)]
        codes: list[Codes] = [frozenset(), frozenset()]
        for moment in range(2 * MOST_STEPS):
            which = 0 if moment in mine else 1
            try:
                next(steps[which])
            except StopIteration as end:
                codes[which] = codes[which] or end.value
            except Refused:
                codes[which] = frozenset({1})
        assert all(codes)
        if (outcome := (codes[0], codes[1], world.shown())) not in found:
            found.append(outcome)
    return found


def happened(solo: Solo, verbs: tuple[str, str], dice: random.Random) -> tuple[tuple[int, int], dict[str, int]]:
    """Carries both out, one of them a little later; returns their exit codes, and who made which container."""
    first = dice.randrange(2)
    running = {first: solo.fork(*VERBS[verbs[first]][0])}
    time.sleep(dice.random() * LATER_SECONDS)
    running[1 - first] = solo.fork(*VERBS[verbs[1 - first]][0])
    done = [running[which].wait() for which in (0, 1)]
    for each in done:
        assert all(line.startswith(("estiba: ", "hint: ")) for line in each.stderr.splitlines()), each
    made = {each.stdout.strip(): who for who, each in enumerate(done, 1) if each.args[0] in ("create", "run") and each.returncode == 0}
    return (done[0].returncode, done[1].returncode), made


def fits(solo: Solo, codes: tuple[int, int], made: dict[str, int], allowed: list[Outcome]) -> bool:
    """Tells whether what there is now may come of the two, and nothing else is there."""
    solo.look()
    shown = frozenset((made.get(container, 0), name, status) for container, (name, status) in solo.known.items())
    return any(codes[0] in first and codes[1] in second and shown == world for first, second, world in allowed) and not solo.left()


@pytest.mark.parametrize("verb", VERBS)
def test_two_verbs_at_once(solo: Solo, verb: str) -> None:
    dice = random.Random(verb)
    others = list(VERBS)[list(VERBS).index(verb) :]
    # A program that begins in a paused container begins when that goes on.
    pairs = [(beginning, other) for beginning in BEGINNINGS for other in others if {verb, other} != {"exec", "pause"}]
    wrong = []
    for beginning, other in (dice.choice(pairs) for _ in times(2, 5 * len(pairs))):
        solo.prepare(BEGINNINGS[beginning][0])
        codes, made = happened(solo, (verb, other), dice)
        allowed = outcomes(beginning, (verb, other))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (good := fits(solo, codes, made, allowed)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if good:
            solo.use()
        else:
            wrong.append(f"{verb} and {other}, {beginning}: {codes}, {solo.known}, left {solo.left()}")
        solo.clear()
    assert not wrong, "\n".join(wrong)
