"""Identifier maps: subuid(5) parsing, the three kinds of maps, ranges that no two containers share."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from estiba.errors import FailedPrecondition, ResourceExhausted
from estiba.linux import idmap

if TYPE_CHECKING:
    from pathlib import Path

    from estiba.config.settings import Settings

FULL = ((0, 0, 4294967295),)


def settings(uid: int) -> Settings:
    return cast("Settings", SimpleNamespace(uid=uid))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"other:1:2\n", []),
        (b"other:nonsense\nann:100000:65536\n", [(100000, 65536)]),
        (b"1000:5:6\nann:7:8", [(5, 6), (7, 8)]),
        (b" ann:100000:65536 \n", [(100000, 65536)]),
    ],
)
def test_subordinate_lines_of_the_user(content: bytes, expected: list[tuple[int, int]]) -> None:
    assert idmap.parse_subordinate(content, {b"ann", b"1000"}, "/etc/subuid") == expected


@pytest.mark.parametrize(
    "line",
    ["ann", "ann:1", "ann:1:2:3", "ann:-1:5", "ann:1:0", "ann:0:5", "ann:+1:5", "ann: 1:5", "ann:1_0:5", "ann:\u0663:5", "ann:4294967290:9"],
)
def test_malformed_lines_of_the_user_are_refused_with_their_place(line: str) -> None:
    with pytest.raises(FailedPrecondition, match="/etc/subuid line 2"):
        idmap.parse_subordinate(b"x:1:1\n" + line.encode() + b"\n", {b"ann"}, "/etc/subuid")


def test_root_stores_plain_ids_and_gives_each_container_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idmap, "read_map", lambda path: FULL)
    layers = idmap.layer_maps(settings(0))
    assert (layers.kind, layers.uid_map, layers.setgroups) == ("root-range", ("0 0 4294967295",), 1)
    container = idmap.container_maps(settings(0), 1879048192)
    assert container.uid_map == container.gid_map == ("0 1879048192 65536",)
    assert idmap.needs_range(settings(0))


def test_root_of_a_small_user_namespace_shares_its_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idmap, "read_map", lambda path: ((0, 500000, 65536),))
    maps = idmap.container_maps(settings(0), None)
    assert (maps.kind, maps.uid_map, maps.newuidmap) == ("subordinate", ("0 0 65536",), "")
    assert not idmap.needs_range(settings(0))


def test_ordinary_user_with_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idmap, "read_map", lambda path: FULL)
    monkeypatch.setattr(idmap, "map_tool", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(idmap, "subordinate_ranges", lambda path, uid: [(100000, 65536), (300000, 10)])
    monkeypatch.setattr(os, "getgid", lambda: 1001)
    maps = idmap.layer_maps(settings(1000))
    assert maps.kind == "subordinate"
    assert maps.uid_map == ("0 1000 1", "1 100000 65536", "65537 300000 10")
    assert maps.gid_map[0] == "0 1001 1"
    assert (maps.newuidmap, maps.newgidmap, maps.setgroups) == ("/usr/bin/newuidmap", "/usr/bin/newgidmap", 1)


@pytest.mark.parametrize("missing", ["tool", "ranges", "not mapped here"])
def test_ordinary_user_without_ranges_has_one_id(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    own = ((0, 0, 1001),) if missing == "not mapped here" else FULL
    monkeypatch.setattr(idmap, "read_map", lambda path: own)
    monkeypatch.setattr(idmap, "map_tool", lambda name: "" if missing == "tool" else f"/usr/bin/{name}")
    monkeypatch.setattr(idmap, "subordinate_ranges", lambda path, uid: [] if missing == "ranges" else [(100000, 65536)])
    maps = idmap.layer_maps(settings(1000))
    assert (maps.kind, maps.uid_map, maps.setgroups, maps.newuidmap) == ("single", ("0 1000 1",), 0, "")


def test_a_range_that_holds_the_users_own_id_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idmap, "read_map", lambda path: FULL)
    monkeypatch.setattr(idmap, "map_tool", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(idmap, "subordinate_ranges", lambda path, uid: [(900, 200)])
    with pytest.raises(FailedPrecondition, match="own id 1000"):
        idmap.layer_maps(settings(1000))


def test_ranges_are_disjoint_and_come_back(tmp_path: Path) -> None:
    ranges = idmap.Ranges(str(tmp_path), 1879048192, 3)
    taken = set()
    for container in ("00000001" + "0" * 56, "00000001" + "1" * 56, "00000001" + "2" * 56):
        slot = ranges.free_slot(container)
        assert ranges.take(slot, container)
        taken.add(ranges.base(slot))
    assert taken == {1879048192, 1879048192 + 65536, 1879048192 + 2 * 65536}
    with pytest.raises(ResourceExhausted, match="all 3 id ranges"):
        ranges.free_slot("f" * 64)
    ranges.release(1, "f" * 64)  # not its owner: stays
    with pytest.raises(ResourceExhausted):
        ranges.free_slot("f" * 64)
    ranges.release(1, "00000001" + "0" * 56)
    assert ranges.free_slot("f" * 64) == 1


def test_a_slot_is_given_once(tmp_path: Path) -> None:
    ranges = idmap.Ranges(str(tmp_path), 1879048192, 4)
    assert ranges.take(2, "a" * 64)
    assert not ranges.take(2, "b" * 64)
    assert ranges.free_slot("00000002" + "b" * 56, after=2) == 3
