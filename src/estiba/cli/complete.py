"""``estiba __complete LINE``: what could stand at the end of a command line.

Writes one candidate a line, with a tab and a description where there is one. ``:file`` and ``:folder`` ask the shell to
complete paths. Called by the scripts of ``estiba completion``.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, Invocation
from estiba.cli.context import Context
from estiba.cli.main import global_command
from estiba.cli.verbs import GROUPS, VERBS, load
from estiba.errors import EstibaError

Candidate = tuple[str, str]
_SHELLS = ("bash", "zsh", "fish")


def candidates(line: str, context: Context) -> list[Candidate]:
    """What could complete the last word of `line` (the whole line before the cursor, with the program's name)."""
    words = _split(line)[1:]
    last = words.pop() if words else ""
    command: Command = global_command()
    table: Mapping[str, str | dict[str, str]] | None = VERBS
    while True:
        at, pending = _skip_flags(command, words)
        if pending:
            return _values(pending, last, context)
        if table is None or at == len(words):
            break
        entry = table.get(words[at])
        if entry is None:
            return []
        words = words[at + 1 :]
        if isinstance(entry, str):
            command, table = load(entry), None
        else:
            command, table = Command("", "", command.run, flags_end=1), entry
    if table is None and command.flags_end and len(words) > at:
        return [(":file", "")]  # inside the container's own command line
    if last.startswith("-"):
        return _flags(command, last, context)
    if table is not None:
        return [(word, about) for word, about in _verbs(table) if word.startswith(last)]
    return _arguments(command, last, context)


def _split(line: str) -> list[str]:
    """Words as a shell would see them; an open quote belongs to the last word."""
    for closing in ("", '"', "'"):
        try:
            words = shlex.split(line + closing)
        except ValueError:
            continue
        new = not words or (not closing and line[-1:].isspace())
        return [*words, ""] if new else words
    return [""]


def _skip_flags(command: Command, words: Sequence[str]) -> tuple[int, Flag | None]:
    """The place of the argument that ends the flags, and the flag whose value the last word is, if it is one."""
    long = {name: flag for flag in command.flags() for name in (flag.name, *flag.aliases)}
    short = {flag.short: flag for flag in command.flags() if flag.short}
    at = arguments = 0
    while at < len(words):
        word, flag = words[at], None
        if word.startswith("--"):
            flag = long.get(word[2:])
        elif word.startswith("-") and len(word) > 1:
            flag = short.get(word[-1])
        else:
            arguments += 1
            if arguments == command.flags_end:
                return at, None
        at += 1
        if flag and flag.kind != "switch":
            if at == len(words):
                return at, flag
            at += 1
    return at, None


def _verbs(table: Mapping[str, str | dict[str, str]]) -> Iterator[Candidate]:
    seen = set[str]()
    for word, entry in table.items():
        if isinstance(entry, dict):
            yield word, GROUPS[word]
        elif not word.startswith("_") and entry not in seen:  # `ls`, not also `list`
            seen.add(entry)
            yield word, load(entry).summary


def _flags(command: Command, last: str, context: Context) -> list[Candidate]:
    name, equals, start = last[2:].partition("=")
    if equals:
        flag = next((flag for flag in command.flags() if flag.name == name), None)
        return [(f"--{name}={value}", about) for value, about in _values(flag, start, context) if value[0] != ":"] if flag else []
    shown = [(f"--{flag.name}", flag.help) for flag in command.flags() if not flag.hidden]
    return [found for found in [*shown, ("--help", "Show help")] if found[0].startswith(last)]


def _values(flag: Flag, last: str, context: Context) -> list[Candidate]:
    if flag.choices:
        return [(choice, "") for choice in flag.choices if choice.startswith(last)]
    return _of_kind(flag.complete, last, context)


def _arguments(command: Command, last: str, context: Context) -> list[Candidate]:
    if command.name == "completion":
        return [(shell, "") for shell in _SHELLS if shell.startswith(last)]
    return _of_kind(command.complete, last, context)


def _of_kind(kind: str, last: str, context: Context) -> list[Candidate]:
    if kind == "image":
        return [(name, "") for name in _images(context) if name.startswith(last)]
    if kind == "container":
        return [(name, "") for name in _containers(context) if name.startswith(last)]
    return [(":" + kind, "")] if kind else []


def _containers(context: Context) -> list[str]:
    """The names of containers, under the same rule as `_images`."""
    try:
        return sorted(os.listdir(context.store.names)) if os.path.isdir(context.settings.root) else []
    except (EstibaError, OSError):
        return []


def _images(context: Context) -> list[str]:
    """The names in the store. No store, or one that cannot be read, has no names: a shell's prompt is no place for errors."""
    try:
        if not os.path.isdir(context.settings.root):
            return []
        from estiba.store import references

        return sorted(reference.familiar for reference, _ in references.all(context.store) if not reference.is_dangling)
    except (EstibaError, OSError):
        return []


def _run(context: Context, found: Invocation) -> int:
    shown = candidates(found.arguments[0], context)
    output.lines(f"{word}\t{about}" if about else word for word, about in shown)
    return 0


COMMAND = Command("__complete", "Complete a command line", _run, usage="LINE", least=1, most=1, hidden=True)
