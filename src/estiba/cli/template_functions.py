"""The functions of ``--format`` templates, and how Go prints values.

Sources: https://pkg.go.dev/text/template#hdr-Functions, Docker's templates/templates.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class TemplateFailure(Exception):
    """A template that cannot be parsed or carried out."""


class _NoValue:
    """A key that an open map does not have."""


NO_VALUE = _NoValue()
_MAX_WIDTH = 10_000
_VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\d*)(?:\.(?P<precision>\d+))?(?P<verb>.)", re.DOTALL | re.ASCII)


class Function(NamedTuple):
    """A function with the least and the greatest number of arguments (None: any)."""

    call: Callable[..., object]
    arity: tuple[int, int | None]


def truth(value: object) -> bool:
    """Go's truth: zero, empty, false and nothing are not true."""
    return value is not NO_VALUE and bool(value)


def to_text(value: object) -> str:
    """A value as Go's ``fmt.Print`` shows it."""
    if value is NO_VALUE or value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_nested(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, Sequence):
        return "[" + " ".join(_nested(item) for item in value) + "]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    return "{" + " ".join(to_text(getattr(value, name)) for name in dir(value) if name[:1].isupper()) + "}"


def _nested(value: object) -> str:
    return "<nil>" if value is None else to_text(value)


def plain(value: object) -> object:
    """A value as dictionaries, lists and scalars: an object becomes a dictionary of its capitalised fields."""
    if value is NO_VALUE:
        return None
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    members = [(name, getattr(value, name)) for name in dir(value) if name[:1].isupper()]
    return {name: plain(member) for name, member in members if not callable(member)}


def to_json(value: object) -> str:
    """A value as one line of JSON."""
    import json

    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def _index(value: object, *keys: object) -> object:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "")
        elif isinstance(value, (Sequence, str)) and isinstance(key, int) and not isinstance(key, bool):
            if not 0 <= key < len(value):
                raise TemplateFailure(f"index {key} is out of range: the list has {len(value)} items")
            value = value[key]
        else:
            raise TemplateFailure(f"index cannot look up {to_text(key)!r} in {to_text(value)[:40]!r}")
    return value


def _slice(value: object, start: object = 0, stop: object = None) -> object:
    end = stop if isinstance(stop, int) else len(_sized(value))
    if not isinstance(start, int) or not 0 <= start <= end <= len(_sized(value)):
        raise TemplateFailure(f"slice {to_text(start)}:{end} is out of range")
    return _sized(value)[start:end]


def _sized(value: object) -> Sequence[object]:
    if isinstance(value, Sequence):
        return value
    raise TemplateFailure(f"{to_text(value)[:40]!r} is not a list or text")


def _len(value: object) -> int:
    if isinstance(value, (Mapping, Sequence)):
        return len(value.encode("utf-8", "surrogateescape")) if isinstance(value, str) else len(value)
    raise TemplateFailure(f"len of {to_text(value)[:40]!r} does not exist")


def _text(value: object, function: str) -> str:
    if isinstance(value, str):
        return value
    raise TemplateFailure(f"{function} needs text, not {to_text(value)[:40]!r}")


