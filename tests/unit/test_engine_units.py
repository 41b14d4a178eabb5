"""Docker's words for sizes and times; the cases are those of go-units' own documentation and of `docker images`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from estiba.engine import units

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (7_804_000, "7.8MB"), (13_256, "13.3kB"), (999_999, "1e+03kB"), (10**21, "1000EB")],
)
def test_size(size: int, text: str) -> None:
    assert units.human_size(size) == text.replace("1e+03", "1000")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"), (0.5, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (120, "2 minutes"), (3600, "About an hour"), (3600 * 5, "5 hours"), (86400 * 3, "3 days"), (86400 * 20, "2 weeks"),
        (86400 * 90, "3 months"), (86400 * 365 * 3, "3 years"),
    ],
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    assert units.human_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-09-06T12:05:36Z", datetime(2024, 9, 6, 12, 5, 36, tzinfo=UTC)),
        ("2024-09-06T12:05:36.123456789Z", datetime(2024, 9, 6, 12, 5, 36, 123456, tzinfo=UTC)),
        ("2024-09-06T12:05:36+02:00", datetime(2024, 9, 6, 10, 5, 36, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("9999-12-31T23:59:59-02:00", None), ("0000-01-01T00:00:00Z", None), ("0000", None), ("", None), (None, None), (5, None),
        ("2024-09-06T12:05:36Z\n", None), ("٢024-09-06T12:05:36Z", None),
    ],
)  # fmt: skip
def test_time(text: object, moment: datetime | None) -> None:
    assert units.parse_time(text) == moment


def test_columns() -> None:
    assert units.created_at(NOW) == "2026-01-31 12:00:00 +0000 UTC"
    assert units.created_since(NOW - timedelta(days=3), NOW) == "3 days ago"
    assert (units.created_at(None), units.created_since(None)) == ("N/A", "N/A")
    assert units.format_time(NOW) == "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("24h", NOW - timedelta(hours=24)), ("1h30m", NOW - timedelta(minutes=90)), ("10d", NOW - timedelta(days=10)),
        ("2026-13-01", None),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)), ("yesterday", None), ("-5h", None), ("", None), ("99999999999999d", None),
    ],
)  # fmt: skip
def test_until(text: str, moment: datetime | None) -> None:
    assert units.parse_moment(text, NOW) == moment


def test_moment_without_a_zone_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")  # two hours east (tzset(3))
    time.tzset()
    try:
        assert units.parse_moment("2026-01-31") == datetime(2026, 1, 30, 22, tzinfo=UTC)
        assert units.parse_moment("2026-01-31T12:00") == datetime(2026, 1, 31, 10, tzinfo=UTC)
        assert units.parse_moment("2026-01-31T12:00:07") == datetime(2026, 1, 31, 10, 0, 7, tzinfo=UTC)
        assert units.parse_moment("2026-01-31T12:00:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
