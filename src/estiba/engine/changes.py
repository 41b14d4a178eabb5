"""`--change` of `import` (and `commit`): Dockerfile instructions that set an image's configuration.

The instructions are those that Docker allows there (moby, builder/dockerfile: CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL
ONBUILD STOPSIGNAL USER VOLUME WORKDIR). They fill the `config` object of image-spec, config.md, and nothing else.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from typing import Any

from estiba.errors import DataLoss, InvalidArgument
from estiba.oci import strict_json

Config = dict[str, Any]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_VARIABLE = re.compile(r"\$(?:(?P<plain>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<braced>[^}]*)\})", re.ASCII)
_PORT = re.compile(r"(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?(?:/(?P<protocol>tcp|udp|sctp))?", re.ASCII)
_SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9]*(?:[+-][0-9]{1,2})?|[0-9]{1,2}", re.ASCII)
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
SHELL = ["/bin/sh", "-c"]


def apply_changes(config: Config, changes: Iterable[str]) -> None:
    """Carries out `changes`, in order, on `config` (the `config` object of an image configuration).

    Raises InvalidArgument for an instruction that is unknown, not allowed here, or malformed; `config` may then be
    changed in part.
    """
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        handler = _HANDLERS.get(word.upper())
        if handler is None:
            raise InvalidArgument(
                f"cannot apply change {change!r}: {word!r} is not allowed here",
                hint="allowed are " + " ".join(sorted(_HANDLERS)),
            )
        if "\0" in rest or not rest.strip():
            raise InvalidArgument(f"cannot apply change {change!r}: {word.upper()} needs arguments without NUL")
        handler(config, rest.strip(), change)


def _refuse(change: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"cannot apply change {change!r}: {why}")


def _exec_form(text: str) -> list[str] | None:
    """The strings of a JSON array, or None where the text is something else (then it is the shell form, as in Docker)."""
    if not text.startswith("["):
        return None
    try:
        value = strict_json.loads(text.encode(), what="the exec form")
    except DataLoss:
        return None
    if isinstance(value, list) and all(type(item) is str for item in value):
        return [str(item) for item in value]
    return None


def _command(text: str) -> list[str]:
    words = _exec_form(text)
    return [*SHELL, text] if words is None else words


def _cmd(config: Config, text: str, change: str) -> None:
    config["Cmd"] = _command(text)


def _entrypoint(config: Config, text: str, change: str) -> None:
    config["Entrypoint"] = _command(text)


def _words(text: str, config: Config, change: str) -> list[str]:
    r"""Splits as a Dockerfile does: quotes, backslashes, and `$NAME` outside single quotes from the environment so far."""
    known = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    words: list[str] = []
    word: str | None = None
    quote, at = "", 0
    while at < len(text):
        letter = text[at]
        variable = _VARIABLE.match(text, at) if letter == "$" and quote != "'" else None
        at = variable.end() if variable else at + 1
        if variable:
            word = (word or "") + _value(variable, known, change)
        elif letter == quote:
            quote = ""
        elif letter in "'\"" and not quote:
            quote, word = letter, word or ""
        elif letter == "\\" and quote != "'" and (not quote or text[at : at + 1] in ('"', "$", "\\")):
            word = (word or "") + text[at : at + 1]
            at += 1
        elif letter.isspace() and not quote:
            words += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + letter
    if quote:
        raise _refuse(change, f"the quote {quote} is not closed")
    return words if word is None else [*words, word]


def _value(match: re.Match[str], known: dict[str, str], change: str) -> str:
    """An unset name is empty, as in a Dockerfile."""
    name = match["plain"] or match["braced"] or ""
    if not _NAME.fullmatch(name):
        raise _refuse(change, f"'${{{name}}}' is not supported, only $NAME and ${{NAME}}")
    return known.get(name, "")


def _pairs(text: str, config: Config, change: str) -> list[tuple[str, str]]:
    """`a=b "c d"=e`, or the old form `a the rest of the line`."""
    first = text.split(None, 1)
    if "=" not in first[0]:
        if len(first) < 2:
            raise _refuse(change, "expected NAME=VALUE")
        return [(first[0], " ".join(_words(first[1], config, change)))]
    pairs = []
    for word in _words(text, config, change):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise _refuse(change, f"{word!r} is not NAME=VALUE")
        pairs.append((name, value))
    return pairs


def _env(config: Config, text: str, change: str) -> None:
    for name, value in _pairs(text, config, change):
        entry = f"{name}={value}"
        others = [each for each in config.get("Env") or () if each.partition("=")[0] != name]
        config["Env"] = [*others, entry]


def _label(config: Config, text: str, change: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(text, config, change))}


def _expose(config: Config, text: str, change: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in _words(text, config, change):
        match = _PORT.fullmatch(word)
        first = int(match["first"]) if match else 0
        last = int(match["last"] or first) if match else 0
        if match is None or not 0 < first <= last < 65536:
            raise _refuse(change, f"{word!r} is not PORT[-PORT][/tcp|udp|sctp]")
        ports.update({f"{port}/{match['protocol'] or 'tcp'}": {} for port in range(first, last + 1)})
    config["ExposedPorts"] = ports


def _user(config: Config, text: str, change: str) -> None:
    if len(text.split()) != 1 or text.count(":") > 1:
        raise _refuse(change, "expected USER[:GROUP]")
    config["User"] = text


def _volume(config: Config, text: str, change: str) -> None:
    paths = _exec_form(text)
    for path in _words(text, config, change) if paths is None else paths:
        if not path.startswith("/"):
            raise _refuse(change, f"volume path {path!r} is not absolute")
        config["Volumes"] = {**(config.get("Volumes") or {}), posixpath.normpath(path): {}}


def _workdir(config: Config, text: str, change: str) -> None:
    # A relative path goes on from the one before, as WORKDIR does; "//" at the start is POSIX's special case.
    here = " ".join(_words(text, config, change))
    path = posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "", here))
    config["WorkingDir"] = "/" + path.lstrip("/")


def _stopsignal(config: Config, text: str, change: str) -> None:
    if not _SIGNAL.fullmatch(text):
        raise _refuse(change, f"{text!r} is not a signal")
    config["StopSignal"] = text


def _onbuild(config: Config, text: str, change: str) -> None:
    if text.split(maxsplit=1)[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise _refuse(change, f"{text.split(maxsplit=1)[0].upper()} is not allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or ()), text]


def nanoseconds(text: str) -> int | None:
    """A duration as Go writes it (`1m30s`) in nanoseconds, or None for anything else."""
    if not _DURATION.fullmatch(text):
        return None
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)", text, re.ASCII)
    return sum(round(float(number) * _UNITS[unit]) for number, unit in parts)


def _healthcheck(config: Config, text: str, change: str) -> None:
    if text.upper() == "NONE":
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    keys = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval"}
    check: dict[str, Any] = {}
    while text.startswith("--"):
        flag, _, text = text.partition(" ")
        name, _, value = flag[2:].partition("=")
        text = text.strip()
        if name == "retries" and value.isascii() and value.isdecimal():
            check["Retries"] = int(value)
        elif name in keys and nanoseconds(value) is not None:
            check[keys[name]] = nanoseconds(value)
        else:
            raise _refuse(change, f"{flag!r} is not an option of HEALTHCHECK")
    word, _, command = text.partition(" ")
    if word.upper() != "CMD" or not command.strip():
        raise _refuse(change, "expected NONE or [OPTIONS] CMD command")
    words = _exec_form(command.strip())
    check["Test"] = ["CMD-SHELL", command.strip()] if words is None else ["CMD", *words]
    config["Healthcheck"] = check


_HANDLERS: dict[str, Callable[[Config, str, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
