"""The command line with broken streams and odd surroundings (bad input 51): it works, or says one line."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.command import command_under_test

BROKEN = "Traceback (most recent call last)"


def call(
    *words: str | bytes, shell: str = 'exec "$@"', environment: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Runs the command behind a piece of shell that breaks something first."""
    return subprocess.run(
        ["sh", "-c", shell, "sh", *command_under_test(), *words],
        capture_output=True,
        env=environment,
        cwd=cwd,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    "words", [["--help"], ["images"], ["version"], ["completion", "bash"], ["image", "ls", "--format", "json"]], ids=" ".join
)
def test_full_standard_output(words: list[str], environment: dict[str, str], estiba_image: str) -> None:
    done = call(*words, shell='exec "$@" >/dev/full', environment=environment)
    assert done.returncode == 1
    assert done.stderr == b"estiba: cannot write standard output: write error: No space left on device\n"


def test_closed_standard_output(environment: dict[str, str]) -> None:
    done = call("version", shell='exec "$@" >&-', environment=environment)
    assert done.returncode == 1
    assert done.stderr == b"estiba: cannot write standard output: write error: Bad file descriptor\n"


def test_reader_that_went_away(environment: dict[str, str]) -> None:
    """`| head` is no failure to talk about."""
    done = call("--help", shell='"$@" | true; exit 0', environment=environment)
    assert done.stderr == b""


def test_closed_standard_error(environment: dict[str, str]) -> None:
    done = call("nope", shell='exec "$@" 2>&-', environment=environment)
    assert (done.returncode, done.stdout) == (125, b"")


def test_full_standard_error(environment: dict[str, str]) -> None:
    done = call("nope", shell='exec "$@" 2>/dev/full', environment=environment)
    assert done.returncode == 125


def test_everything_closed(environment: dict[str, str], tmp_path: Path) -> None:
    """No file of the store may be opened as descriptor 0, 1 or 2 and then be written to as a stream."""
    done = call("images", shell='exec "$@" <&- >&- 2>&-', environment=environment)
    assert done.returncode == 1
    again = call("images", environment=environment)
    assert (again.returncode, again.stderr) == (0, b"")


def test_closed_standard_input(environment: dict[str, str]) -> None:
    done = call("load", shell='exec "$@" <&-', environment=environment)
    assert done.returncode == 1
    assert done.stderr.startswith(b"estiba: cannot ")
    assert done.stderr.count(b"\n") <= 2


@pytest.mark.parametrize(
    "change", [{"COLUMNS": "0"}, {"COLUMNS": "-1"}, {"TERM": ""}, {"LC_ALL": "C"}, {"LC_ALL": "xx_YY.UTF-8"}, {"LC_ALL": "POSIX"}]
)
def test_odd_environments(change: dict[str, str], environment: dict[str, str]) -> None:
    done = call("run", "--help", environment=environment | change)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Usage:  estiba run")


@pytest.mark.parametrize("missing", ["HOME", "TERM", "PATH", "XDG_RUNTIME_DIR"])
def test_missing_variables(missing: str, environment: dict[str, str]) -> None:
    kept = {name: value for name, value in environment.items() if name not in {missing, "XDG_CONFIG_HOME", "XDG_DATA_HOME"}}
    command = command_under_test()
    done = subprocess.run([*command, "images", "-q"], capture_output=True, env=kept, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_empty_environment() -> None:
    done = subprocess.run([*command_under_test(), "--version"], capture_output=True, env={}, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_words_that_are_not_utf8(environment: dict[str, str]) -> None:
    done = call("tag", b"\xff\xfe", b"caf\xe9\x1b[2J", environment=environment)
    assert done.returncode != 0
    assert BROKEN.encode() not in done.stderr
    assert b"\x1b" not in done.stderr
    done.stderr.decode()
    unknown = call(b"im\xff", environment=environment)
    assert unknown.stderr.startswith(b"estiba: cannot parse 'estiba': unknown command 'im\\")


@pytest.mark.parametrize(
    "words",
    [[""], ["run", ""], ["tag", "", ""], ["images", "\n"], ["inspect", "--", "-x"], ["rmi", "../x"], ["--root", "", "images"]],
)
def test_odd_words(words: list[str], environment: dict[str, str]) -> None:
    done = call(*words, environment=environment)
    assert BROKEN.encode() not in done.stderr
    assert done.returncode == 0 or done.stderr.startswith(b"estiba: cannot ")
    assert done.stderr.count(b"\n") <= 2


def test_two_mebibytes_of_words(environment: dict[str, str]) -> None:
    words = ["run", *["-e", "A=" + "x" * 100_000] * 12, "--nope"]
    done = call(*words, environment=environment)
    assert done.returncode == 125
    assert done.stderr.startswith(b"estiba: cannot parse 'estiba run': unknown flag --nope\n")


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (["images"], 0, ""),
        (["load", "-i", "x.tar"], 1, "estiba: cannot load "),
        (["--root", "relative", "images"], 1, "estiba: cannot finish 'estiba images': the current folder was removed\nhint: "),
    ],
)
def test_folder_that_is_gone(words: list[str], status: int, error: str, environment: dict[str, str], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = call(*words, shell='rmdir "$PWD"; exec "$@"', environment=environment, cwd=gone)
    assert done.returncode == status, done.stderr
    assert done.stderr.decode().startswith(error)
    assert BROKEN.encode() not in done.stderr


def test_interrupt_is_130(environment: dict[str, str]) -> None:
    """Ctrl-C at a question: the prompt is the sign that the command waits."""
    terminal, side = os.openpty()
    process = subprocess.Popen(
        [*command_under_test(), "login", "localhost:1"],
        stdin=side,
        stdout=side,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stderr
    os.close(side)
    assert process.stderr.read(len("Username: ")) == b"Username: "
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    os.close(terminal)
    assert (process.returncode, error) == (130, b"")


@pytest.fixture
def estiba_image(environment: dict[str, str]) -> str:
    """A name in the store, so that lists have a line."""
    done = call("image", "from-host", "local/tool", "true", environment=environment)
    assert done.returncode == 0, done.stderr
    return "local/tool"
