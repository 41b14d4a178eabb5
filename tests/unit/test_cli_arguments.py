"""The parser against the rules of pflag."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiba import errors
from estiba.cli.arguments import Command, Flag, Invocation, many, nearest, parse, switch
from estiba.errors import InvalidArgument


def command(*, flags_end: int = 0, least: int = 0, most: int | None = None) -> Command:
    return Command(
        "test",
        "A command",
        lambda context, found: 0,
        usage="THING...",
        sections={
            "Options": [
                switch("interactive", "i", short="i"),
                switch("tty", "t", short="t"),
                switch("proxy", "on by default", default=True),
                many("env", "e", short="e"),
                Flag("network", "n", aliases=("net",)),
                Flag("pull", "p", choices=("always", "never")),
                Flag("count", "c", short="n", kind="int", default=7),
                switch("cloud", "", refused="later"),
                Flag("isolation", "", ignored="it is a flag for Windows"),
            ]
        },
        least=least,
        most=most,
        flags_end=flags_end,
    )


def test_flags_of_every_shape() -> None:
    found = parse(command(), ["-it", "-eA=1", "-e", "B=2", "-e=C", "--env=D=4", "--env", "E", "--net", "host", "-n3", "x"])
    assert found.switch("interactive")
    assert found.switch("tty")
    assert found.strings("env") == ["A=1", "B=2", "C", "D=4", "E"]
    assert found.string("network") == "host"
    assert found.integer("count") == 3
    assert found.arguments == ["x"]


def test_defaults() -> None:
    found = parse(command(), [])
    assert (found.switch("tty"), found.switch("proxy"), found.integer("count")) == (False, True, 7)
    assert found.strings("env") == []
    assert not found.given("proxy")


@pytest.mark.parametrize(("word", "value"), [("--proxy=false", False), ("--proxy=F", False), ("--proxy=1", True), ("--proxy", True)])
def test_switch_takes_a_value_after_equals_only(word: str, value: bool) -> None:
    assert parse(command(), [word]).switch("proxy") is value
    assert parse(command(), ["--proxy", "false"]).arguments == ["false"]


def test_short_switch_takes_a_value_after_equals() -> None:
    assert not parse(command(), ["-t=false"]).switch("tty")


def test_last_letter_of_a_cluster_takes_the_value() -> None:
    found = parse(command(), ["-iteX=1", "-ie", "Y=2"])
    assert found.strings("env") == ["X=1", "Y=2"]


def test_arguments_and_flags_mix() -> None:
    assert parse(command(), ["a", "-t", "b", "--", "-i", "--"]).arguments == ["a", "b", "-i", "--"]


def test_first_argument_ends_the_flags_of_run() -> None:
    found = parse(command(flags_end=1), ["-i", "image", "-t", "--", "--env"])
    assert found.arguments == ["image", "-t", "--", "--env"]
    assert not found.switch("tty")


def test_second_argument_ends_the_flags_of_compare() -> None:
    found = parse(command(flags_end=2), ["-i", "image", "-t", "sh", "--env", "--"])
    assert found.arguments == ["image", "sh", "--env", "--"]
    assert found.switch("tty")
    assert parse(command(flags_end=2), ["image", "--", "-t"]).arguments == ["image", "-t"]


def test_double_dash_before_the_first_argument() -> None:
    assert parse(command(flags_end=1), ["-i", "--", "image", "--", "-t"]).arguments == ["image", "--", "-t"]


def test_lone_dash_is_an_argument() -> None:
    assert parse(command(), ["-", "-t"]).arguments == ["-"]


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["-ih"], ["a", "--help"]])
def test_help(words: list[str]) -> None:
    assert parse(command(), words).help


def test_help_after_the_image_is_the_containers() -> None:
    assert not parse(command(flags_end=1), ["image", "--help"]).help


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--evn=x"], "cannot parse 'estiba test': unknown flag --evn", "did you mean --env?"),
        (["--zzz"], "cannot parse 'estiba test': unknown flag --zzz", "see 'estiba test --help'"),
        (["-iz"], "cannot parse 'estiba test': unknown flag -z in -iz", "see 'estiba test --help'"),
        (["--env"], "cannot parse 'estiba test': flag --env needs a value", "see 'estiba test --help'"),
        (["-ie"], "cannot parse 'estiba test': flag -e needs a value", "see 'estiba test --help'"),
        (["--tty=maybe"], "cannot parse 'estiba test': flag --tty takes true or false, not 'maybe'", None),
        (["--pull=often"], "cannot parse 'estiba test': flag --pull does not know 'often'", "valid values: always, never"),
        (["-n", "1_0"], "cannot parse 'estiba test': flag -n needs a whole number, not '1_0'", None),
        (["-n", "٣"], "cannot parse 'estiba test': flag -n needs a whole number, not '٣'", None),
        (["-n", "9" * 5000], None, None),
        (["--=x"], "cannot parse 'estiba test': unknown flag --", "see 'estiba test --help'"),
    ],
)
def test_refused(words: list[str], message: str | None, hint: str | None) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(command(), words)
    assert caught.value.exit_code == 125
    if message:
        assert (caught.value.message, caught.value.hint) == (message, hint)


def test_number_of_arguments() -> None:
    assert parse(command(least=1, most=2), ["a", "b"]).arguments == ["a", "b"]
    with pytest.raises(InvalidArgument, match="at least 1 argument: THING"):
        parse(command(least=1, most=2), [])
    with pytest.raises(InvalidArgument, match="needs 2 arguments"):
        parse(command(least=2, most=2), ["a"])
    with pytest.raises(InvalidArgument, match="unexpected argument 'c'"):
        parse(command(least=1, most=2), ["a", "b", "c"])


def test_refused_and_ignored_flags() -> None:
    with pytest.raises(errors.NotImplemented, match="cannot test with --cloud: later"):
        parse(command(), ["--cloud"])
    assert parse(command(), ["--cloud=false"]).warnings == []
    assert parse(command(), ["--isolation", "hyperv"]).warnings == ["--isolation has no effect: it is a flag for Windows"]


def test_a_flag_the_command_does_not_have_is_a_bug() -> None:
    with pytest.raises(KeyError):
        parse(command(), []).switch("nope")


def test_nearest() -> None:
    assert nearest("imags", ["images", "import"]) == ["images"]
    assert nearest("qqqq", ["images", "import"]) == []


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_words_parse_or_are_refused(words: list[str]) -> None:
    for flags_end in (0, 1, 2):
        try:
            found = parse(command(flags_end=flags_end), words)
        except errors.EstibaError as error:
            assert error.message
        else:
            assert isinstance(found, Invocation)
            assert found.help or len(found.arguments) <= len(words)


_ENV = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)


@given(
    st.lists(_ENV.filter(lambda text: not text.startswith("=")), max_size=6),
    st.lists(st.sampled_from("it"), max_size=4),
    st.lists(_ENV),
)
def test_every_spelling_gives_the_same_values(values: list[str], letters: list[str], rest: list[str]) -> None:
    """What goes in comes out, however it is spelt; nothing after the image is touched."""
    spellings: list[Callable[[str], list[str]]] = [
        lambda value: ["-e", value],
        lambda value: ["-e=" + value],
        lambda value: ["--env", value],
        lambda value: ["--env=" + value],
    ]
    for spell in spellings:
        words = [word for value in values for word in spell(value)]
        words += ["-" + "".join(letters)] if letters else []
        found = parse(command(flags_end=1), [*words, "image", *rest])
        assert found.strings("env") == values
        assert found.switch("tty") == ("t" in letters)
        assert found.arguments == ["image", *rest]
