"""The filters and times of `events`, and what its file may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from estiba.engine import event_log
from estiba.engine.events import events
from estiba.errors import InvalidArgument

if TYPE_CHECKING:
    from estiba.store.layout import Store

ACTOR = ("a" * 64, "web", "alpine:3", {"tier": "db", "odd": '"\\n\x03'})


def actor(store: Store) -> event_log.Actor:
    identity, name, reference, labels = ACTOR
    return event_log.Actor(f"{store.containers}/{identity}", store.runtime, name, reference, labels)


def actions(store: Store, *filters: str) -> list[str]:
    return [event["Action"] for event in events(store, since="1h", until="0s", filters=filters)]


@pytest.fixture
def told(store: Store) -> Store:
    event_log.container(actor(store), "create", "start")
    event_log.container(actor(store), "health_status: healthy")
    event_log.image(store, "pull", "alpine:3", "alpine")
    return store


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ((), ["create", "start", "health_status: healthy", "pull"]),
        (("event=create", "event=start"), ["create", "start"]),
        (("event=health_status",), ["health_status: healthy"]),
        (("event=health",), []),
        (("type=image",), ["pull"]),
        (("container=web", "event=start"), ["start"]),
        (("container=aaaa", "event=start"), ["start"]),
        (("container=we", "event=start"), ["start"]),
        (("container=eb",), []),
        (("image=alpine", "event=start"), ["start"]),
        (("image=alpine:3", "type=image"), ["pull"]),
        (("label=tier", "event=start"), ["start"]),
        (("label=tier=db", "label=odd", "event=start"), ["start"]),
        (("label=tier=web",), []),
        (("volume=x",), []),
    ],
)
def test_filters(told: Store, filters: tuple[str, ...], found: list[str]) -> None:
    assert actions(told, *filters) == found


@pytest.mark.parametrize(("text", "cause"), [("colour=red", "unknown filter"), ("event", "not KEY=VALUE"), ("", "not KEY=VALUE")])
def test_wrong_filters_are_refused_before_anything_is_read(store: Store, text: str, cause: str) -> None:
    with pytest.raises(InvalidArgument, match=cause):
        events(store, filters=[text])


def test_times_that_are_none(store: Store) -> None:
    for flag in ({"since": "soon"}, {"until": "1e3"}):
        with pytest.raises(InvalidArgument, match="not a time"):
            events(store, **flag)


def test_only_what_is_between_the_times(told: Store) -> None:
    moments = [event["timeNano"] for event in events(told, since="1h", until="0s")]
    second = f"{moments[2] // 10**9}.{moments[2] % 10**9:09}"
    assert [event["timeNano"] for event in events(told, since=second, until=second)] == [moments[2]]


def test_what_the_helper_tells_is_written_beforehand(store: Store) -> None:
    start, oom, die, destroy, detach, resize = event_log.lines(actor(store))
    assert all(text.count(b"\1") == 1 and text.count(b"\2") == 1 and b"\n" not in text for text in (start, oom, die, destroy, detach, resize))
    assert b'"exitCode":"\3"' in die
    assert b'"height":"\4","width":"\5"' in resize
    assert not any(byte in start + oom + destroy + detach for byte in b"\3\4\5")


def test_what_the_helper_tells_of_a_program_that_entered(store: Store) -> None:
    start, oom, die, destroy, detach, resize = event_log.exec_lines(actor(store), ["sh", "-l"])
    mark = next(events(store, since="1h", until="0s"))["Actor"]["Attributes"]["execID"].encode()
    assert all(b'"execID":"%b"' % mark in text for text in (start, die, detach))
    assert b'"Action":"exec_start: sh -l"' in start
    assert b'"Action":"exec_detach"' in detach
    assert (oom, destroy, resize) == (b"", b"", b""), "as in Docker's API"


def test_lines_that_are_cut_are_passed_over(told: Store) -> None:
    with open(event_log.path(told.runtime, told.containers), "ab") as file:
        file.write(b'{"Type":"contai\n[]\n')
    event_log.image(told, "tag", "sha256:1", "x")
    assert actions(told, "type=image") == ["pull", "tag"]


def test_nothing_can_be_told_and_nothing_fails(store: Store) -> None:
    store.runtime = "/proc/nowhere"
    event_log.image(store, "tag", "sha256:1", "x")
    assert actions(store) == []
