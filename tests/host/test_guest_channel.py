"""The guest's end of the channel, spoken to without the host's: plans that come over it, several programs at once, windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine.guest_disks import layer_image, make_top
from estiba.machine import guest as machine_guest
from estiba.plan import ops
from estiba.plan.encode import encode
from estiba.plan.ops import VERSION
from estiba.store.images import find
from estiba.store.layout import Store
from tests.support import guests
from tests.support.containers import IMAGE
from tests.support.guests import EXITED, FAILED, OUTPUT, READY, STARTED, SYNCED, Guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from estiba.plan.ops import Op

NAMESPACES = 0x20000 | 0x20000000 | 0x4000000  # mount, PID, UTS (clone(2))
NO_SLOT, WINDOW = 0xFFFFFFFF, 65536


def plan(script: str, *, first: bool, stdin: int = 0) -> list[Op]:
    """A program on the layers, read-only; the `first` one finds the disks unmounted."""
    tree = machine_guest.Tree()
    if first:
        layers, lowers = tree.layers([machine_guest.Layer("/dev/ubda")])
        tree.top("/dev/ubdb", "")
    else:
        layers, lowers = tree.slot("/layers"), ["0"]
    everything = ["0 0 4294967295"]
    return [
        *tree.ops,
        ops.user_namespace(everything, everything, 1, "", ""),
        ops.namespaces(NAMESPACES),
        ops.streams(1, stdin, 0, 0),
        ops.overlay(layers, lowers, NO_SLOT, 0, 0),
        ops.mount("proc", "/proc", 0, []),
        ops.pivot(),
        ops.execute(["/bin/sh", "-c", script], ["PATH=/bin:/usr/bin"]),
    ]


@pytest.fixture
def disks(alpine_store: Path, environment: dict[str, str], tmp_path: Path) -> list[tuple[str, bool]]:
    settings = load(root=str(alpine_store), environ=environment)
    store = Store.open(settings)
    (layer,) = find(store, IMAGE).layers
    top = tmp_path / "top"
    make_top(store, str(top), durable=False)
    return [(layer_image(store, settings, layer), False), (str(top), True)]


@pytest.fixture
def guest(uml: Path, tmp_path: Path, disks: list[tuple[str, bool]]) -> Iterator[Guest]:
    with Guest(uml, tmp_path, disks) as machine:
        assert machine.next(0, READY).number == VERSION
        yield machine


def test_plan_of_the_initramfs(uml: Path, tmp_path: Path, disks: list[tuple[str, bool]]) -> None:
    with Guest(uml, tmp_path, disks, encode(plan("echo out; echo err >&2; exit 7", first=True))) as machine:
        assert machine.next(0, READY, STARTED).type == READY
        assert (machine.output(0, 1), machine.output(0, 2)) == (b"out\n", b"err\n")
        assert machine.next(0, EXITED).number == 7
        assert machine.next(0, SYNCED).number == 0


def test_plan_over_the_channel(guest: Guest) -> None:
    """It is longer than the line's buffer, so the guest must say how much it has read."""
    guest.start(0, plan(f"echo {'x' * 20000} | wc -c", first=True))
    assert guest.output(0, 1) == b"20001\n"


def test_several_programs(guest: Guest) -> None:
    guest.start(0, plan("echo first; read line; echo $line; exit 3", first=True, stdin=1))
    assert guest.next(0, STARTED).number == 0
    guest.start(1, plan("echo second; exit 4", first=False))
    guest.start(2, plan("sleep 100", first=False))
    guest.start(3, plan("cat", first=False, stdin=1))
    assert guest.output(1, 1) == b"second\n"
    assert guest.next(1, EXITED).number == 4
    assert guest.next(3, STARTED).number == 0, "input is for a program that runs"
    guest.send(3, guests.INPUT, b"to the third\n")
    guest.send(3, guests.INPUT_END)
    assert guest.output(3, 1) == b"to the third\n"
    assert guest.next(2, STARTED).number == 0
    guest.send(2, guests.SIGNAL, number=9)
    ended = guest.next(2, EXITED)
    assert (ended.number, ended.offset) == (137, 9)
    guest.start(1, plan("echo again", first=False))
    assert guest.next(1, EXITED).number == 0, "a session may be used again"
    guest.send(0, guests.INPUT, b"word\n")
    assert guest.next(0, EXITED).number == 3
    assert guest.next(0, SYNCED).number == 0


def test_failures_are_the_sessions_own(guest: Guest) -> None:
    guest.start(0, plan("sleep 100", first=True))
    assert guest.next(0, STARTED).number == 0
    guest.start(1, [*plan("true", first=False)[:-1], ops.execute(["/nosuch"], [])])
    assert guest.next(1, FAILED).data.startswith(b"not-found execute ")
    guest.start(1, [*plan("true", first=False)[:-1]])
    assert b"it executes nothing" in guest.next(1, FAILED).data
    guest.start(1, [ops.slot(0, 5, "/"), *plan("true", first=False)])
    assert guest.next(1, FAILED).data.startswith(b"launch ")
    guest.send(1, guests.PLAN, b"nonsense", number=8)
    assert b"its size is not possible" in guest.next(1, FAILED).data
    guest.start(1, plan("echo well", first=False))
    assert guest.output(1, 1).endswith(b"well\n")


def test_a_stream_that_nobody_takes_stops_neither_the_others_nor_its_end(guest: Guest) -> None:
    guest.acknowledges = False
    guest.start(0, plan("yes; exit 5", first=True))
    assert guest.next(0, STARTED).number == 0
    taken = 0
    while taken <= WINDOW // 2:
        taken += len(guest.next(0, OUTPUT).data)
    guest.start(1, plan("yes | head -c 1000", first=False))
    assert len(guest.output(1, 1)) == 1000
    taken += sum(len(frame.data) for frame in guest.frames if (frame.session, frame.type) == (0, OUTPUT))
    assert taken <= WINDOW
    guest.send(0, guests.BROKEN, stream=1)
    assert guest.next(0, EXITED).number == 5, "SIGPIPE ended the writer, and the shell went on"
