"""The reference parser: what it accepts is stable and safe, whatever it is given."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from estiba.errors import InvalidArgument
from estiba.oci.reference import parse_canonical, parse_reference
from estiba.store.references import file_name

REASONS = ("is not a port", "is not a host name", "IPv6", "more than 255", "image id", "lower-case")

# Docker's grammar (distribution/reference), as a pattern: a second opinion on the hand-written one.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])"
_PORT = r"(?::(?!0+(?:/|$))[0-9]{1,5})?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})"
GRAMMAR = re.compile(rf"(?:{_HOST}{_PORT}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::{_TAG})?(?:@{_DIGEST})?", re.ASCII)

PIECES = st.sampled_from(
    ["a", "b0", "Z", ".", "_", "__", "-", "--", "/", ":", "@", "[::1]", "localhost", "docker.io", "library", "5000", "65535", "0", "٣", "\n",
     "sha256:" + "ab" * 32, "sha512:" + "cd" * 64, "é", "..", "index.docker.io", "t" * 128, "//", " "],
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=9).map("".join) | st.text(max_size=40)


@given(TEXTS)
@example("ab" * 32)
@example("a:5000/b")
@example("localhost:5000")
def test_accepted_references_are_stable(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidArgument as error:
        assert "\n" not in error.message
        return
    assert GRAMMAR.fullmatch(text), text
    assert GRAMMAR.fullmatch(reference.canonical)
    assert parse_reference(reference.canonical) == reference
    assert parse_canonical(reference.canonical) == reference
    assert parse_reference(reference.familiar) == reference
    name = file_name(reference)
    assert "/" not in name
    assert name not in (".", "..")
    assert len(name.encode()) <= 255


@given(st.from_regex(GRAMMAR, fullmatch=True))
def test_docker_s_grammar_is_accepted(text: str) -> None:
    """All of it but ports above 65535, malformed addresses, paths that are too long, image ids, and a first component that looks like
    a registry (it holds a dot) but cannot be one (``0.0_0/0``).
    """
    try:
        parse_reference(text)
    except InvalidArgument as error:
        assert any(reason in error.message for reason in REASONS), error.message


@given(TEXTS, st.sampled_from(["r.local", "localhost:5000", "docker.io"]))
def test_short_forms_read_back_with_any_default(text: str, default: str) -> None:
    try:
        reference = parse_reference(text, default)
    except InvalidArgument:
        return
    assert parse_reference(reference.short(default), default) == reference


@given(st.lists(TEXTS, min_size=2, max_size=2))
def test_different_references_have_different_files(texts: list[str]) -> None:
    try:
        first, second = (parse_reference(text) for text in texts)
    except InvalidArgument:
        return
    assert (first == second) == (file_name(first) == file_name(second))
