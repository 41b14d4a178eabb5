"""Commands and flags as data, and a parser with the semantics of Go's pflag, which Docker's scripts rely on.

One `Command` is the single source for parsing, ``--help``, the reference page, the man page and completion.

Rules of the parser (github.com/spf13/pflag, ``FlagSet.parseArgs``):

- ``--flag value``, ``--flag=value``, ``-f value``, ``-fvalue``, ``-f=value``; a switch takes a value only after ``=``;
- switches cluster (``-it``), and the last of a cluster may take a value (``-ieFOO=1``);
- ``--`` ends the flags; a lone ``-`` is an argument;
- flags and arguments may be mixed unless the command says ``flags_end``: the first argument of ``run`` and ``exec`` ends
  the flags, so that those of the container's own command are left alone, and the second of ``compare IMAGE COMMAND``.

This module is on the start path of ``run``: it imports only `estiba.errors`.
"""

from __future__ import annotations

from estiba import errors
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from estiba.cli.context import Context

    Value = str | bool | int | list[str]

# The spellings of strconv.ParseBool.
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
#: A suggestion is as good as another when their likenesses, of 1 at most, differ by less.
_AS_NEAR = 0.1


class Flag:
    """One flag of a command.

    Parameters:
        name: the long name without dashes.
        about: its help, one line without a period; a flag without any is left out of ``--help``.
        short: one letter, or empty.
        kind: ``switch``, ``string``, ``int`` or ``list`` (a string that may be given again).
        value: the word that stands for the value in ``--help``.
        default: the value when the flag is absent (a switch: False, a list: empty).
        aliases: further long names that are not shown (Docker's ``--net``).
        choices: the values allowed, where that is a closed list.
        ignored: why the flag is accepted and has no effect (a warning says so).
        refused: why the flag is known and not offered (an error says so).
        complete: what completes the value: ``image``, ``container``, ``file``, ``folder`` or nothing.
    """

    __slots__ = ("aliases", "choices", "complete", "default", "help", "ignored", "kind", "name", "refused", "short", "value")

    def __init__(
        self,
        name: str,
        about: str,
        *,
        short: str = "",
        kind: str = "string",
        value: str = "string",
        default: str | bool | int = "",
        aliases: tuple[str, ...] = (),
        choices: tuple[str, ...] = (),
        ignored: str = "",
        refused: str = "",
        complete: str = "",
    ) -> None:
        self.name = name
        self.help = about
        self.short = short
        self.kind = kind
        self.value = value
        self.default = default
        self.aliases = aliases
        self.choices = choices
        self.ignored = ignored
        self.refused = refused
        self.complete = complete

    @property
    def hidden(self) -> bool:
        """Whether ``--help`` leaves the flag out: it has no help, does nothing, or is not offered."""
        return not self.help or bool(self.ignored or self.refused)


def switch(name: str, about: str, *, short: str = "", default: bool = False, ignored: str = "", refused: str = "") -> Flag:
    """A flag that is on or off."""
    return Flag(name, about, short=short, kind="switch", value="", default=default, ignored=ignored, refused=refused)


def many(
    name: str,
    about: str,
    *,
    short: str = "",
    value: str = "list",
    aliases: tuple[str, ...] = (),
    ignored: str = "",
    refused: str = "",
    complete: str = "",
) -> Flag:
    """A flag that may be given again; its value is a list of strings."""
    return Flag(
        name,
        about,
        short=short,
        kind="list",
        value=value,
        aliases=aliases,
        ignored=ignored,
        refused=refused,
        complete=complete,
    )


