"""The reference page and the manual pages of the command line, from the declarations that its parser uses.

python tools/reference.py docs [FILE]    writes docs/reference/cli.md
python tools/reference.py man FOLDER     writes estiba.1, estiba-run.1, ...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "src"))

from estiba import __version__  # noqa: E402 - the tree's own package, also where it is not installed
from estiba.cli.arguments import Command, Flag  # noqa: E402 - as above
from estiba.cli.help import OVERVIEW, commands, flag_help, paragraphs, usage_line  # noqa: E402 - as above
from estiba.cli.main import global_command  # noqa: E402 - as above

PAGE = TOP / "docs" / "reference" / "cli.md"
EXIT_CODES = (
    ("0", "it worked"),
    ("1", "it failed"),
    ("125", "the command line is wrong, or `run` could not make the container"),
    ("126", "the program in the container cannot be executed"),
    ("127", "the program is not in the container"),
    ("128+n", "signal n ended the program"),
    ("130", "interrupted"),
)
ENVIRONMENT = (
    ("ESTIBA_ROOT", "folder of the store, as `--root`"),
    ("ESTIBA_CONFIG", "configuration file, as `--config`"),
    ("ESTIBA_LOCK_TIMEOUT", "seconds that a command waits for another one which uses the same thing; 0, the default, for ever"),
    ("DOCKER_CONFIG", "folder of Docker's config.json, where credentials are kept"),
    ("NO_COLOR", "no colours when it is set and not empty"),
    ("COLUMNS", "width of help pages and progress"),
)


def page() -> str:
    """The Markdown of docs/reference/cli.md."""
    everywhere = global_command()
    lines = [
        "# The command line",
        "",
        "<!-- Written by tools/reference.py from the declarations in src/estiba/cli; change them, not this page. -->",
        "",
        f"{everywhere.summary}. Words, flags and exit codes are Docker's where Docker has them.",
        "",
        "```text",
        "estiba [OPTIONS] COMMAND",
        "```",
        "",
        *_flag_tables(everywhere),
        "Flags may stand before and after arguments, except after the image of `run`: what follows there is the container's.",
        "Data goes to standard output, everything else to standard error.",
        "",
        "| Exit code | Meaning |",
        "|---|---|",
        *(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES),
        "",
        "| Variable | Meaning |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT),
        "",
        "| Command | |",
        "|---|---|",
        *(f"| [`estiba {command.name}`](#{_file_name(command)}) | {command.summary} |" for command in commands()),
        "",
    ]
    for command in commands():
        lines += _command(command)
    return "\n".join(lines).rstrip() + "\n"


def _file_name(command: Command) -> str:
    return f"estiba-{command.name.replace(' ', '-')}".rstrip("-")


def _command(command: Command) -> Iterator[str]:
    yield from (f"## estiba {command.name}", "", f"{command.summary}.", "", "```text", usage_line(command), "```", "")
    for paragraph in paragraphs(command):
        yield from (paragraph, "")
    if command.aliases:
        yield from ("Also: " + ", ".join(f"`estiba {alias}`" for alias in command.aliases) + ".", "")
    yield from _flag_tables(command)
    if command.examples:
        width = max(len(line) for line, _ in command.examples)
        yield from ("```text", *(f"{line:<{width}}   {about}" for line, about in command.examples), "```", "")


def _flag_tables(command: Command) -> Iterator[str]:
    for heading, flags in command.sections.items():
        shown = [flag for flag in flags if not flag.hidden]
        if shown:
            yield from (f"| {heading} | |", "|---|---|")
            yield from (f"| {_flag(flag)} | {_cell(flag_help(flag))} |" for flag in shown)
            yield ""
    refused = [flag for flag in command.flags() if flag.refused]
    ignored = [flag for flag in command.flags() if flag.ignored]
    for title, flags, reason in (("Not offered", refused, "refused"), ("Accepted without effect", ignored, "ignored")):
        if flags:
            yield from (f"| {title} | |", "|---|---|")
            yield from (f"| `--{flag.name}` | {_cell(getattr(flag, reason))} |" for flag in flags)
            yield ""


def _flag(flag: Flag) -> str:
    words = f"--{flag.name} {flag.value}".rstrip()
    return f"`-{flag.short}`, `{_cell(words)}`" if flag.short else f"`{_cell(words)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def manual(command: Command) -> str:
    """A manual page (man-pages(7), groff_man(7))."""
    title = _file_name(command)
    parts = [
        f'.TH {title.upper()} 1 "" "estiba {__version__}" "User Commands"',
        ".SH NAME",
        f"{_roff(title)} \\- {_roff(command.summary[:1].lower() + command.summary[1:])}",
        ".SH SYNOPSIS",
        f".B {_roff('estiba ' + command.name).rstrip()}",
        _roff(usage_line(command).removeprefix("estiba " + command.name).strip() or "") or ".br",
    ]
    if command.about or command.aliases:
        parts.append(".SH DESCRIPTION")
        for paragraph in paragraphs(command):
            parts += [".PP", _roff(paragraph)]
        if command.aliases:
            parts += [".PP", "Also: " + ", ".join(f"\\fBestiba {_roff(alias)}\\fR" for alias in command.aliases) + "."]
    for heading, flags in command.sections.items():
        shown = [flag for flag in flags if not flag.hidden]
        if shown:
            parts.append(".SH OPTIONS" if heading == "Options" else f'.SH "{_roff(heading.upper())}"')
            for flag in shown:
                short = f"\\fB\\-{flag.short}\\fR, " if flag.short else ""
                parts += [".TP", f"{short}\\fB\\-\\-{_roff(flag.name)}\\fR \\fI{_roff(flag.value)}\\fR", _roff(flag_help(flag))]
    if command.examples:
        parts.append(".SH EXAMPLES")
        for line, about in command.examples:
            parts += [".TP", f"\\fB{_roff(line)}\\fR", _roff(about)]
    return "\n".join([*parts, ""])


def main_manual() -> str:
    """estiba(1): the verbs, exit codes and variables."""
    everywhere = global_command()
    parts = [manual(everywhere).rstrip("\n"), ".SH COMMANDS"]
    verbs = {command.name: command for command in commands()}
    listed = [name for names in OVERVIEW.values() for name in names]
    for name in [*listed, *(name for name in verbs if name not in listed)]:
        parts += [".TP", f"\\fBestiba\\-{_roff(name.replace(' ', '-'))}\\fR(1)", _roff(verbs[name].summary)]
    for title, pairs in (("EXIT STATUS", EXIT_CODES), ("ENVIRONMENT", ENVIRONMENT)):
        parts.append(f'.SH "{title}"')
        for word, meaning in pairs:
            parts += [".TP", f"\\fB{_roff(word)}\\fR", _roff(meaning.replace("`", ""))]
    return "\n".join([*parts, ""])


def _roff(text: str) -> str:
    """Text as roff: no escapes, no hyphens that become others, no requests at the beginning of a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + escaped if escaped.startswith((".", "\\(aq")) else escaped


def main(words: list[str]) -> int:
    """The tool."""
    if words[:1] == ["docs"] and len(words) <= 2:
        target = Path(words[1]) if len(words) == 2 else PAGE
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page())
    elif words[:1] == ["man"] and len(words) == 2:
        folder = Path(words[1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "estiba.1").write_text(main_manual())
        for command in commands():
            (folder / f"{_file_name(command)}.1").write_text(manual(command))
    else:
        sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
