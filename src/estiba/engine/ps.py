"""`ps`: the containers, as rows with Docker's fields. On the start path."""

from __future__ import annotations

import time

from estiba.engine import health, names
from estiba.engine.containers import list_containers, list_running
from estiba.engine.sweep import sweep
from estiba.engine.words import human_duration, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.config.settings import Settings
    from estiba.engine.containers import Container
    from estiba.errors import EstibaError
    from estiba.store.layout import Store

_COMMAND = 20


class Row:
    """One container; upper-case attributes are the fields of --format. What the usual table does not show is found when asked for."""

    def __init__(self, store: Store, container: Container, now: float, *, full: bool) -> None:
        self._store = store
        self._full = full
        self.container = container
        self.ID = container.id if full else container.id[:12]
        self.Image = container.reference
        self.Command = _command(container.command, full=full)
        self.RunningFor = human_duration(now - container.created / 1e9) + " ago"
        self.Ports = ""
        self.State = container.status
        self.Status = _status(container, now)
        self.Names = container.name
        self.Networks = str(container.options.get("network", "none"))

    @property
    def CreatedAt(self) -> str:  # noqa: N802 - Docker's field
        """When it was made."""
        return time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(self.container.created / 1e9))

    @property
    def HealthStatus(self) -> str:  # noqa: N802 - Docker's field
        """What its checks say, where it has any."""
        return "" if (found := health.of(self.container)) is None else found.status

    @property
    def Labels(self) -> str:  # noqa: N802 - Docker's field
        """Its labels, with commas between."""
        return ",".join(f"{key}={value}" for key, value in self.container.labels.items())

    @property
    def Mounts(self) -> str:  # noqa: N802 - Docker's field
        """The sources of its volumes and binds."""
        return ",".join(_mount(entry, full=self._full) for entry in self.container.volumes)

    @property
    def Size(self) -> str:  # noqa: N802 - Docker's field
        """What the container wrote, and with its image."""
        from estiba.engine.df import written
        from estiba.engine.inspect_container import layers_size

        own = written(self.container)
        return f"{human_size(own)} (virtual {human_size(own + layers_size(self._store, self.container))})"

    def Label(self, key: str) -> str:  # noqa: N802 - Docker's method
        """The value of one label."""
        return self.container.labels.get(key, "")


def ps(
    store: Store, settings: Settings, *, every: bool = False, last: int = -1, filters: Sequence[str] = (), full: bool = False
) -> tuple[list[Row], list[EstibaError]]:
    """Returns the containers that run, the newest first, and what is wrong with those that cannot be read.

    Parameters: `every`, also those that do not run; `last`, only so many of the newest of all; `filters` as Docker's; `full`, nothing is
    cut short. Raises InvalidArgument, NotFound.
    """
    sweep(store, settings, thoroughly=True)
    damaged: list[EstibaError] = []
    everything = every or last > 0 or any(text.startswith(("status=", "exited=", "health=")) for text in filters)
    found = list_containers(store, damaged) if everything else list_running(store, damaged)
    if everything:
        names.tidy(store, settings, len(found) + len(damaged))
    if filters:
        from estiba.engine.ps_filters import ps_filter

        accept = ps_filter(store, filters)
        found = [container for container in found if accept(container)]
    found.reverse()
    now = time.time()
    return [Row(store, container, now, full=full) for container in (found[:last] if last > 0 else found)], damaged


def _command(words: Sequence[str], *, full: bool) -> str:
    """As Docker shows it: arguments with spaces in quotes, cut short, and the whole in quotes as Go writes them."""
    program, *arguments = words or [""]
    text = " ".join([program, *(f"'{word}'" if " " in word else word for word in arguments)])
    if not full and len(text) > _COMMAND:
        text = text[: _COMMAND - 1] + "…"
    return f'"{"".join(_in_quotes(character) for character in text)}"'


def _in_quotes(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    return character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _status(container: Container, now: float) -> str:
    if container.status in ("running", "paused"):
        paused = container.status == "paused"
        return f"Up {human_duration(now - container.started / 1e9)}" + (" (Paused)" if paused else _health(container))
    if container.status in ("exited", "restarting"):
        ended = f" {human_duration(now - container.finished / 1e9)} ago" if container.finished else ""
        return f"{container.status.capitalize()} ({container.exit_code}){ended}"
    return container.status.capitalize()


def _health(container: Container) -> str:
    found = health.of(container)
    if found is None:
        return ""
    return " (health: starting)" if found.status == health.STARTING else f" ({found.status})"


def _mount(entry: dict[str, object], *, full: bool) -> str:
    source = str(entry.get("source", ""))
    return source if full or len(source) <= 15 else source[:14] + "…"
