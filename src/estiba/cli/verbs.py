"""The words after `estiba`: which verb lives in which module. A verb's module is imported when it is called. On the start path."""

from __future__ import annotations

import sys

from estiba.cli.arguments import Command, nearest
from estiba.errors import EstibaError, InvalidArgument, NotImplemented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Verbs of a container, called by their own name or behind `container`; each has the name of its module.
_BEGINNING = {verb: verb for verb in ("run", "exec", "top", "attach", "logs")}
_FILES = {verb: verb for verb in ("cp", "diff", "commit", "export")}
_LIFE = {
    verb: verb
    for verb in ("create", "start", "stop", "restart", "kill", "rm", "wait", "rename", "pause", "unpause", "update", "stats")
}

# Words after `estiba` -> module in estiba.cli that holds the COMMAND. A dictionary is a group.
VERBS: dict[str, str | dict[str, str]] = {
    **_BEGINNING,
    **_FILES,
    "pull": "pull",
    "push": "push",
    "images": "images",
    "import": "import_",
    "load": "load",
    "save": "save",
    "tag": "tag",
    "rmi": "rmi",
    "history": "history",
    "inspect": "inspect",
    "bundle": "bundle",
    "login": "login",
    "logout": "logout",
    "info": "info",
    "doctor": "doctor",
    "compare": "compare",
    "version": "version",
    "completion": "completion",
    **_LIFE,
    "ps": "ps",
    "port": "port",
    "events": "events",
    "container": {
        **_BEGINNING,
        **_LIFE,
        "port": "port",
        "remove": "rm",
        "ls": "ps",
        "list": "ps",
        "ps": "ps",
        "inspect": "inspect",
        "prune": "container_prune",
        "systemd": "container_systemd",
        **_FILES,
    },
    "image": {
        "ls": "images",
        "list": "images",
        "pull": "pull",
        "push": "push",
        "import": "import_",
        "load": "load",
        "save": "save",
        "tag": "tag",
        "rm": "rmi",
        "remove": "rmi",
        "history": "history",
        "inspect": "inspect",
        "prune": "prune",
        "tree": "tree",
        "stack": "stack",
        "from-host": "from_host",
        "to-disk": "to_disk",
    },
    "kernel": {
        "import": "kernel_import",
        "build": "kernel_build",
        "ls": "kernel_ls",
        "list": "kernel_ls",
        "pull": "pull",
        "push": "push",
        "inspect": "inspect",
        "rm": "kernel_rm",
        "remove": "kernel_rm",
    },
    "system": {"df": "df", "events": "events", "check": "check", "info": "info", "prune": "system_prune"},
    "runtime": {
        "create": "runtime_create",
        "start": "runtime_start",
        "run": "runtime_run",
        "state": "runtime_state",
        "kill": "runtime_kill",
        "delete": "runtime_delete",
        "list": "runtime_list",
        "exec": "runtime_exec",
        "ps": "runtime_ps",
        "events": "runtime_events",
        "pause": "runtime_pause",
        "resume": "runtime_resume",
        "update": "runtime_update",
        "features": "runtime_features",
        "version": "runtime_version",
    },
    "__complete": "complete",
}

# Docker's words for what is not here yet: answered by one line, not taken for a typing error.
_NOT_YET = {
    "": "build builder buildx compose manifest network plugin search volume",
    "image": "build",
}

GROUPS = {
    "container": "Manage containers",
    "image": "Manage images",
    "kernel": "Manage the kernels of machines",
    "runtime": "Run bundles of other engines (an OCI runtime)",
    "system": "Manage the store and this machine",
}


def load(module: str) -> Command:
    """The `Command` of a verb's module in this package."""
    __import__("estiba.cli." + module)
    command = sys.modules["estiba.cli." + module].COMMAND
    assert isinstance(command, Command)
    return command


def find(words: Sequence[str]) -> tuple[Command | str, list[str]]:
    """The command that the words call, and the words that are left for it.

    The name of a group alone, or with ``--help``, gives the name. Raises InvalidArgument for an unknown word.
    """
    table: Mapping[str, str | dict[str, str]] = VERBS
    path = ""
    if words[:1] == ["runtime"]:
        from estiba.cli.runtime import verb_first

        words = verb_first(words)
    for at, word in enumerate(words):
        entry = table.get(word)
        if entry is None:
            if path and word in ("--help", "-h"):
                return path, []
            raise _unknown_verb(path, word, table)
        if isinstance(entry, str):
            return load(entry), list(words[at + 1 :])
        path, table = word, entry
    return path, []


def _unknown_verb(path: str, word: str, table: Mapping[str, object]) -> EstibaError:
    said = f"estiba {path}".rstrip()
    if word in _NOT_YET.get(path, "").split():
        return NotImplemented(f"cannot run '{said} {word}': estiba has no such command yet", hint="see 'estiba --help' for those it has")
    near = nearest(word, [known for known in table if known[0] != "_"])
    kind = "flag" if word[:1] == "-" else "command"
    hint = f"did you mean {' or '.join(repr(f'{said} {each}') for each in near)}?" if near else f"see '{said} --help'"
    return InvalidArgument(f"cannot parse '{said}': unknown {kind} {word!r}", hint=hint)
