"""Sizes and times in Docker's words (github.com/docker/go-units), and the times of OCI documents (RFC 3339)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
UNKNOWN = "N/A"


def human_size(size: int, precision: int = 3) -> str:
    """Bytes in decimal units with `precision` significant digits: 7_804_000 is `7.8MB`."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_SIZES) - 1:
        value, unit = value / 1000, unit + 1
    text = f"{value:.{precision}g}"
    return (f"{value:.0f}" if "e" in text else text) + _SIZES[unit]


def human_duration(seconds: float) -> str:
    """A length of time as `2 weeks`, by go-units' thresholds. Negative lengths count as none."""
    whole = int(seconds)
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    for limit, text in (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    ):
        if limit:
            return text
    return f"{int(seconds / 3600) // 24 // 365} years"


def parse_time(text: object) -> datetime | None:
    """An RFC 3339 time, or None for anything else (a missing or impossible one is shown as unknown, never a failure)."""
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[number]) for number in range(1, 7))
    offset = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0)) * (-1 if match[8] == "-" else 1)
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        return moment.replace(microsecond=int((match[7] or "0").ljust(6, "0")[:6])) - offset
    except (ValueError, OverflowError):
        return None


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as image-spec's `created` wants it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def created_at(moment: datetime | None) -> str:
    """Docker's CreatedAt column."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC") if moment else UNKNOWN


def created_since(moment: datetime | None, now: datetime | None = None) -> str:
    """Docker's CreatedSince column."""
    if moment is None:
        return UNKNOWN
    return human_duration(((now or datetime.now(UTC)) - moment).total_seconds()) + " ago"


def parse_moment(text: str, now: datetime | None = None) -> datetime | None:
    """The value of an `until` filter: a time, a date, seconds since 1970, or a length before now (`24h`); else None.

    What has no zone is the caller's own time, as in Docker.
    """
    if parsed := parse_time(text):
        return parsed
    if re.fullmatch(r"\d{1,11}(\.\d+)?", text, re.ASCII):
        return datetime.fromtimestamp(float(text), UTC)
    if re.fullmatch(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?)?", text, re.ASCII):
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            return None
    if re.fullmatch(rf"(?:{_DURATION_PART.pattern})+", text, re.ASCII):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
        try:
            return (now or datetime.now(UTC)) - timedelta(seconds=seconds)
        except OverflowError:
            return None
    return None
