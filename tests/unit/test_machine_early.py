"""The two parts of a plan of a guest that is parked, and the name of its file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from estiba.engine import parked
from estiba.machine.early import likely, split
from estiba.plan import ops

if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.plan.ops import Op
    from estiba.store.layout import Store


def plan(name: str, hosts: bytes, program: str, window: tuple[int, int] = (0, 0), sysctl: str = "1") -> list[Op]:
    return [
        ops.guest_mount("erofs", "/dev/vda", "/layers/0", 1, "", 0),
        ops.guest_directory("/files", 0o755),
        ops.guest_file("/files/hosts", 0o644, hosts),
        ops.guest_slot(0, "/files/hosts"),
        ops.namespaces(0x20000),
        ops.streams(2, 1, *window),
        ops.bind(0, "/etc/hosts", 0, 0, 0),
        ops.hostname(name),
        ops.sysctl("x", sysctl),
        ops.pivot(),
        ops.execute([program], []),
    ]


def test_what_is_a_containers_own_is_in_the_second_part() -> None:
    first, own = split(plan("box", b"1.2.3.4 box", "true", (24, 80)), ["/bin/sh"])
    assert own == [ops.content(0, b"1.2.3.4 box"), ops.hostname("box"), ops.execute(["true"], [])]
    assert first[-4:] == [ops.held_file("/files/hosts"), ops.pivot(), ops.warm(["/bin/sh"]), ops.rest()]
    other, _ = split(plan("other", b"", "false", (50, 100)), ["/bin/sh"])
    assert first == other
    different, _ = split(plan("box", b"1.2.3.4 box", "true", sysctl="2"), ["/bin/sh"])
    assert first != different


def test_plan_without_a_root_has_no_parts() -> None:
    with pytest.raises(ValueError, match="no root"):
        split([ops.execute(["true"], [])])


def test_likely_files() -> None:
    assert likely(["A=B", "PATH=/bin:.:/opt/bin", "PATH=/no"]) == ["/etc/passwd", "/etc/group", "/bin/sh", "/opt/bin/sh"]
    assert likely([]) == ["/etc/passwd", "/etc/group"]


def test_each_part_is_in_the_name_of_the_file(store: Store, settings: Settings) -> None:
    parts: list[list[object]] = [["a", "b"], ["a", "b\nc"], ["a", "b", "c"], ["a\nb"], [["a"], "b"], ["a", b"b"]]
    for count, each in enumerate(parts, 1):
        found = parked.find(store, settings, each, with_disk=True)
        assert found is not None
        assert not found.whole
        with open(found.descriptor, "rb"), open(found.disk, "rb"):
            assert len(os.listdir(f"{store.cache}/parked")) == 2 * count
            assert parked.find(store, settings, each, with_disk=True) is None, "somebody writes it"


def test_oldest_files_go_with_their_disks(store: Store, settings: Settings) -> None:
    for number in range(parked.KEPT + 3):
        found = parked.find(store, settings, [number], with_disk=number % 2 == 0)
        assert found is not None
        os.close(found.descriptor)
        if found.disk >= 0:
            os.close(found.disk)
    names = set(os.listdir(f"{store.cache}/parked"))
    assert len([name for name in names if not name.endswith(".disk")]) == parked.KEPT
    assert all(name.removesuffix(".disk") in names for name in names)
