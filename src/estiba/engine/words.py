"""Sizes and lengths of time in Docker's words (github.com/docker/go-units). On the start path of ``ps``: it imports nothing."""

from __future__ import annotations

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
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
