"""Templates cut into text and actions, and actions into tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from estiba.cli.template_functions import TemplateFailure

_ACTION = re.compile(
    r"""\{\{(?P<left>-\s)?(?P<body>(?:"(?:\\.|[^"\\])*"|`[^`]*`|/\*.*?\*/|[^"`}]|\}(?!\}))*?)(?P<right>\s-)?\}\}""",
    re.DOTALL,
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<comment>/\*.*?\*/)|(?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<number>[+-]?\d+(?:\.\d+)?)
    |(?P<field>\.[A-Za-z_]\w*)|(?P<variable>\$\w*)|(?P<word>[A-Za-z_]\w*)|(?P<mark>:=|[=.|(),]))""",
    re.DOTALL | re.VERBOSE | re.ASCII,
)
_SPACE = re.compile(r"\s", re.ASCII)


class Token(NamedTuple):
    """One token: `kind` is a group of the pattern above."""

    kind: str
    text: str
    spaced: bool  # whether white space stands before it: `.A.B` is one operand, `.A .B` are two


def split(source: str) -> Iterator[tuple[str, str | None]]:
    """The template as pieces: text with None, or an action's body. Raises TemplateFailure."""
    at = 0
    trim = False
    for match in _ACTION.finditer(source):
        text = source[at : match.start()]
        if "{{" in text:
            raise TemplateFailure("unclosed action {{")
        text = text.lstrip() if trim else text
        yield (text.rstrip() if match["left"] else text), None
        yield "", match["body"]
        at, trim = match.end(), bool(match["right"])
    rest = source[at:].lstrip() if trim else source[at:]
    if "{{" in rest:
        raise TemplateFailure("unclosed action {{")
    yield rest, None


def tokens(action: str) -> list[Token]:
    """The tokens of an action's body; comments are left out. Raises TemplateFailure."""
    found, at = [], 0
    body = action.rstrip()
    while at < len(body):
        match = _TOKEN.match(body, at)
        if match is None or match.lastgroup is None:
            raise TemplateFailure(f"unexpected {body[at:].strip()[:20]!r}")
        if match.lastgroup != "comment":
            spaced = bool(_SPACE.match(body, at))
            found.append(Token(match.lastgroup, match[match.lastgroup], spaced))
        at = match.end()
    return found


def unquote(text: str) -> str:
    """A Go string literal: raw in back quotes, or with the escapes that Go and JSON share."""
    if text[0] == "`":
        return text[1:-1]
    import ast

    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise TemplateFailure(f"bad string {text}") from error
    assert isinstance(value, str)
    return value
