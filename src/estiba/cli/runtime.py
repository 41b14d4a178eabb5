"""What the verbs of ``estiba runtime`` share: the flags that stand before the verb, and failures in the log that engines read.

The words are runc's: ``estiba runtime [global flags] VERB ...``, or ``estiba-runtime`` in the place of the first two.
"""

from __future__ import annotations

import os

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch
from estiba.errors import EstibaError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

    Run = Callable[[Context, Invocation], int]

GLOBAL = (
    Flag("root", "Folder of the containers' states", value="folder", complete="folder"),
    Flag("log", "File for messages", value="file", complete="file"),
    Flag("log-format", "'text' or 'json'", default="text", choices=("text", "json")),
    switch("debug", "Accepted; there is nothing more to tell"),
    switch("systemd-cgroup", "", refused="control groups are made by estiba itself, not by systemd"),
    Flag("criu", "", ignored="checkpoints are not offered"),
    Flag("rootless", "", ignored="what an ordinary user may do is found out by itself"),
)
_TABLE = {flag.name: flag for flag in GLOBAL}


def verb_first(words: Sequence[str]) -> list[str]:
    """Moves the global flags behind the verb, where the parser of that verb finds them."""
    at = 1
    while at < len(words) and words[at][:1] == "-":
        if words[at] in ("--version", "-v"):
            return ["runtime", "version"]
        flag = _TABLE.get(words[at].lstrip("-").partition("=")[0])
        if flag is None:
            return list(words)
        at += 1 if flag.kind == "switch" or "=" in words[at] else 2
    if at >= len(words):
        return ["runtime"]
    return ["runtime", *words[at : at + 1], *words[1:at], *words[at + 1 :]]


def root_of(found: Invocation) -> str:
    """Where the states are."""
    from estiba.engine.oci_runtime.state import default_root

    return os.path.abspath(found.string("root")) if found.given("root") else default_root()


def runtime_command(
    name: str,
    summary: str,
    run: Run,
    *,
    usage: str = "ID",
    flags: Sequence[Flag] = (),
    examples: Sequence[tuple[str, str]],
    least: int = 1,
    most: int | None = 1,
    about: str = "",
    flags_end: int = 0,
    failure: int = 1,
) -> Command:
    """A verb of the group: its own flags, and those of all."""
    sections: Mapping[str, Sequence[Flag]] = {"Options": flags, "Runtime options": GLOBAL} if flags else {"Runtime options": GLOBAL}
    return Command(
        f"runtime {name}",
        summary,
        _told(run, failure),
        usage=usage,
        sections=sections,
        about=about,
        examples=examples,
        least=least,
        most=most,
        flags_end=flags_end,
        failure=failure,
    )


def _told(run: Run, failure: int) -> Run:
    """The verb, with its failures in the log as well, and one exit code for all of them, as runc has."""

    def told(context: Context, found: Invocation) -> int:
        try:
            return run(context, found)
        except EstibaError as error:
            _log(found, error.message)
            output.failure(error.message, error.hint)
            return failure
        except OSError as error:
            _log(found, str(error))
            raise

    return told


def _log(found: Invocation, message: str) -> None:
    """Appends an error to the log, in the words that engines look for."""
    if not found.given("log"):
        return
    import time

    from estiba.oci.strict_json import dumps

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if found.string("log-format") == "json":
        line = dumps({"level": "error", "msg": message, "time": now}).decode()
    else:
        line = f"time={dumps(now).decode()} level=error msg={dumps(message).decode()}"
    path = found.string("log")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InvalidArgument(f"cannot write log {path}: {error.strerror}") from error
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(line + "\n")
