"""Health checks without a container: what is asked for, when it is done, and how results add up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from estiba.engine import health
from estiba.engine.health import Check, Health
from estiba.errors import InvalidArgument
from estiba.oci.image_config import parse_image_config
from estiba.runtime.options import RunOptions
from estiba.runtime.parse_lifecycle import check, duration
from estiba.runtime.parse_options import PARSERS

if TYPE_CHECKING:
    from estiba.oci.image_config import ImageConfig

SECOND = 10**9


def image(**healthcheck: object) -> ImageConfig:
    config: dict[str, object] = {"Healthcheck": healthcheck} if healthcheck else {}
    return parse_image_config(json.dumps({"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": []}}).encode())


def options(**flags: str) -> RunOptions:
    made = RunOptions("image")
    for name, text in flags.items():
        PARSERS["health-" + name.replace("_", "-")](made, text)
    return made


def result(code: int) -> dict[str, object]:
    return {"Start": "", "End": "", "ExitCode": code, "Output": ""}


def checked(**members: Any) -> Check:
    return Check({"Test": ["CMD", "true"], **members}, "test")


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("0", 0), ("30s", 30 * SECOND), ("1m30s", 90 * SECOND), ("1.5h", 5400 * SECOND), ("500ms", SECOND // 2), ("1h1m1s", 3661 * SECOND), ("2us", 2000), ("7ns", 7)],
)
def test_durations_are_gos(text: str, nanoseconds: int) -> None:
    assert duration("--health-interval", text) == nanoseconds


@pytest.mark.parametrize("text", ["", "30", "s", "1x", "-1s", "1s2", "1 s", "1..5s", "1sm", "\u0661s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidArgument, match="not a"):
        duration("--health-interval", text)


def test_a_check_is_not_more_often_than_a_millisecond() -> None:
    with pytest.raises(InvalidArgument, match="at least 1ms"):
        options(interval="999us")
    assert options(interval="0").health is not None


def test_nobody_asks() -> None:
    assert health.wanted(options(), image()) == {}
    assert not health.is_on({})


def test_the_images_check_and_what_the_caller_says_of_it() -> None:
    own = image(Test=["CMD-SHELL", "curl localhost"], Interval=7 * SECOND, Retries=5)
    assert health.wanted(options(), own) == {
        "Test": ["CMD-SHELL", "curl localhost"], "Interval": 7 * SECOND, "Retries": 5, "shell": ["/bin/sh", "-c"],
    }  # fmt: skip
    other = health.wanted(options(cmd="wget", interval="1s", start_period="1m"), own)
    assert other == {
        "Test": ["CMD-SHELL", "wget"], "Interval": SECOND, "StartPeriod": 60 * SECOND, "Retries": 5, "shell": ["/bin/sh", "-c"],
    }  # fmt: skip
    assert health.inspected(other)["Healthcheck"].keys() == other.keys() - {"shell"}
    assert Check(other, "test").command == ["/bin/sh", "-c", "wget"]


def test_switched_off() -> None:
    for off in (image(Test=["NONE"]), image(Test=[])):
        assert not health.is_on(health.wanted(options(), off))
    without = options()
    PARSERS_OFF(without)
    assert health.wanted(without, image(Test=["CMD", "x"])) == {"Test": ["NONE"]}
    with_both = options(cmd="x")
    PARSERS_OFF(with_both)
    with pytest.raises(InvalidArgument, match="--no-healthcheck"):
        check(with_both)


def PARSERS_OFF(made: RunOptions) -> None:  # noqa: N802 - stands for a switch
    from estiba.runtime.parse_lifecycle import no_healthcheck

    no_healthcheck(made)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="unknown kind"):
        health.wanted(options(), image(Test=["HTTP", "/"]))


def test_defaults_are_dockers() -> None:
    it = checked()
    assert (it.interval, it.timeout, it.start_period, it.start_interval, it.retries) == (30, 30, 0, 5, 3)


def test_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() -> None:
    state, it = Health("run"), checked(Retries=2)
    assert [state.take(it, result(code), 100) for code in (1, 1, 1, 0, 1, 0)] == [False, True, False, True, False, False]
    assert (state.status, state.streak, len(state.log)) == ("healthy", 0, 5)
    assert not state.take(it, result(-1), 100)
    assert state.take(it, result(-1), 100)
    assert state.shown() == {"Status": "unhealthy", "FailingStreak": 2, "Log": state.log}


def test_failures_in_the_start_period_do_not_count_until_one_succeeds() -> None:
    state, it = Health("run"), checked(StartPeriod=10 * SECOND, Retries=1)
    assert not any(state.take(it, result(1), began) for began in (0, 5, 9.9))
    assert (state.status, state.streak) == ("starting", 0)
    assert state.take(it, result(1), 10)
    assert state.status == "unhealthy"
    state = Health("run")
    assert state.take(it, result(0), 1)
    assert state.take(it, result(1), 2)


def test_pauses() -> None:
    state, it = Health("run"), checked(StartPeriod=10 * SECOND, StartInterval=SECOND, Interval=20 * SECOND)
    assert [state.pause(it, elapsed) for elapsed in (0, 9.9, 10)] == [1, 1, 20]
    state.status = "healthy"
    assert state.pause(it, 0) == 20
    assert Health("run").pause(checked(), 0) == 30
