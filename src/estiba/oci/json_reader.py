"""The careful JSON reader: slower than the C scanner, but it knows where and why a document is refused.

`estiba.oci.strict_json.loads` comes here with documents that the scanner did not accept, and with every document where the
interpreter has no `_json`. Positions are in characters.
"""

from __future__ import annotations

import re

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_CHUNK = re.compile(r'[^"\\\x00-\x1f]*')
_HEX4 = re.compile(r"[0-9A-Fa-f]{4}")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS = (("null", None), ("true", True), ("false", False))
#: Python's own limit for decimal text (sys.get_int_max_str_digits), which the environment may lift there.
DIGITS_MAX = 4300
_QUOTED = re.compile(r'["\\\x00-\x1f]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Invalid(Exception):
    """The document is refused: `position` in characters, and `why`."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(position, why)
        self.position = position
        self.why = why


def quote(text: str) -> str:
    """`text` as a JSON string, escaped as little as RFC 8259 allows."""
    return '"' + _QUOTED.sub(lambda m: _SHORT.get(m[0], f"\\u{ord(m[0]):04x}"), text) + '"'


def read(text: str, *, depth_max: int, raw_bytes: bool = False) -> object:
    """Reads the one document in `text`.

    `depth_max` levels of arrays and objects; `raw_bytes` lets lone surrogates from U+DC80 to U+DCFF through. Raises Invalid.
    """
    return _Reader(text, depth_max, raw_bytes).document()


class _Reader:
    """A recursive descent; `depth_max` bounds the recursion."""

    def __init__(self, text: str, depth_max: int, raw_bytes: bool) -> None:
        self.text = text
        self.depth_max = depth_max
        self.raw_bytes = raw_bytes
        self.at = 0

    def document(self) -> object:
        value = self.value(0)
        if self.at != len(self.text):
            raise Invalid(self.at, "data after the end of the document")
        return value

    def value(self, depth: int) -> object:
        """The value at the position, with the white space on both sides."""
        self.space()
        letter = self.text[self.at : self.at + 1]
        value: object
        if letter == '"':
            value = self.string()
        elif letter in ("{", "["):
            if depth == self.depth_max:
                raise Invalid(self.at, f"nested deeper than {self.depth_max} levels")
            value = self.read_object(depth + 1) if letter == "{" else self.read_array(depth + 1)
        else:
            value = self.scalar()
        self.space()
        return value

    def read_object(self, depth: int) -> dict[str, object]:
        result: dict[str, object] = {}
        self.at += 1
        self.space()
        if self.skip("}"):
            return result
        while True:
            self.space()
            start = self.at
            if self.text[start : start + 1] != '"':
                raise Invalid(start, "a key in double quotes is missing")
            key = self.string()
            if key in result:
                raise Invalid(start, f"duplicate key {key[:100]!r}")
            self.space()
            if not self.skip(":"):
                raise Invalid(self.at, "a colon is missing")
            result[key] = self.value(depth)
            if self.skip("}"):
                return result
            if not self.skip(","):
                raise Invalid(self.at, "a comma or a closing brace is missing")

    def read_array(self, depth: int) -> list[object]:
        result: list[object] = []
        self.at += 1
        self.space()
        if self.skip("]"):
            return result
        while True:
            result.append(self.value(depth))
            if self.skip("]"):
                return result
            if not self.skip(","):
                raise Invalid(self.at, "a comma or a closing bracket is missing")

    def scalar(self) -> object:
        for word, value in _LITERALS:
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise Invalid(self.at, "a value is missing" if self.at < len(self.text) else "the document is cut off")
        start, self.at = self.at, match.end()
        if match[1] is None and match[2] is None:
            if len(match[0]) > DIGITS_MAX:
                raise Invalid(start, f"a number of more than {DIGITS_MAX} digits")
            return int(match[0])
        number = float(match[0])
        if number in (float("inf"), float("-inf")):
            raise Invalid(start, "a number out of range")
        return number

    def string(self) -> str:
        start = self.at
        self.at += 1
        parts: list[str] = []
        while True:
            match = _CHUNK.match(self.text, self.at)
            assert match is not None  # the pattern matches the empty string
            parts.append(match[0])
            self.at = match.end()
            letter = self.text[self.at : self.at + 1]
            if letter == '"':
                self.at += 1
                return "".join(parts)
            if letter == "\\":
                parts.append(self.escape())
            elif letter:
                raise Invalid(self.at, "a control character in a string")
            else:
                raise Invalid(start, "a string without its closing quote")

    def escape(self) -> str:
        start = self.at
        letter = self.text[start + 1 : start + 2]
        if letter != "u":
            if letter not in _ESCAPES:
                raise Invalid(start, "an unknown escape")
            self.at += 2
            return _ESCAPES[letter]
        code = self.unit()
        if 0xD800 <= code < 0xDC00 and self.text.startswith("\\u", self.at):
            low = self.unit()
            if 0xDC00 <= low < 0xE000:
                return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00))
        if 0xD800 <= code < 0xE000 and not (self.raw_bytes and 0xDC80 <= code <= 0xDCFF):
            raise Invalid(start, "half of a surrogate pair")
        return chr(code)

    def unit(self) -> int:
        """The number of the escape of four hexadecimal digits at the position."""
        match = _HEX4.match(self.text, self.at + 2)
        if match is None:
            raise Invalid(self.at, "an escape without four hexadecimal digits")
        self.at = match.end()
        return int(match[0], 16)

    def space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None  # the pattern matches the empty string
        self.at = match.end()

    def skip(self, letter: str) -> bool:
        """Steps over `letter` when it is there."""
        if not self.text.startswith(letter, self.at):
            return False
        self.at += 1
        return True
