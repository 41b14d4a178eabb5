"""Times in Docker's words, and those of OCI documents (RFC 3339); sizes and lengths of time are in `words`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from estiba.engine.words import human_duration, human_size

_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
UNKNOWN = "N/A"

__all__ = ["UNKNOWN", "created_at", "created_since", "format_time", "human_duration", "human_size", "parse_moment", "parse_time"]


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
