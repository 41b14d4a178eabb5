"""`info --security` tells what a container would get here: each row with a twin on a machine that lacks it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from estiba.engine import security
from estiba.linux import facts as host_facts
from estiba.linux import idmap, probes
from estiba.linux.cgroup import Host
from estiba.linux.probes import Finding
from tests.unit.test_runtime_spec import SINGLE, facts

if TYPE_CHECKING:
    from estiba.config.settings import Settings

SETTINGS = cast("Settings", SimpleNamespace(uid=0, id_range_start=1 << 30))


def rows(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> dict[str, tuple[bool, str]]:
    monkeypatch.setattr(host_facts, "gather", lambda *_args, **_named: facts(**changes))
    monkeypatch.setattr(idmap, "container_maps", lambda *_args: None)
    return {what: (has, how) for _, what, has, how in security.security(SETTINGS)}


def test_where_all_of_it_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(monkeypatch)
    assert {what for what, (has, _) in found.items() if not has} == {"no new privileges", "limit of memory", "security module profile"}
    assert found["limit of processes"] == (True, "2048")
    assert "nofile 4096" in found["limits of files, memory locks, core"][1], "the lesser of ours and the host's"


@pytest.mark.parametrize(
    ("what", "changes", "how"),
    [
        ("nested user namespaces off", {"own_proc": False}, "no /proc of its own"),
        ("limit of processes", {"cgroups": Host({}, {"pids": "it is not writable"})}, "2048 for each user (RLIMIT_NPROC): it is not writable"),
        ("devices", {"devices": ("/dev/sda",)}, "6 nodes"),
    ],
)
def test_what_a_machine_lacks_is_told(monkeypatch: pytest.MonkeyPatch, what: str, changes: dict[str, Any], how: str) -> None:
    has, told = rows(monkeypatch, **changes)[what]
    assert not has
    assert told.startswith(how)


def test_a_kernel_without_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "system_call_filter", lambda: Finding("filter", False, "the kernel has no seccomp filters"))
    found = rows(monkeypatch)
    assert found["system-call filter"] == found["socket families"] == (False, "the kernel has no seccomp filters")


def test_no_sealed_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "read_setting", lambda path: "2" if path.endswith("memfd_noexec") else "errno allow")
    monkeypatch.setattr(SETTINGS, "uid", 1000)
    assert not rows(monkeypatch, uid=1000, maps=SINGLE)["monitor and keeper"][0]