class Command:
    """One verb: its words, its flags, its examples and the function that carries it out.

    Parameters:
        name: the words after ``estiba`` (``run``, ``image ls``).
        summary: one line for lists, without a period.
        usage: the arguments as ``--help`` shows them (``IMAGE [COMMAND] [ARG...]``).
        run: called with the context and the parsed `Invocation`; returns the exit code.
        sections: flags by the heading they stand under in ``--help``.
        least, most: how many arguments are allowed (``most=None``: any number).
        about: paragraphs that ``--help`` and the manual add to the summary.
        examples: pairs of a command line and what it does.
        aliases: other ways to say it (``image ls`` for ``images``).
        flags_end: the number of the argument that ends the flags, 0 where they may stand anywhere.
        failure: the exit code of a failure that has none of its own (125 for ``run``, as Docker's).
        complete: what completes the arguments: ``image``, ``container``, ``file``, ``folder`` or nothing.
        hidden: left out of lists and manuals.
    """

    __slots__ = (
        "about",
        "aliases",
        "complete",
        "examples",
        "failure",
        "flags_end",
        "hidden",
        "least",
        "most",
        "name",
        "run",
        "sections",
        "summary",
        "usage",
    )

    def __init__(
        self,
        name: str,
        summary: str,
        run: Callable[[Context, Invocation], int],
        *,
        usage: str = "",
        sections: Mapping[str, Sequence[Flag]] | None = None,
        least: int = 0,
        most: int | None = 0,
        about: str = "",
        examples: Sequence[tuple[str, str]] = (),
        aliases: tuple[str, ...] = (),
        flags_end: int = 0,
        failure: int = 1,
        complete: str = "",
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.summary = summary
        self.run = run
        self.usage = usage
        self.sections = sections or {}
        self.least = least
        self.most = most
        self.about = about
        self.examples = examples
        self.aliases = aliases
        self.flags_end = flags_end
        self.failure = failure
        self.complete = complete
        self.hidden = hidden

    def flags(self) -> list[Flag]:
        """All flags, in the order of their sections."""
        return [flag for flags in self.sections.values() for flag in flags]


class Invocation:
    """What one command line says: values by long name of the flag, and the arguments.

    The accessors give the value as its kind's type, or the flag's default. Asking for a flag that the command does not
    have is a KeyError: a bug of the verb.
    """

    __slots__ = ("_defaults", "arguments", "help", "values", "warnings")

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._defaults = {flag.name: flag for flag in flags}
        self.values: dict[str, Value] = {}
        self.arguments: list[str] = []
        self.warnings: list[str] = []
        self.help = False

    def given(self, name: str) -> bool:
        """Whether the flag stands on the command line."""
        return self._defaults[name].name in self.values

    def switch(self, name: str) -> bool:
        """The value of a switch."""
        return bool(self.values.get(name, self._defaults[name].default))

    def string(self, name: str) -> str:
        """The value of a string flag."""
        return str(self.values.get(name, self._defaults[name].default))

    def integer(self, name: str) -> int:
        """The value of an integer flag."""
        value = self.values.get(name, self._defaults[name].default)
        return value if isinstance(value, int) else 0

    def strings(self, name: str) -> list[str]:
        """The values of a flag that may be given again."""
        value = self.values.get(name)
        return value if isinstance(value, list) else [] if self._defaults[name].kind == "list" else [str(value)]


class _Parser:
    """Reads one command line for one command."""

    __slots__ = ("_command", "_found", "_long", "_short")

    def __init__(self, command: Command) -> None:
        self._command = command
        flags = command.flags()
        self._found = Invocation(flags)
        self._long: dict[str, Flag] = {}
        self._short: dict[str, Flag] = {}
        for flag in flags:
            self._long[flag.name] = flag
            for alias in flag.aliases:
                self._long[alias] = flag
            if flag.short:
                self._short[flag.short] = flag

    def parse(self, words: Sequence[str]) -> Invocation:
        found, queue = self._found, list(words)
        queue.reverse()
        while queue:
            word = queue.pop()
            if len(word) < 2 or word[0] != "-":
                found.arguments.append(word)
                if len(found.arguments) == self._command.flags_end:
                    break
            elif word == "--":
                break
            elif word[1] == "-":
                self._long_flag(word[2:], queue)
            else:
                self._cluster(word[1:], queue)
            if found.help:
                return found
        queue.reverse()
        found.arguments += queue
        self._count_arguments()
        return found

    def _long_flag(self, text: str, queue: list[str]) -> None:
        name, equals, value = text.partition("=")
        flag = self._long.get(name)
        if flag is None:
            if name == "help":
                self._found.help = True
                return
            raise self._unknown("--" + name, ["--" + long for long in self._long])
        if equals:
            self._set(flag, value, "--" + name)
        elif flag.kind == "switch":
            self._set(flag, "true", "--" + name)
        else:
            self._set(flag, self._next(queue, "--" + name), "--" + name)

    def _cluster(self, letters: str, queue: list[str]) -> None:
        for at, letter in enumerate(letters):
            flag, shown = self._short.get(letter), "-" + letter
            rest = letters[at + 1 :]
            if flag is None:
                if letter == "h":
                    self._found.help = True
                    return
                where = f" in -{letters}" if len(letters) > 1 else ""
                raise self._refuse(f"unknown flag {shown}{where}", hint=self._see_help())
            if rest[:1] == "=":
                self._set(flag, rest[1:], shown)
                return
            if flag.kind != "switch":
                self._set(flag, rest or self._next(queue, shown), shown)
                return
            self._set(flag, "true", shown)

    def _next(self, queue: list[str], shown: str) -> str:
        if not queue:
            raise self._refuse(f"flag {shown} needs a value", hint=self._see_help())
        return queue.pop()

    def _set(self, flag: Flag, text: str, shown: str) -> None:
        values = self._found.values
        if flag.kind == "switch":
            if text not in _TRUE and text not in _FALSE:
                raise self._refuse(f"flag {shown} takes true or false, not {text!r}")
            values[flag.name] = text in _TRUE
        elif flag.kind == "int":
            values[flag.name] = self._integer(text, shown)
        elif flag.kind == "list":
            kept = values.setdefault(flag.name, [])
            if isinstance(kept, list):
                kept.append(text)
        else:
            values[flag.name] = text
        if flag.choices and text not in flag.choices:
            raise self._refuse(f"flag {shown} does not know {text!r}", hint="valid values: " + ", ".join(flag.choices))
        if flag.refused and values[flag.name] is not False:
            raise errors.NotImplemented(f"cannot {self._command.name} with {shown}: {flag.refused}")
        if flag.ignored:
            self._found.warnings.append(f"{shown} has no effect: {flag.ignored}")

    def _integer(self, text: str, shown: str) -> int:
        digits = text[1:] if text[:1] in ("-", "+") else text
        # str.isdigit alone takes the digits of every script; a number of 18 digits fits 64 bits.
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
            raise self._refuse(f"flag {shown} needs a whole number, not {text!r}")
        return int(text)

    def _count_arguments(self) -> None:
        command, count = self._command, len(self._found.arguments)
        if count < command.least:
            noun = "argument" if command.least == 1 else "arguments"
            bound = "" if command.most == command.least else "at least "
            raise self._refuse(f"it needs {bound}{command.least} {noun}: {command.usage}", hint=self._see_help())
        if command.most is not None and count > command.most:
            extra = self._found.arguments[command.most]
            raise self._refuse(f"unexpected argument {extra!r}", hint=self._see_help())

    def _unknown(self, shown: str, known: list[str]) -> InvalidArgument:
        near = nearest(shown, known)
        return self._refuse(f"unknown flag {shown}", hint=f"did you mean {' or '.join(near)}?" if near else self._see_help())

    def _see_help(self) -> str:
        return f"see '{self._said()} --help'"

    def _refuse(self, cause: str, hint: str | None = None) -> InvalidArgument:
        return InvalidArgument(f"cannot parse '{self._said()}': {cause}", hint=hint)

    def _said(self) -> str:
        return f"estiba {self._command.name}".rstrip()


def parse(command: Command, words: Sequence[str]) -> Invocation:
    """Read the words after the verb.

    Returns an `Invocation`; with ``--help`` in it only its `help` is meaningful.
    Raises InvalidArgument (exit code 125) for what the command does not understand, NotImplemented for a flag that is
    known and not offered.
    """
    return _Parser(command).parse(words)


def nearest(word: str, known: Sequence[str]) -> list[str]:
    """The known words that `word` was probably meant to be, the nearest first: of some that are as near as another, all."""
    from difflib import SequenceMatcher, get_close_matches

    found = get_close_matches(word, known, n=3, cutoff=0.6)
    likeness = [SequenceMatcher(None, word, each).ratio() for each in found]
    return [each for each, like in zip(found, likeness, strict=True) if like > max(likeness) - _AS_NEAR]
