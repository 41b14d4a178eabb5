"""The table of verbs: every verb loads, explains itself, and agrees with its neighbours."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

import estiba.cli
from estiba.cli.arguments import Command, parse
from estiba.cli.help import OVERVIEW, command_help, commands, group, overview, welcome
from estiba.cli.main import global_command, interrupt_again, main
from estiba.cli.run import COMMAND as RUN
from estiba.cli.run import options_from
from estiba.cli.verbs import GROUPS, VERBS, find
from estiba.errors import EstibaError, InvalidArgument
from estiba.runtime.parse_options import PARSERS, SWITCHES

FOLDER = Path(next(iter(estiba.cli.__path__)))
PATHS = [(word,) for word, entry in VERBS.items() if isinstance(entry, str)] + [
    (name, word) for name, entry in VERBS.items() if isinstance(entry, dict) for word in entry
]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_word_is_said_by_its_command(path: tuple[str, ...]) -> None:
    command, rest = find([*path, "x"])
    assert isinstance(command, Command)
    assert rest == ["x"]
    assert " ".join(path) in {command.name, *command.aliases}


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_help_is_complete(command: Command) -> None:
    text = command_help(command)
    assert f"Usage:  estiba {command.name}" in text
    flags = command.flags()
    for flag in flags:
        assert (f"--{flag.name}" in text) is not flag.hidden or any(flag.name in other.name for other in flags if other is not flag)
    assert not command.summary.endswith(".")
    assert max(len(line) for line in text.splitlines()) <= 110
    for name in command.aliases:
        assert find(name.split())[0] is command


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_flags_are_distinct(command: Command) -> None:
    names = [name for flag in command.flags() for name in (flag.name, *flag.aliases)]
    shorts = [flag.short for flag in command.flags() if flag.short]
    assert len(names) == len(set(names))
    assert len(shorts) == len(set(shorts))


def test_examples_parse() -> None:
    import shlex

    for command in commands():
        for line, about in command.examples:
            words = shlex.split(line.replace("<(", "").replace(")", ""))
            words = words[words.index("estiba") + 1 :]
            for stop in ("&&", "|", "<", ">"):
                words = words[: words.index(stop)] if stop in words else words
            found, rest = find(words)
            assert isinstance(found, Command)
            parse(found, rest)
            assert not about.endswith(".")


def test_pages_of_help_have_no_broken_words_and_no_blank_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in commands():
        lines = command_help(command).split("\n")
        assert [line for line in lines if line != line.rstrip() or (line.endswith("-") and line[-2:-1].isalpha())] == []


def test_overview_names_every_verb() -> None:
    listed = {name for names in OVERVIEW.values() for name in names}
    assert listed == {command.name for command in commands()}
    assert set(GROUPS) == {word for word, entry in VERBS.items() if isinstance(entry, dict)}
    text = overview(global_command())
    for name in (*listed, *GROUPS):
        assert f"  {name} " in text
    assert "estiba run hello" in welcome()
    assert "from-host" in group("image")


def test_every_module_with_a_command_is_in_the_table() -> None:
    named = {module for entry in VERBS.values() for module in ([entry] if isinstance(entry, str) else entry.values())}
    present = {
        path.stem
        for path in FOLDER.glob("*.py")
        if any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMMAND" for node in ast.parse(path.read_text()).body)
    }
    assert named == present


def test_run_and_its_options_agree() -> None:
    """Each flag of the run-time room is on the command line, and each flag of the command line has its meaning there."""
    offered = {flag.name for flag in RUN.flags() if not flag.ignored and not flag.refused} - {"no-healthcheck"}
    assert offered - {"publish"} == (set(PARSERS) | set(SWITCHES)) - {"publish"}


def test_run_options() -> None:
    found = parse(RUN, ["--rm", "-it", "-e", "A=1", "-v", "/src:/dst:ro", "-m", "64m", "--net", "host", "image", "sh", "-c", "exit"])
    options = options_from(found)
    assert (options.image, options.command) == ("image", ("sh", "-c", "exit"))
    assert (options.rm, options.interactive, options.tty) == (True, True, True)
    assert options.env == ["A=1"]
    assert options.memory == 64 * 1024**2
    assert options.network == "host"
    assert options.mounts[0].read_only
    assert options.environ is os.environ


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "80:80", "x"], "cannot run with -p: a container has no network yet; --network host uses the host's"),
        (["--restart", "maybe", "x"], "cannot use --restart 'maybe': not a valid value"),
        (["--restart=always:3", "x"], "cannot use --restart 'always:3': a number of attempts is for on-failure alone"),
        (["--restart=on-failure:x", "x"], "cannot use --restart 'on-failure:x': not a whole number"),
        (["--restart=always", "--rm", "x"], "cannot use --restart with --rm: a container that goes with its run is not there to start again"),
        (["--gpus", "all", "x"], "cannot run with --gpus: there is no support for GPUs; --device gives a device"),
        ([""], "cannot run an image without a name"),
    ],
)
def test_run_refuses(words: list[str], message: str) -> None:
    with pytest.raises(EstibaError) as caught:
        options_from(parse(RUN, words))
    assert caught.value.message == message


def test_restart_no_is_dockers_default() -> None:
    assert options_from(parse(RUN, ["--restart", "no", "x"])).image == "x"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["imags"], "estiba: cannot parse 'estiba': unknown command 'imags'\nhint: did you mean 'estiba images'?\n"),
        (
            ["imagse"],
            "estiba: cannot parse 'estiba': unknown command 'imagse'\nhint: did you mean 'estiba image' or 'estiba images'?\n",
        ),
        (["image", "lss"], "estiba: cannot parse 'estiba image': unknown command 'lss'\nhint: did you mean 'estiba image ls'?\n"),
        (["q\x1b[2J"], "estiba: cannot parse 'estiba': unknown command 'q\\x1b[2J'\nhint: see 'estiba --help'\n"),
        (["volume", "ls"], "estiba: cannot run 'estiba volume': estiba has no such command yet\nhint: see 'estiba --help' for those it has\n"),
        (
            ["network", "ls"],
            "estiba: cannot run 'estiba network': estiba has no such command yet\nhint: see 'estiba --help' for those it has\n",
        ),
        (["--rot", "x"], "estiba: cannot parse 'estiba': unknown flag --rot\nhint: did you mean --root?\n"),
        (
            ["run"],
            "estiba: cannot parse 'estiba run': it needs at least 1 argument: IMAGE [COMMAND] [ARG...]\nhint: see 'estiba run --help'\n",
        ),
        (
            ["run", "--memory", "1q", "x"],
            "estiba: cannot use --memory '1q': not a size\nhint: a number with b, k, m or g, for example 512m\n",
        ),
        (["run", "--memory", "1", "x"], "estiba: cannot use --memory '1': at least 6 MiB\n"),
        (["image", "-x"], "estiba: cannot parse 'estiba image': unknown flag '-x'\nhint: see 'estiba image --help'\n"),
    ],
)
def test_usage_errors(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 125
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", message)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["image"], ["image", "--help"], ["run", "--help"], ["--version"], ["-v"]])
def test_pages_go_to_standard_output(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    captured = capfd.readouterr()
    assert captured.out
    assert captured.err == ""
    assert "\x1b" not in captured.out


def failing(error: BaseException, failure: int = 1) -> Command:
    def run(context: object, found: object) -> int:
        raise error

    return Command("fail", "Fails", run, failure=failure)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (EstibaError("cannot do it: because\nof this", hint="try"), 1, "estiba: cannot do it: because\\nof this\nhint: try\n"),
        (InvalidArgument("cannot parse it: no"), 125, "estiba: cannot parse it: no\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "estiba: cannot finish 'estiba fail': /x: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_messages(
    error: BaseException, status: int, text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("estiba.cli.main.find", lambda words: (failing(error), []))
    assert main(["fail"]) == status
    assert capfd.readouterr().err == text


def test_failures_of_run_are_125(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("estiba.cli.main.find", lambda words: (failing(EstibaError("cannot run"), failure=125), []))
    assert main(["fail"]) == 125
    monkeypatch.setattr("estiba.cli.main.find", lambda words: (failing(OSError(5, "Input/output error"), failure=125), []))
    assert main(["fail"]) == 125


def test_a_full_disk_names_the_place_and_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gone" / "layer"
    monkeypatch.setattr("estiba.cli.main.find", lambda words: (failing(OSError(28, "No space left on device", str(path))), []))
    assert main(["fail"]) == 1
    error = capfd.readouterr().err
    assert f"{path}: No space left on device (" in error
    assert f"inodes are free on {tmp_path})" in error
    assert "hint: 'estiba system df'" in error


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("estiba.cli.main.find", lambda words: (failing(EstibaError("cannot do it")), []))
    assert main(["--debug", "fail"]) == 1
    assert "Traceback" in capfd.readouterr().err


class _Finalized:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


def test_an_interrupt_that_python_drops_comes_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "unraisablehook", interrupt_again)
    with pytest.raises(KeyboardInterrupt):
        _Finalized(KeyboardInterrupt())
        os.getpid()
    assert capsys.readouterr().err == ""


def test_other_errors_that_python_drops_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "unraisablehook", interrupt_again)
    _Finalized(ValueError("told"))
    os.getpid()
    assert "ValueError: told" in capsys.readouterr().err
