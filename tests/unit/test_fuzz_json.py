"""The JSON reader against the standard one, on documents that hypothesis makes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from estiba.errors import DataLoss
from estiba.oci import strict_json
from estiba.oci.json_reader import Invalid, read
from estiba.oci.strict_json import dumps, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)


def equal(first: Any, second: Any) -> bool:
    """Equality that tells 1, 1.0 and True apart."""
    return repr(first) == repr(second)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]), st.sampled_from(["", " ", "\n\t"]))
def test_valid_documents_are_read_as_the_standard_module_reads_them(value: Any, ascii_only: bool, indent: int | None, space: str) -> None:
    text = space + json.dumps(value, ensure_ascii=ascii_only, indent=indent) + space
    expected = json.loads(text)
    assert equal(loads(text.encode(), what="x"), expected)
    assert equal(read(text, depth_max=64), expected)


@given(VALUES, st.sampled_from([None, 0, 2]))
def test_what_is_written_reads_back(value: Any, indent: int | None) -> None:
    data = dumps(value, indent=indent)
    assert equal(json.loads(data), value)
    assert equal(loads(data, what="x"), value)


@given(VALUES)
def test_without_the_accelerator_the_same_is_written(value: Any) -> None:
    quote = strict_json._quote
    expected = dumps(value)
    try:
        strict_json._quote = strict_json._python_quote
        assert dumps(value) == expected
    finally:
        strict_json._quote = quote


JUNK = st.text(st.sampled_from('{}[],:"\\/ \t\n0123456789.eE+-truefalsnNaIinfity\u00e9ud8'), max_size=40)


def _refuse(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


def _constant(_: str) -> Any:
    raise ValueError


def reference(text: str) -> Any:
    """What the standard module, made strict, says: the value, or ValueError."""
    value = json.loads(text, object_pairs_hook=_refuse, parse_constant=_constant)
    json.dumps(value, ensure_ascii=False).encode()  # lone surrogates
    for item in _leaves(value):
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError
    return value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


@given(JUNK | st.text(max_size=20))
@example("[1e999]")
@example('{"a":1,"a":1}')
@example('"\\ud83d\\ude00"')
@example("-0")
@example("1E+2")
@example('["\u2028"]')
def test_any_text_is_read_or_refused_as_by_the_strict_standard(text: str) -> None:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    try:
        expected = reference(text)
    except (ValueError, RecursionError):
        with pytest.raises(DataLoss):
            loads(data, what="x")
        with pytest.raises(Invalid):
            read(text, depth_max=64)
    else:
        assert equal(loads(data, what="x"), expected)
        assert equal(read(text, depth_max=64), expected)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_dataloss_with_an_offset_inside(data: bytes) -> None:
    try:
        loads(data, what="x")
    except DataLoss as error:
        offset = int(error.message.partition("offset ")[2].partition(":")[0])
        assert 0 <= offset <= len(data)
