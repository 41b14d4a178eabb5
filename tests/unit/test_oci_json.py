"""Strict JSON: what is refused, at which offset; the encoder; the typed accessors."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

import estiba
from estiba.errors import DataLoss
from estiba.oci import json_reader, strict_json
from estiba.oci.strict_json import RawJSON, dumps, get_dict, get_int, get_list, get_str, get_str_list, get_str_map, loads

REFUSED = [
    (b'{"a":1,"a":2}', 7, "duplicate key"),
    (b'{"a":{"b":1,"c":2,"b":3}}', 18, "duplicate key"),
    (b'{"\\u0061":1,"a":2}', 12, "duplicate key"),
    (b"[NaN]", 1, "value is missing"),
    (b"[Infinity]", 1, "value is missing"),
    (b"[-Infinity]", 1, "value is missing"),
    (b"[1e999]", 1, "out of range"),
    (b"\xef\xbb\xbf{}", 0, "byte order mark"),
    ('{"a":1}'.encode("utf-16"), 0, "byte order mark"),
    ('{"a":1}'.encode("utf-16-le"), 1, "double quotes"),
    (b'{"a":"\xff"}', 6, "not UTF-8"),
    (b'{"a":"\xed\xa0\x80"}', 6, "not UTF-8"),
    (b"{} x", 3, "after the end"),
    (b"{}{}", 2, "after the end"),
    ('["é"] x'.encode(), 7, "after the end"),
    (b"[" * 65 + b"]" * 65, 64, "deeper than 64"),
    (b'{"a":' * 65 + b"1" + b"}" * 65, 5 * 64, "deeper than 64"),
    (b"[" * 1000, 64, "deeper than 64"),
    (b"[" * 100_000, 64, "deeper than 64"),
    (b"9" * 5000, 0, "4300 digits"),
    (b"[-" + b"9" * 5000 + b"]", 1, "4300 digits"),
    (b'["\\ud800"]', 2, "surrogate"),
    (b'["\\uDC80"]', 2, "surrogate"),
    (b'["\\ud800\\u0041"]', 2, "surrogate"),
    (b'["\\u12x4"]', 2, "four hexadecimal"),
    (b'["\\x"]', 2, "unknown escape"),
    (b'["a\nb"]', 3, "control character"),
    (b'["a\x00b"]', 3, "control character"),
    (b'["abc', 1, "closing quote"),
    (b"[1,]", 3, "value is missing"),
    (b'{"a":1,}', 7, "double quotes"),
    (b'{"a" 1}', 5, "colon"),
    (b"[1 2]", 3, "comma"),
    (b'{"a":1 "b":2}', 7, "comma"),
    (b"{'a':1}", 1, "double quotes"),
    (b"01", 1, "after the end"),
    (b"+1", 0, "value is missing"),
    (b".5", 0, "value is missing"),
    (b"1.", 1, "after the end"),
    (b"-", 0, "value is missing"),
    (b"[1_000]", 2, "comma"),
    ("[٣]".encode(), 1, "value is missing"),
    (b"", 0, "cut off"),
    (b"   ", 3, "cut off"),
    (b"\x0c{}", 0, "value is missing"),
    (b"nul", 0, "value is missing"),
    (b"{", 1, "double quotes"),
    (b"// c\n1", 0, "value is missing"),
]


@pytest.mark.parametrize(("data", "offset", "why"), REFUSED, ids=[repr(row[0][:24]) for row in REFUSED])
@pytest.mark.parametrize("accelerated", [True, False])
def test_refused_with_offset(monkeypatch: pytest.MonkeyPatch, data: bytes, offset: int, why: str, accelerated: bool) -> None:
    if not accelerated:
        monkeypatch.setattr(strict_json, "_json", None)
    with pytest.raises(DataLoss) as caught:
        loads(data, what="the test")
    assert caught.value.message.startswith(f"cannot read the test: invalid JSON at offset {offset}: ")
    assert why in caught.value.message


@pytest.mark.parametrize("accelerated", [True, False])
def test_accepted(monkeypatch: pytest.MonkeyPatch, accelerated: bool) -> None:
    if not accelerated:
        monkeypatch.setattr(strict_json, "_json", None)
    text = ' {"a":[1,-2,0.5,1e3,true,false,null,"\\u00e9\\n\\ud83d\\ude00"],"":{},"b":[]}\r\n\t '
    assert loads(text.encode(), what="x") == json.loads(text)
    assert loads(b"[" * 64 + b"]" * 64, what="x") == json.loads("[" * 64 + "]" * 64)
    assert loads(b'"x"', what="x") == "x"
    wide = json.dumps([[i, {"k": [i]}] for i in range(100)])
    assert loads(wide.encode(), what="x") == json.loads(wide)


def test_types_are_exact() -> None:
    value = loads(b"[1, 1.0, true]", what="x")
    assert isinstance(value, list)
    assert [type(item) for item in value] == [int, float, bool]


def test_limit() -> None:
    with pytest.raises(DataLoss, match="more than the limit of 10"):
        loads(b'"' + b"x" * 20 + b'"', what="x", limit=10)


def test_bytes_that_are_not_utf8_survive() -> None:
    value = {"args": ["a\udcffb"]}
    data = dumps(value)
    assert data == b'{"args":["a\\udcffb"]}'
    assert loads(data, what="x", raw_bytes=True) == value
    with pytest.raises(DataLoss, match="surrogate"):
        loads(data, what="x")
    with pytest.raises(DataLoss, match="surrogate"):
        loads(b'"\\ud800"', what="x", raw_bytes=True)


VALUES: list[object] = [
    None, True, False, 0, -5, 2**63, 0.5, 1e300, "", 'q"\\/\b\f\n\r\t\x00\x1f\x7f é 😀 \u2028', [], {}, [1, [2, {"a": []}]], {"a": {"b": [None]}, "c": "d"},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("indent", [None, 0, 2])
def test_encoder_equals_the_standard_one(value: object, indent: int | None) -> None:
    separators = (",", ":") if indent is None else (",", ": ")
    expected = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    assert dumps(value, indent=indent).decode() == expected


def test_encoder_sorts() -> None:
    assert dumps({"b": 1, "a": {"d": 1, "c": 2}}, sort_keys=True) == b'{"a":{"c":2,"d":1},"b":1}'


def test_raw_fragments_are_spliced() -> None:
    assert dumps({"a": RawJSON('{"x":1}'), "b": [RawJSON("[1]"), "s"]}) == b'{"a":{"x":1},"b":[[1],"s"]}'


def test_subclasses_of_str_and_int() -> None:
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    assert dumps([Text('a"'), Number(3)]) == b'["a\\"",3]'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_encoder_refuses_what_is_not_json(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        dumps([value])


@pytest.mark.parametrize("value", [b"x", {1: 2}, {"a": {2}}, object()])
def test_encoder_refuses_other_types(value: object) -> None:
    with pytest.raises(TypeError):
        dumps(value)


def test_quote_without_accelerator() -> None:
    import _json

    for text in ('a"b\\c\x00\x1f\n\r\t\b\f é 😀', "", "plain"):
        assert json_reader.quote(text) == _json.encode_basestring(text)


@pytest.mark.parametrize("size", [b"true", b"1e3", b"1.0", b"-1", b"9223372036854775808", b'"5"', b"[]", b"{}", b"NaN", b"null"])
def test_size_must_be_an_integer_in_range(size: bytes) -> None:
    with pytest.raises(DataLoss):
        get_int(loads(b'{"size":' + size + b"}", what="x"), "size", "x")


@pytest.mark.parametrize(("text", "number"), [(b"0", 0), (b"9223372036854775807", 2**63 - 1)])
def test_size_at_the_bounds(text: bytes, number: int) -> None:
    assert get_int(loads(b'{"size":' + text + b"}", what="x"), "size", "x") == number


def test_accessors() -> None:
    document = {"s": "x", "l": ["a"], "d": {"k": "v", "n": None}, "nul": "a\0b", "z": None}
    assert get_str(document, "s", "x") == "x"
    assert get_str(document, "none", "x", "default") == "default"
    assert get_str(document, "z", "x", "default") == "default"
    assert get_str_list(document, "l", "x") == ["a"]
    assert get_str_map(document, "d", "x") == {"k": "v", "n": ""}
    assert get_dict(document, "none", "x", {}) == {}
    assert get_list(document, "none", "x", []) == []
    for call in (
        lambda: get_str(document, "l", "x"),
        lambda: get_str(document, "none", "x"),
        lambda: get_str(document, "nul", "x"),
        lambda: get_str([], "s", "x"),
        lambda: get_str_list({"l": ["a", None]}, "l", "x"),
        lambda: get_str_list({"l": ["a\0"]}, "l", "x"),
        lambda: get_str_list({"l": "a"}, "l", "x"),
        lambda: get_str_map({"m": {"a": 1}}, "m", "x"),
        lambda: get_dict(document, "l", "x"),
        lambda: get_list(document, "d", "x"),
    ):
        with pytest.raises(DataLoss, match="cannot read x"):
            call()


def test_a_huge_number_in_a_message() -> None:
    with pytest.raises(DataLoss, match="integer in the range"):
        get_int({"size": 10**4299}, "size", "x")


def test_refusals_do_not_depend_on_the_json_package() -> None:
    """The scanner raises json.JSONDecodeError: in an interpreter that never imported json that is a SystemError (3.11, 3.12)."""
    site = str(Path(next(iter(estiba.__path__))).parent)
    program = (
        f"import sys; sys.path.insert(0, {site!r})\n"
        "from estiba.oci.strict_json import loads\nfrom estiba.errors import DataLoss\n"
        "assert 'json' not in sys.modules\n"
        f"for data, offset in {[(data, offset) for data, offset, _ in REFUSED]!r}:\n"
        "    try:\n        loads(data, what='x')\n"
        "    except DataLoss as error:\n        assert f'offset {offset}:' in error.message, (data[:20], error.message)\n"
        "    else:\n        raise AssertionError(data[:20])\n"
        "print(loads(b'[1]', what='x'))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "[1]\n", done.stderr
