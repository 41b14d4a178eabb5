"""Small strict readers that the option parsers share: numbers, sizes, words of a list.

This module is on the start path of ``run``: it imports the error tree only.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_LARGEST = (1 << 63) - 1


def refuse(flag: str, text: str, cause: str, *, hint: str | None = None) -> InvalidArgument:
    """Makes the error for a flag's value."""
    shown = text if len(text) <= 80 else text[:77] + "..."
    return InvalidArgument(f"cannot use {flag} {shown!r}: {cause}", hint=hint)


def nearest(word: str, valid: Sequence[str]) -> str:
    """Returns a hint: the valid word nearest to `word`, else all of them."""
    import difflib  # only when a message is written

    near = difflib.get_close_matches(word, valid, n=1)
    return f"did you mean {near[0]}?" if near else "valid values: " + ", ".join(valid)


def choice(flag: str, text: str, valid: Sequence[str]) -> str:
    """Returns `text` when it is one of `valid`."""
    if text not in valid:
        raise refuse(flag, text, "not a valid value", hint=nearest(text, [word for word in valid if word]))
    return text


def whole(flag: str, text: str, least: int, most: int, *, shown: str | None = None) -> int:
    """Returns the integer that the ASCII digits of `text` are; `shown` is what the message quotes."""
    if not (text.isascii() and text.isdigit()):
        raise refuse(flag, text if shown is None else shown, "not a whole number")
    number = int(text) if len(text) <= 20 else most + 1
    if not least <= number <= most:
        raise refuse(flag, text if shown is None else shown, f"not between {least} and {most}")
    return number


def decimal(flag: str, text: str, places: int) -> int:
    """Returns a decimal number times 10**`places`, exactly."""
    before, separator, after = text.partition(".")
    digits = before + after
    if not (digits.isascii() and digits.isdigit()) or len(before) > 9 or len(after) > places or (separator and not after):
        raise refuse(flag, text, "not a decimal number")
    return int(digits + "0" * (places - len(after)))


def size(flag: str, text: str, *, minimum: int) -> int:
    """Returns bytes from a number with an optional unit b, k, m, g, t (powers of 1024; also kb, KiB)."""
    number = text.rstrip("bBiIkKmMgGtTpP")
    unit = text[len(number) :].lower()
    unit = unit if unit in ("", "b") else unit.removesuffix("b").removesuffix("i")
    if unit not in _UNITS or number[-1:].isalpha():
        raise refuse(flag, text, "not a size", hint="a number with b, k, m or g, for example 512m")
    if "." in number:
        result = decimal(flag, number, 9) * _UNITS[unit] // 10**9
    else:
        result = whole(flag, number, 0, _LARGEST, shown=text) * _UNITS[unit]
    if not minimum <= result <= _LARGEST:
        raise refuse(flag, text, f"at least {readable(minimum)}")
    return result


def readable(count: int) -> str:
    """Returns a size in the largest unit that divides it."""
    for exponent, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << exponent and count % (1 << exponent) == 0:
            return f"{count >> exponent} {unit}"
    return f"{count} bytes"


def key_value(flag: str, text: str) -> tuple[str, str]:
    """Splits KEY=VALUE."""
    key, separator, value = text.partition("=")
    if not key or not separator or "\0" in text:
        raise refuse(flag, text, "not KEY=VALUE")
    return key, value


def nothing_unprintable(flag: str, text: str) -> None:
    """Refuses an empty text, and control characters, which would reach a file with a line format."""
    if not text or not text.isprintable():
        raise refuse(flag, text, "empty, or holds control characters")


def octal(flag: str, text: str, shown: str) -> int:
    """Returns a file mode written in octal, 0 to 7777."""
    if not text or not set(text) <= set("01234567") or len(text) > 5 or int(text, 8) > 0o7777:
        raise refuse(flag, shown, "not a mode in octal")
    return int(text, 8)
