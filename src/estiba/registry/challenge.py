"""`WWW-Authenticate`, read strictly (RFC 9110, 11.6.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_MAX_LENGTH = 8192


class Challenge(NamedTuple):
    """One challenge: `scheme` lower-case, `parameters` with lower-case names."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(values: Sequence[str]) -> list[Challenge]:
    """All challenges of the header's lines, in order; ValueError when a line is malformed."""
    challenges: list[Challenge] = []
    for value in values:
        if len(value) > _MAX_LENGTH:
            raise ValueError("too long")
        challenges += _Parser(value).challenges()
    return challenges


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def challenges(self) -> list[Challenge]:
        found: list[Challenge] = []
        self._skip(" \t,")
        while self._at < len(self._text):
            scheme = self._token()
            parameters: dict[str, str] = {}
            if self._peek() == " ":
                self._skip(" \t")
                parameters = self._parameters()
            elif self._peek() not in {"", ","}:
                raise ValueError("unexpected character")
            found.append(Challenge(scheme.lower(), parameters))
            self._skip(" \t,")
        return found

    def _parameters(self) -> dict[str, str]:
        """`name=value` pairs up to the next scheme, which is a token that no `=` follows."""
        parameters: dict[str, str] = {}
        while self._at < len(self._text):
            start = self._at
            name = self._token().lower()
            self._skip(" \t")
            if self._peek() != "=":
                if not parameters and self._peek() in {"", ","}:
                    return parameters  # a token68, as Negotiate has
                self._at = start
                return parameters
            self._at += 1
            self._skip(" \t")
            if not parameters and self._peek() in {"", ",", "="}:
                self._skip("=")
                return parameters  # a token68 with padding
            value = self._quoted() if self._peek() == '"' else self._token()
            if name in parameters:
                raise ValueError("a parameter twice")
            parameters[name] = value
            self._skip(" \t")
            if self._peek() not in {"", ","}:
                raise ValueError("unexpected character")
            self._skip(" \t,")
        return parameters

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, characters: str) -> None:
        while self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1

    def _token(self) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] in _TOKEN:
            self._at += 1
        if start == self._at:
            raise ValueError("a token is missing")
        return self._text[start : self._at]

    def _quoted(self) -> str:
        self._at += 1
        value: list[str] = []
        while True:
            character = self._peek()
            self._at += 1
            if character == '"':
                return "".join(value)
            if character == "\\":
                character = self._peek()
                self._at += 1
            if not character or not (character == "\t" or " " <= character <= "~"):
                raise ValueError("malformed quoted string")
            value.append(character)
