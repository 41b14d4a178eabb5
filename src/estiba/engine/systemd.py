"""A unit for systemd that starts containers at boot as their restart policies say, and stops them at shutdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estiba.engine import containers
from estiba.engine.stop import DEFAULT_TIMEOUT
from estiba.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.config.settings import Settings
    from estiba.store.layout import Store

#: Seconds beyond the containers' own until systemd loses patience with a stop.
_SPARE_SECONDS = 30


def unit(store: Store, settings: Settings, names: Sequence[str], program: Sequence[str]) -> str:
    """The text of a unit (systemd.service(5)) for the containers of these names, or without any for all that ever ask for it.

    Parameter: `program`, the words that call estiba with the caller's global flags. Raises NotFound, Conflict (an ambiguous id),
    FailedPrecondition for a container whose policy does not outlive a boot.
    """
    found = [containers.find(store, name) for name in names]
    for container in found:
        if container.restart not in ("always", "unless-stopped"):
            raise FailedPrecondition(
                f"cannot make a unit for container {container.name}: its restart policy is {container.restart}",
                hint="a container comes back after a boot with --restart always or unless-stopped",
            )
    what = "estiba container " + " ".join(c.name for c in found) if found else "estiba containers"
    words = [c.name for c in found]
    patience = max([DEFAULT_TIMEOUT, *(c.stop_timeout or 0 for c in found)]) + _SPARE_SECONDS
    return f"""\
[Unit]
Description={_plain(what)}
RequiresMountsFor={_quoted(settings.root)}

[Service]
Type=oneshot
RemainAfterExit=yes
Delegate=yes
ExecStart={_command([*program, "start", "--wanted", *words])}
ExecStop={_command([*program, "stop", "--for-now", *words])}
TimeoutStopSec={patience}

[Install]
WantedBy={"multi-user.target" if settings.uid == 0 else "default.target"}
"""


def _command(words: Sequence[str]) -> str:
    """A command line by the rules of systemd.service(5): `$` would be a variable."""
    return " ".join(_quoted(word).replace("$", "$$") for word in words)


def _quoted(word: str) -> str:
    """One word by the rules of systemd.syntax(7): `%` would be a specifier."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return text if text and not set(text) & set(" \t'\"\\;") else f'"{text}"'


def _plain(text: str) -> str:
    return text.replace("%", "%%")
