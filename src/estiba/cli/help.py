"""The pages of ``--help``: the welcome, the overview, a group, a command. All from the same declarations as the parser."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from estiba.cli import output
from estiba.cli.arguments import Command, Flag
from estiba.cli.verbs import GROUPS, VERBS, find, load

# The overview's headings and what stands under them.
OVERVIEW = {
    "Run": (
        "run", "exec", "create", "start", "stop", "restart", "kill", "pause", "unpause", "wait", "rm", "rename", "ps", "top",
        "stats", "update", "port", "logs", "attach", "events", "container prune", "container systemd",
    ),
    "Files of containers": ("cp", "diff", "commit", "export"),
    "Images": ("images", "pull", "push", "tag", "rmi", "history", "inspect", "import", "load", "save", "bundle"),
    "Layers": ("image tree", "image stack", "image from-host", "image prune"),
    "Registries": ("login", "logout"),
    "Store": ("system df", "system check", "system prune"),
    "Machines": ("image to-disk", "kernel import", "kernel build", "kernel ls", "kernel rm"),
    "Bundles": (
        "runtime create",
        "runtime start",
        "runtime run",
        "runtime state",
        "runtime kill",
        "runtime delete",
        "runtime list",
        "runtime exec",
        "runtime ps",
        "runtime events",
        "runtime pause",
        "runtime resume",
        "runtime update",
        "runtime features",
        "runtime version",
    ),
    "This machine": ("doctor", "info", "compare", "version", "completion"),
}
_MOST_USED = ("run", "images", "pull", "rmi")
_INDENT = "  "


class _Style:
    """Bold and colour where standard output is a terminal, else nothing."""

    def __init__(self) -> None:
        on = output.has_colour(output.STDOUT)
        self._bold, self._cyan, self._dim, self._off = ("\x1b[1m", "\x1b[36m", "\x1b[2m", "\x1b[0m") if on else ("",) * 4

    def heading(self, text: str) -> str:
        return f"{self._bold}{text}{self._off}"

    def word(self, text: str) -> str:
        return f"{self._cyan}{text}{self._off}"

    def quiet(self, text: str) -> str:
        return f"{self._dim}{text}{self._off}"


def commands() -> list[Command]:
    """Every command once, in the order of the table; hidden ones left out."""
    modules = [name for entry in VERBS.values() for name in ([entry] if isinstance(entry, str) else entry.values())]
    found = [load(name) for name in dict.fromkeys(modules)]
    return [command for command in found if not command.hidden]


def _summary(verb: str) -> str:
    command, _ = find(verb.split())
    assert isinstance(command, Command)
    return command.summary


def welcome() -> str:
    """What ``estiba`` says when it is called without a word: what it is, and what to try first."""
    style = _Style()
    shown = [(f"estiba {name}", _summary(name)) for name in _MOST_USED]
    first = [
        ("estiba run hello", "a container from the built-in image; needs no network"),
        ("estiba run --rm -it alpine sh", "a shell in Alpine Linux, pulled when it is not here"),
        ("estiba doctor", "what this machine allows, and what to do where it does not"),
    ]
    return "\n".join(
        [
            f"{style.heading('estiba')} runs containers from images in layers.",
            "No daemon, no root needed, each layer stored once.",
            "",
            style.heading("Try first:"),
            *_pairs(first, style),
            "",
            style.heading("Used most:"),
            *_pairs(shown, style),
            "",
            f"All commands: {style.word('estiba --help')}. One command: {style.word('estiba COMMAND --help')}.",
            "",
        ]
    )


def overview(everywhere: Command) -> str:
    """``estiba --help``."""
    style = _Style()
    lines = [f"{style.heading('Usage:')}  estiba [OPTIONS] COMMAND", "", *_wrapped(everywhere.summary + ".")]
    left = max(len(name) for names in OVERVIEW.values() for name in names)
    for heading, names in OVERVIEW.items():
        lines += ["", style.heading(f"{heading}:"), *_pairs([(name, _summary(name)) for name in names], style, left)]
    lines += ["", style.heading("Groups:"), *_pairs(list(GROUPS.items()), style, left)]
    lines += _sections(everywhere.sections, style)
    lines += ["", f"{style.word('estiba COMMAND --help')} tells more about a command."]
    return "\n".join(lines) + "\n"


def group(name: str) -> str:
    """``estiba image``: the verbs of a group."""
    style = _Style()
    table = VERBS[name]
    assert isinstance(table, dict)
    first: dict[str, str] = {}
    for word, module in table.items():
        first.setdefault(module, word)
    lines = [f"{style.heading('Usage:')}  estiba {name} COMMAND", "", f"{GROUPS[name]}.", "", style.heading("Commands:")]
    lines += _pairs([(word, load(module).summary) for module, word in first.items()], style)
    lines += ["", f"{style.word(f'estiba {name} COMMAND --help')} tells more about a command."]
    return "\n".join(lines) + "\n"


def usage_line(command: Command) -> str:
    """``estiba run [OPTIONS] IMAGE [COMMAND] [ARG...]``."""
    options = " [OPTIONS]" if any(not flag.hidden for flag in command.flags()) else ""
    return f"estiba {command.name}{options} {command.usage}".rstrip()


def command_help(command: Command) -> str:
    """``estiba VERB --help``."""
    style = _Style()
    lines = [f"{style.heading('Usage:')}  {usage_line(command)}", "", *_wrapped(command.summary + ".")]
    for paragraph in paragraphs(command):
        lines += ["", *_wrapped(paragraph)]
    if command.aliases:
        also = ", ".join(f"estiba {alias}" for alias in command.aliases)
        lines += ["", f"{style.heading('Also:')}  {also}"]
    lines += _sections(command.sections, style)
    if command.examples:
        lines += ["", style.heading("Examples:"), *_pairs(list(command.examples), style)]
    return "\n".join(lines) + "\n"


def paragraphs(command: Command) -> list[str]:
    """The paragraphs of `Command.about`, each as one line."""
    return [" ".join(part.split()) for part in command.about.split("\n\n") if part.strip()]


def flag_words(flag: Flag) -> str:
    """``-e, --env list``."""
    short = f"-{flag.short}, " if flag.short else "    "
    return f"{short}--{flag.name} {flag.value}".rstrip()


def flag_help(flag: Flag) -> str:
    """The help of a flag with its choices and its default."""
    text = flag.help
    if flag.choices:
        text += f" ({', '.join(flag.choices)})"
    if flag.default not in ("", False, 0):
        text += f" (default {'true' if flag.default is True else flag.default})"
    return text


def _sections(sections: Mapping[str, Sequence[Flag]], style: _Style) -> Iterator[str]:
    shown = {heading: [(flag_words(flag), flag_help(flag)) for flag in flags if not flag.hidden] for heading, flags in sections.items()}
    left = max((len(words) for pairs in shown.values() for words, _ in pairs), default=0)
    for heading, pairs in shown.items():
        if pairs:
            yield ""
            yield style.heading(f"{heading}:")
            yield from _pairs(pairs, style, left)


def _pairs(pairs: Sequence[tuple[str, str]], style: _Style, left: int = 0) -> Iterator[str]:
    """Two columns; the second is wrapped under itself, and starts a line of its own below a long first.

    `left` is the least width of the first column, so that several lists can stand under each other.
    """
    room = _page_width()
    left = min(max(left, *(len(first) for first, _ in pairs)), 34)
    for first, second in pairs:
        text = textwrap.wrap(second, max(20, room - left - 5), break_on_hyphens=False) or [""]
        start = f"{_INDENT}{style.word(first)}"
        if len(first) > left:
            yield start
        else:
            yield f"{start}{' ' * (left - len(first))}   {text.pop(0)}".rstrip()
        yield from (f"{' ' * (left + 5)}{line}" for line in text if line)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _page_width(), break_on_hyphens=False)


def _page_width() -> int:
    return max(60, min(output.width(), 110))