def _number(value: object, function: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_WIDTH:
        return value
    raise TemplateFailure(f"{function} needs a number up to {_MAX_WIDTH}, not {to_text(value)[:40]!r}")


def _join(items: object, separator: object) -> str:
    return _text(separator, "join").join(to_text(item) for item in _sized(items))


def _split(text: object, separator: object) -> list[str]:
    words, by = _text(text, "split"), _text(separator, "split")
    return words.split(by) if by else list(words)


def _truncate(text: object, length: object) -> str:
    return _text(text, "truncate")[: max(0, _number(length, "truncate"))]


def _pad(text: object, before: object, after: object) -> str:
    """Docker's padWithSpace: nothing stays nothing."""
    shown = _text(text, "pad")
    return " " * _number(before, "pad") + shown + " " * _number(after, "pad") if shown else ""


def _print(*values: object) -> str:
    """fmt.Sprint: a space only between two values that are both no text."""
    out = ""
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            out += " "
        out += to_text(value)
    return out


def _println(*values: object) -> str:
    return " ".join(to_text(value) for value in values) + "\n"


def _printf(form: object, *values: object) -> str:
    queue = list(values)

    def one(match: re.Match[str]) -> str:
        verb = match["verb"]
        if verb == "%":
            return "%"
        if not queue:
            return f"%!{verb}(MISSING)"
        return _formatted(match, verb, queue.pop(0))

    text = _VERB.sub(one, _text(form, "printf"))
    return text + ("%!(EXTRA " + ", ".join(to_text(value) for value in queue) + ")" if queue else "")


def _formatted(match: re.Match[str], verb: str, value: object) -> str:
    width = _number(int(match["width"] or 0), "printf")
    precision = None if match["precision"] is None else _number(int(match["precision"]), "printf")
    if verb in "dxXob" and isinstance(value, int):
        shown = format(value, "" if verb == "d" else verb)
    elif verb in "feg" and isinstance(value, (int, float)):
        shown = format(float(value), f".{6 if precision is None else precision}{verb}")
    elif verb in "vs":
        shown = to_text(value) if precision is None else to_text(value)[:precision]
    elif verb == "q":
        shown = to_json(to_text(value))
    elif verb == "t" and isinstance(value, bool):
        shown = to_text(value)
    else:
        shown = f"%!{verb}({to_text(value)})"
    if "-" in match["flags"]:
        return shown.ljust(width)
    return shown.rjust(width, "0" if "0" in match["flags"] and verb in "dxXobf" else " ")


def _ordered(left: object, right: object, name: str) -> int:
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return (left > right) - (left < right)
    raise TemplateFailure(f"{name} cannot compare {to_text(left)[:40]!r} with {to_text(right)[:40]!r}")


def _equal(left: object, right: object) -> bool:
    if left is None or right is None or left is NO_VALUE or right is NO_VALUE:
        return truth(left) == truth(right) and not truth(left)
    if isinstance(left, str) != isinstance(right, str):
        raise TemplateFailure(f"eq cannot compare {to_text(left)[:40]!r} with {to_text(right)[:40]!r}")
    return left == right


def _eq(left: object, *others: object) -> bool:
    return any(_equal(left, other) for other in others)


FUNCTIONS: dict[str, Function] = {
    "json": Function(to_json, (1, 1)),
    "index": Function(_index, (1, None)),
    "slice": Function(_slice, (1, 3)),
    "len": Function(_len, (1, 1)),
    "join": Function(_join, (2, 2)),
    "split": Function(_split, (2, 2)),
    "lower": Function(lambda text: _text(text, "lower").lower(), (1, 1)),
    "upper": Function(lambda text: _text(text, "upper").upper(), (1, 1)),
    "title": Function(lambda text: _text(text, "title").title(), (1, 1)),
    "truncate": Function(_truncate, (2, 2)),
    "pad": Function(_pad, (3, 3)),
    "print": Function(_print, (0, None)),
    "println": Function(_println, (0, None)),
    "printf": Function(_printf, (1, None)),
    "eq": Function(_eq, (2, None)),
    "ne": Function(lambda left, right: not _equal(left, right), (2, 2)),
    "lt": Function(lambda left, right: _ordered(left, right, "lt") < 0, (2, 2)),
    "le": Function(lambda left, right: _ordered(left, right, "le") <= 0, (2, 2)),
    "gt": Function(lambda left, right: _ordered(left, right, "gt") > 0, (2, 2)),
    "ge": Function(lambda left, right: _ordered(left, right, "ge") >= 0, (2, 2)),
    "not": Function(lambda value: not truth(value), (1, 1)),
}
