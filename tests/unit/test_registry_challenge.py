"""`WWW-Authenticate`: read as RFC 9110 says, or refused."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest

from estiba.registry.challenge import Challenge, parse_challenges


def one(value: str) -> Challenge:
    (challenge,) = parse_challenges([value])
    return challenge


def test_bearer_as_docker_hub_sends_it() -> None:
    value = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull,push"'
    assert one(value) == Challenge(
        "bearer",
        {"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:library/a:pull,push"},
    )


def test_several_challenges_in_one_line_and_in_several() -> None:
    values = ['Negotiate, Basic realm="a", charset="UTF-8", Bearer realm="b"', "NTLM"]
    assert [challenge.scheme for challenge in parse_challenges(values)] == ["negotiate", "basic", "bearer", "ntlm"]


def test_names_are_case_insensitive_and_values_may_be_tokens_or_escaped() -> None:
    assert one(r'BASIC Realm=abc , x = "a\"b,c"') == Challenge("basic", {"realm": "abc", "x": 'a"b,c'})


def test_token68_is_skipped() -> None:
    assert [c.scheme for c in parse_challenges(["Negotiate abc==, Basic realm=x"])] == ["negotiate", "basic"]


@pytest.mark.parametrize(
    "value",
    [
        'Bearer realm="https://x',  # quote not closed
        'Bearer realm="a", realm="b"',  # which one?
        'Bearer realm="a\r\nX: y"',
        'Bearer realm="a"service="b"',
        'Bearer realm="ä"',
        "Bearer\x00realm=a",
        "=",
        '"Bearer"',
        "Bearer " + "a" * 10_000,
    ],
)
def test_malformed_is_refused(value: str) -> None:
    with pytest.raises(ValueError):
        parse_challenges([value])


@hypothesis.given(st.text(alphabet='abc=", \\\t/:Beare', max_size=60))
def test_never_anything_but_challenges_or_value_error(value: str) -> None:
    try:
        parse_challenges([value])
    except ValueError:
        return
