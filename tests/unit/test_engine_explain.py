"""The waterfall of `run --explain`."""

from __future__ import annotations

from estiba.engine.explain import parse_trace, phases, waterfall

TRACE = b"plan 1000000\nclone 2000000\nmaps 2500000\noverlay 4000000\nmount 5000000\nbind 5500000\nstrange 6000000\nexecute 7000000\n"


def test_steps_join_into_phases_and_unknown_ones_stay() -> None:
    names = [name for name, _ in phases(parse_trace(TRACE))]
    assert names == [
        "helper reads the plan", "namespaces, id maps, cgroup", "layers: overlay", "mounts: /proc /dev /sys ...", "strange", "exec",
    ]  # fmt: skip


def test_a_phase_lasts_until_the_next_begins() -> None:
    lines = waterfall(parse_trace(TRACE), 8_000_000).splitlines()
    assert "2.000 ms" in lines[1].split("  ")[-2] or "2.000 ms" in lines[1]
    assert lines[1].startswith("namespaces")
    assert lines[-1].split() == ["total", "7.000", "ms"]
