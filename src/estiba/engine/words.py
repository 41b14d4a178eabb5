"""Sizes and lengths of time in Docker's words (github.com/docker/go-units). On the start path of ``ps``: it imports nothing."""

from __future__ import annotations

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
#: Lengths of time up to so many hours, in units of so many hours.
_SPANS = ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 730, 24 * 30, "months"))
_BINARY_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def human_size(size: int, precision: int = 3) -> str:
    """Bytes in decimal units with `precision` significant digits: 7_804_000 is `7.8MB`."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_SIZES) - 1:
        value, unit = value / 1000, unit + 1
    text = f"{value:.{precision}g}"
    return (f"{value:.0f}" if "e" in text else text) + _SIZES[unit]


def binary_size(size: int) -> str:
    """Bytes in binary units with four significant digits: 7_804_000 is `7.442MiB`."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_BINARY_SIZES) - 1:
        value, unit = value / 1024, unit + 1
    text = f"{value:.4g}"
    return (f"{value:.0f}" if "e" in text else text) + _BINARY_SIZES[unit]


def human_duration(seconds: float) -> str:
    """A length of time as `2 weeks`, by go-units' thresholds. Negative lengths count as none."""
    whole, hours = int(seconds), int(seconds / 3600 + 0.5)
    if whole < 60:
        return "Less than a second" if whole < 1 else "1 second" if whole == 1 else f"{whole} seconds"
    if whole < 3600:
        return "About a minute" if whole < 120 else f"{whole // 60} minutes"
    if hours == 1:
        return "About an hour"
    for limit, size, unit in _SPANS:
        if hours < limit:
            return f"{hours // size} {unit}"
    return f"{int(seconds / 3600) // 24 // 365} years"
