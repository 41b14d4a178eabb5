"""Plans as bytes (helper/PROTOCOL.md "Wire format") and as words.

On the start path: it imports nothing but the generated vocabulary.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument
from estiba.plan.ops import NAMES, SCHEMA, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiba.plan.ops import Op, Value

HEADER_SIZE = 16
_MAGIC = b"ESTIBA\0"


def encode(ops: Iterable[Op]) -> bytes:
    """The plan of `ops`, in their order. Raises InvalidArgument for a value that its type cannot hold."""
    parts = [encode_op(op) for op in ops]
    body = b"".join(parts)
    header = _MAGIC + bytes((VERSION,)) + _u32(HEADER_SIZE + len(body)) + _u32(len(parts))
    return header + body


def encode_op(op: Op) -> bytes:
    """One operation: code, zero, length and arguments. Records of `unpack` are sent in this form without a header."""
    code = op[0]
    if type(code) is not int or code not in SCHEMA:
        raise InvalidArgument(f"cannot encode a plan: no operation has the code {code!r}")
    types = SCHEMA[code][2]
    if len(op) != len(types) + 1:
        raise InvalidArgument(f"cannot encode {NAMES[code]}: it takes {len(types)} arguments, not {len(op) - 1}")
    try:
        arguments = b"".join([_ENCODERS[kind](value) for kind, value in zip(types, op[1:], strict=True)])
    except (TypeError, OverflowError, ValueError) as error:
        raise InvalidArgument(f"cannot encode {describe(op)}: {error}") from error
    return code.to_bytes(2, "little") + b"\0\0" + _u32(len(arguments)) + arguments


def describe(op: Op) -> str:
    """One line for a reader: the operation's name and its arguments by name; flags in hexadecimal, bytes by length."""
    code = op[0]
    if type(code) is not int or code not in SCHEMA:
        return f"unknown operation {code!r}"
    name, _, types, names = SCHEMA[code]
    words = [name]
    for key, kind, value in zip(names, types, op[1:], strict=False):
        words.append(f"{key}={_show(key, kind, value)}")
    return " ".join(words)


def _show(key: str, kind: str, value: Value) -> str:
    if kind == "b" and isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, int):
        masks = ("flags", "capabilities", "effective", "permitted", "inheritable", "ambient", "propagation")
        return hex(value) if key in masks else str(value)
    if isinstance(value, (str, bytes)):
        return _quote(value)
    return "[" + ", ".join([_quote(item) for item in value]) + "]"


def _quote(value: str | bytes) -> str:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return repr(text)


def _u32(value: Value) -> bytes:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an integer")
    return value.to_bytes(4, "little")


def _q64(value: Value) -> bytes:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an integer")
    return value.to_bytes(8, "little", signed=value < 0)


def _bytes(value: Value) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{value!r} is not bytes")
    return _u32(len(value)) + bytes(value)


def _string(value: Value) -> bytes:
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if not isinstance(value, bytes):
        raise TypeError(f"{value!r} is not a string")
    if b"\0" in value:
        raise ValueError(f"{value!r} holds a NUL")
    return _u32(len(value)) + value + b"\0"


def _list(value: Value) -> bytes:
    if isinstance(value, (str, bytes, int)):
        raise TypeError(f"{value!r} is not a list of strings")
    return _u32(len(value)) + b"".join([_string(item) for item in value])


_ENCODERS = {"u": _u32, "q": _q64, "s": _string, "b": _bytes, "l": _list}
