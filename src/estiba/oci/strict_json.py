"""Strict JSON (RFC 8259) for documents that others wrote, and the encoder for our own.

`loads` refuses what the standard module lets through and what two readers could understand differently: duplicate keys, NaN
and Infinity, a byte order mark, text that is not UTF-8, more than one document, nesting beyond 64, lone surrogates, numbers of
thousands of digits. It stands on the interpreter's C scanner, `_json.make_scanner`, without the `json` package (which costs the
start path four milliseconds for `re` and `enum`); what the scanner refuses is read once more by `estiba.oci.json_reader`, which
knows the offset and the reason, and which serves alone where the interpreter has no `_json`.
"""

from __future__ import annotations

from estiba.errors import DataLoss

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _json: Any
else:
    try:
        import _json
    except ImportError:  # an interpreter without the accelerator, PyPy for one
        _json = None

#: The limit of distribution-spec for manifests ("Pushing Manifests"), used for every document, in bytes.
LIMIT = 4 * 1024 * 1024
DEPTH_MAX = 64
INT64_MAX = 2**63 - 1
_SPACE = " \t\n\r"


# --- reading --------------------------------------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0.0:
        raise ValueError("out of range")
    return number


def _constant(text: str) -> object:
    raise ValueError(text)


class _Context:
    """What `_json.make_scanner` asks of its decoder; the class itself is handed over, so that functions stay unbound."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_unique)
    parse_float = staticmethod(_finite)
    parse_int = int
    parse_constant = staticmethod(_constant)
    array_hook = None  # Python 3.15


def loads(data: bytes, *, what: str, limit: int = LIMIT, raw_bytes: bool = False) -> object:
    """Reads one JSON document.

    Parameters: `data`, UTF-8; `what`, the document's name for messages ("the manifest"); `limit` in bytes; `raw_bytes` lets
    escaped surrogates from U+DC80 to U+DCFF through, by which `dumps` keeps bytes that are not UTF-8 (a process's arguments).
    Raises DataLoss with the byte offset.
    """
    if len(data) > limit:
        raise DataLoss(f"cannot read {what}: it has {len(data)} bytes, more than the limit of {limit}")
    if data[:3] == b"\xef\xbb\xbf" or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise invalid(what, 0, "it begins with a byte order mark")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise invalid(what, error.start, "it is not UTF-8") from None
    # A lone surrogate is only possible as an escape; documents that hold one are rare and go the careful way.
    if _json is None or (b"\\" in data and (b"\\ud" in data or b"\\uD" in data)):
        return _slowly(text, what, raw_bytes)
    try:
        value, end = _scan(text, len(text) - len(text.lstrip(_SPACE)))
    except (ValueError, StopIteration, RecursionError, SystemError):
        # SystemError: Python 3.11 and 3.12 want to raise json.JSONDecodeError and find that json was never imported.
        return _slowly(text, what, raw_bytes)
    if text[end:].strip(_SPACE) or _too_deep(data, value):
        return _slowly(text, what, raw_bytes)
    return value


_scan: Callable[[str, int], tuple[object, int]]
if _json is not None:
    _scan = _json.make_scanner(_Context)


def _too_deep(data: bytes, value: object) -> bool:
    if data.count(b"[") + data.count(b"{") <= DEPTH_MAX:
        return False
    level = [value]
    for _ in range(DEPTH_MAX):
        below: list[object] = []
        for item in level:
            if type(item) is dict:
                below.extend(item.values())
            elif type(item) is list:
                below.extend(item)
        if not below:
            return False
        level = below
    return any(type(item) is dict or type(item) is list for item in level)


def _slowly(text: str, what: str, raw_bytes: bool) -> object:
    from estiba.oci.json_reader import Invalid, read

    try:
        return read(text, depth_max=DEPTH_MAX, raw_bytes=raw_bytes)
    except Invalid as error:
        raise invalid(what, len(text[: error.position].encode("utf-8")), error.why) from None


def invalid(what: str, offset: int, why: str) -> DataLoss:
    """The error of a document that is not JSON as we accept it; `offset` in bytes."""
    return DataLoss(f"cannot read {what}: invalid JSON at offset {offset}: {why}")


# --- writing --------------------------------------------------------------------------------------------------------


class RawJSON(str):
    """JSON text that `dumps` splices in as it is: a fragment that was encoded before."""

    __slots__ = ()


def dumps(value: object, *, indent: int | None = None, sort_keys: bool = False) -> bytes:
    """Encodes `value` (None, bool, int, finite float, str, list, tuple, dict with str keys, RawJSON) as UTF-8.

    Compact unless `indent` (spaces) is given. Bytes that a str carries as surrogates (os.fsdecode) are written as escapes, which
    `loads` takes with `raw_bytes`. Raises TypeError or ValueError for anything else: that is a mistake of ours.
    """
    out: list[str] = []
    _encode(value, out.append, "" if indent is None else "\n", " " * (indent or 0), sort_keys)
    return "".join(out).encode("utf-8", "backslashreplace")


def _python_quote(text: str) -> str:
    from estiba.oci.json_reader import quote

    return quote(text)


_quote: Callable[[str], str] = _json.encode_basestring if _json is not None else _python_quote


def _encode(value: object, put: Callable[[str], None], newline: str, step: str, sort_keys: bool) -> None:
    """Appends the encoding of `value`; `newline` is the line break with the indentation so far, or empty."""
    kind = type(value)
    if kind is str:
        put(_quote(value))  # type: ignore[arg-type]  # `kind` says it
    elif kind is dict:
        _encode_dict(value, put, newline, step, sort_keys)  # type: ignore[arg-type]  # `kind` says it
    elif kind is list or kind is tuple:
        _encode_list(value, put, newline, step, sort_keys)  # type: ignore[arg-type]  # `kind` says it
    else:
        put(_scalar(value))


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, RawJSON):
        return value
    if isinstance(value, str):
        return _quote(str(value))
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        if value - value != 0.0:
            raise ValueError("NaN and Infinity are not JSON")
        return float.__repr__(value)
    raise TypeError(f"{type(value).__name__} is not a type of JSON")


def _encode_dict(value: dict[object, object], put: Callable[[str], None], newline: str, step: str, sort_keys: bool) -> None:
    if not value:
        put("{}")
        return
    inner = newline + step if newline else ""
    colon = ": " if newline else ":"
    separator = "{" + inner
    quote = _quote
    for key in sorted(value) if sort_keys else value:  # type: ignore[type-var]  # keys are checked below
        if not isinstance(key, str):
            raise TypeError("a key of a JSON object is a str")
        item = value[key]
        if type(item) is str:
            put(f"{separator}{quote(key)}{colon}{quote(item)}")
        else:
            put(separator + quote(key) + colon)
            _encode(item, put, inner, step, sort_keys)
        separator = "," + inner
    put(newline + "}")


def _encode_list(value: list[object], put: Callable[[str], None], newline: str, step: str, sort_keys: bool) -> None:
    if not value:
        put("[]")
        return
    inner = newline + step if newline else ""
    separator = "[" + inner
    for item in value:
        if type(item) is str:
            put(separator + _quote(item))
        else:
            put(separator)
            _encode(item, put, inner, step, sort_keys)
        separator = "," + inner
    put(newline + "]")


# --- typed access ---------------------------------------------------------------------------------------------------
#
# Each takes a parsed document, a key, the document's name for messages, and the value of an absent or null key; without
# a default the key is required. All raise DataLoss. `type(x) is int` keeps out bool, which is an int in Python.


def get_str(obj: object, key: str, what: str, default: str | None = None) -> str:
    """The string at `key`; one with a NUL is refused."""
    value = _get(obj, key, what, default)
    if type(value) is not str:
        raise _wrong(what, key, "a string", value)
    if "\0" in value:
        raise DataLoss(f"cannot read {what}: {key!r} holds a NUL byte")
    return value


def get_int(obj: object, key: str, what: str, default: int | None = None, *, minimum: int = 0, maximum: int = INT64_MAX) -> int:
    """The integer at `key`, between `minimum` and `maximum`."""
    value = _get(obj, key, what, default)
    if type(value) is not int or not minimum <= value <= maximum:
        raise _wrong(what, key, f"an integer in the range {minimum} to {maximum}", value)
    return value


def get_bool(obj: object, key: str, what: str, default: bool | None = None) -> bool:
    """The boolean at `key`."""
    value = _get(obj, key, what, default)
    if type(value) is not bool:
        raise _wrong(what, key, "true or false", value)
    return value


def get_list(obj: object, key: str, what: str, default: list[object] | None = None) -> list[object]:
    """The array at `key`."""
    value = _get(obj, key, what, default)
    if type(value) is not list:
        raise _wrong(what, key, "an array", value)
    return value


def get_dict(obj: object, key: str, what: str, default: dict[str, object] | None = None) -> dict[str, object]:
    """The object at `key`."""
    value = _get(obj, key, what, default)
    if type(value) is not dict:
        raise _wrong(what, key, "an object", value)
    return value


def get_str_list(obj: object, key: str, what: str, default: list[str] | None = None) -> list[str]:
    """The array of strings (without NUL) at `key`."""
    value = _get(obj, key, what, default)
    if type(value) is not list:
        raise _wrong(what, key, "an array of strings", value)
    for item in value:
        if type(item) is not str:
            raise _wrong(what, key, "an array of strings", item)
        if "\0" in item:
            raise DataLoss(f"cannot read {what}: {key!r} holds a NUL byte")
    return value


def get_str_map(obj: object, key: str, what: str, default: dict[str, str] | None = None) -> dict[str, str]:
    """The object of strings (without NUL) at `key`; null values are empty strings, as Go reads them."""
    value = _get(obj, key, what, default)
    if type(value) is not dict:
        raise _wrong(what, key, "an object of strings", value)
    result: dict[str, str] = {}
    for name, item in value.items():
        if item is None:
            item = ""
        if type(item) is not str:
            raise _wrong(what, key, "an object of strings", item)
        if "\0" in item or "\0" in name:
            raise DataLoss(f"cannot read {what}: {key!r} holds a NUL byte")
        result[name] = item
    return result


def as_dict(value: object, what: str) -> dict[str, object]:
    """`value` when it is an object."""
    if type(value) is not dict:
        raise DataLoss(f"cannot read {what}: it is {_shown(value)}, not an object")
    return value


def _get(obj: object, key: str, what: str, default: object) -> object:
    value = obj.get(key) if type(obj) is dict else as_dict(obj, what)  # `ps` gets here twenty thousand times
    if value is None:
        if default is None:
            raise DataLoss(f"cannot read {what}: {key!r} is missing")
        return default
    return value


def _wrong(what: str, key: str, expected: str, value: object) -> DataLoss:
    return DataLoss(f"cannot read {what}: {key!r} is {_shown(value)}, not {expected}")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    try:
        text = dumps(value).decode()
    except ValueError:  # an integer of more digits than the interpreter prints
        text = "a number"
    return text if len(text) <= 60 else text[:57] + "..."
