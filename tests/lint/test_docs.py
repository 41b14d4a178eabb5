"""The documentation says what is: links resolve, commands exist, numbers have the command that made them."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from estiba.cli.arguments import Command, parse
from estiba.cli.verbs import find
from estiba.errors import EstibaError
from tests.lint.repository import TOP, files, name, text

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = [path for path in files("*.md") if "docs/reference/" not in name(path)]
FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)#\s]+)(#[^)]*)?\)|(?:src|srcset)=\"(?P<image>[^\"#]+)\"")
MEASURED = re.compile(r"\b\d[\d.,]*\s?(ms|µs|MB/s|KiB|MiB resident|times (faster|less|slower|más))\b|\b\d+(\.\d+)?x\b")
MEASURE = re.compile(r"`[^`]*\b(make (bench|demo|test)|python3? -(m bench|X importtime)|estiba |hyperfine)[^`]*`")


def command_lines(path_text: str) -> list[str]:
    """Lines of console blocks (`$ ...`, `# ...`) and all lines of sh blocks, continuation lines joined."""
    lines = []
    for block in FENCE.finditer(path_text):
        body = block["body"].replace("\\\n", " ")
        if block["kind"] == "console":
            lines += [line[2:] for line in body.splitlines() if line[:2] in {"$ ", "# "}]
        elif block["kind"] == "sh":
            lines += [line for line in body.splitlines() if line and not line.startswith("#")]
    return lines


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a line, without pipes, lists, redirections and leading assignments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if token and set(token) <= set("();<>|&"):
            if words:
                yield words
            words = []
        elif words or not re.fullmatch(r"\w+=.*|sudo", token):
            words.append(token)


def estiba_commands() -> list[tuple[str, list[str]]]:
    return [
        (name(path), words[1:])
        for path in PAGES
        for line in command_lines(text(path))
        for words in simple_commands(line)
        if words[0].rpartition("/")[2] == "estiba"
    ]


@pytest.mark.parametrize(("page", "words"), estiba_commands(), ids=lambda value: value if isinstance(value, str) else " ".join(value))
def test_documented_command_parses(page: str, words: list[str]) -> None:
    if words[0] in {"--version", "--help"}:
        return
    try:
        command, rest = find(words)
        assert isinstance(command, Command), f"{page}: estiba {words}: a group, not a command"
        parse(command, rest)
    except EstibaError as error:
        pytest.fail(f"{page}: estiba {' '.join(words)}: {error}")


@pytest.mark.parametrize("page", [name(path) for path in PAGES])
def test_make_targets_exist(page: str) -> None:
    known = set(re.findall(r"^([a-z]+):", text(TOP / "Makefile"), re.MULTILINE))
    used = {target for line in command_lines(text(TOP / page)) for target in re.findall(r"^make ([a-z]+)", line)}
    used |= set(re.findall(r"`make ([a-z]+)\b", text(TOP / page)))
    assert used <= known


@pytest.mark.parametrize("page", [name(path) for path in files("*.md")])
def test_links_resolve(page: str) -> None:
    path = TOP / page
    body = FENCE.sub("", text(path))
    targets = [match["target"] or match["image"] for match in LINK.finditer(body)]
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", [name(path) for path in PAGES])
def test_measured_numbers_have_their_command(page: str) -> None:
    """A number that a machine gave stands in a section that names the command which gives it again."""
    bare = []
    for section in re.split(r"^(?=#)", text(TOP / page), flags=re.MULTILINE):
        numbers = [match.group() for match in MEASURED.finditer(FENCE.sub("", section))]
        if numbers and not MEASURE.search(section):
            bare.append((section.splitlines()[0], numbers))
    assert bare == []


TRANSLATED = [(page, page.replace(".md", ".es.md")) for page in ("README.md", "docs/concepts/containers-and-machines.md")]


@pytest.mark.parametrize(("english", "spanish"), TRANSLATED)
def test_translations_show_the_same_commands(english: str, spanish: str) -> None:
    assert command_lines(text(TOP / english)) == command_lines(text(TOP / spanish))


@pytest.mark.parametrize(("english", "spanish"), TRANSLATED)
def test_translations_have_the_same_sections(english: str, spanish: str) -> None:
    def levels(page: str) -> list[int]:
        return [len(mark) for mark in re.findall(r"^(#+) ", FENCE.sub("", text(TOP / page)), re.MULTILINE)]

    assert levels(english) == levels(spanish)


def test_decisions_are_short_and_complete() -> None:
    for path in files("docs/dev/decisions/[0-9]*.md"):
        body = text(path)
        assert len(body.splitlines()) <= 60, name(path)
        for part in ("## Context", "## Decision", "## Rejected", "## How we would notice"):
            assert part in body, f"{name(path)}: no {part!r}"


def test_every_dependency_has_its_record() -> None:
    import tomllib

    project = tomllib.loads(text(TOP / "pyproject.toml"))["project"]
    records = "".join(text(path) for path in files("docs/dev/decisions/[0-9]*.md"))
    for requirement in project["dependencies"]:
        assert f"`{re.split('[<>=; ]', requirement)[0]}`" in records, requirement


def test_version_is_the_packages() -> None:
    import tomllib

    from tests.support.command import command_under_test

    version = tomllib.loads(text(TOP / "pyproject.toml"))["project"]["version"]
    done = subprocess.run([*command_under_test(), "--version"], capture_output=True, text=True, check=True)
    assert version in done.stdout
    assert f"## {version}" in text(TOP / "CHANGELOG.md")
