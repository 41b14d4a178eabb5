"""The filters of `ps` and `container prune`, as Docker's: several of one kind are alternatives, but for labels; kinds add up."""

from __future__ import annotations

from estiba.engine.filters import split
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from estiba.engine.containers import Container
    from estiba.store.layout import Store

    Accept = Callable[[Container], bool]

STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
HEALTHS = ("starting", "healthy", "unhealthy", "none")
_KINDS = (
    "id", "name", "label", "exited", "status", "ancestor", "before", "since", "volume", "network", "health", "publish", "expose", "is-task",
)  # fmt: skip


def ps_filter(store: Store, filters: Sequence[str]) -> Accept:
    """Returns a function that tells whether a container passes. Raises InvalidArgument, NotFound for before= and since=."""
    wanted = _by_kind(filters, _KINDS)
    tests = [_test(store, kind, values) for kind, values in wanted.items()]
    return lambda container: all(test(container) for test in tests)


def prune_filter(filters: Sequence[str]) -> Accept:
    """As `ps_filter`, for `container prune`: until=, label=, label!=. Raises InvalidArgument."""
    wanted = _by_kind(filters, ("until", "label", "label!"))
    tests: list[Accept] = []
    for text in wanted.get("until", []):
        from estiba.engine.units import parse_moment

        moment = parse_moment(text)
        if moment is None:
            raise InvalidArgument(f"cannot use --filter until={text}: not a time, and not a length of time such as 24h")
        tests.append(_created_before(moment.timestamp()))
    tests += [_labels(wanted[kind], wanted=kind == "label") for kind in ("label", "label!") if kind in wanted]
    return lambda container: all(test(container) for test in tests)


def _by_kind(filters: Sequence[str], kinds: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind, value in split(filters, kinds):
        found.setdefault(kind, []).append(value)
    return found


def _test(store: Store, kind: str, values: list[str]) -> Accept:
    if kind == "label":
        return _labels(values, wanted=True)
    if kind in ("before", "since"):
        from estiba.engine.containers import find

        others = [find(store, value).created for value in values]
        return (lambda c: c.created < min(others)) if kind == "before" else (lambda c: c.created > max(others))
    if kind == "status":
        for value in values:
            if value not in STATES:
                raise InvalidArgument(f"cannot use --filter status={value}: unknown state", hint="valid values: " + ", ".join(STATES))
        return lambda c: c.status in values
    if kind == "exited":
        codes = [_code(value) for value in values]
        return lambda c: c.status == "exited" and c.exit_code in codes
    return _PLAIN[kind](values)


def _code(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InvalidArgument(f"cannot use --filter exited={text}: it is not an exit code")
    return int(text)


def _labels(values: Sequence[str], *, wanted: bool) -> Accept:
    pairs = [value.partition("=") for value in values]

    def has(container: Container, key: str, separator: str, value: str) -> bool:
        return key in container.labels and (not separator or container.labels[key] == value)

    if wanted:
        return lambda c: all(has(c, *pair) for pair in pairs)
    return lambda c: not any(has(c, *pair) for pair in pairs)


def _created_before(seconds: float) -> Accept:
    return lambda container: container.created < seconds * 1e9


def _names(values: Sequence[str]) -> Accept:
    import re

    try:
        patterns = [re.compile(value) for value in values]
    except re.error as error:
        raise InvalidArgument(f"cannot use --filter name=: not a regular expression: {error}") from None
    return lambda c: any(pattern.search(f"/{c.name}") or pattern.search(c.name) for pattern in patterns)


def _ancestors(values: Sequence[str]) -> Accept:
    def is_one(container: Container, value: str) -> bool:
        reference, image = container.reference, container.image
        short = image.removeprefix("sha256:").startswith(value.removeprefix("sha256:")) and len(value) >= 12
        return value in (reference, image) or f"{value}:latest" == reference or short

    return lambda c: any(is_one(c, value) for value in values)


def _volumes(values: Sequence[str]) -> Accept:
    return lambda c: any(value in (entry.get("source"), entry.get("target")) for entry in c.volumes for value in values)


def _exposed(values: Sequence[str]) -> Accept:
    """expose=PORT[-PORT][/PROTOCOL]: one of the ports that the container exposes is among them."""
    wanted = [_ports(value, "expose") for value in values]

    def exposes(container: Container) -> bool:
        from estiba.engine.documents import read_json

        asked: Any = read_json(f"{container.folder}/state.json").get("asked", {})
        own = [_ports(port, "expose") for port in asked.get("Config", {}).get("ExposedPorts", {})]
        return any(proto == other and low <= last and first <= high for proto, low, high in wanted for other, first, last in own)

    return exposes


def _published(values: Sequence[str]) -> Accept:
    """publish=: there are no networks yet, so no container publishes a port."""
    for value in values:
        _ports(value, "publish")
    return lambda _container: False


def _ports(text: str, kind: str) -> tuple[str, int, int]:
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    for number in (first, last or first):
        if not (number.isascii() and number.isdigit() and len(number) < 6 and 0 < int(number) < 65536):
            raise InvalidArgument(f"cannot use --filter {kind}={text}: not PORT[-PORT][/PROTOCOL]")
    return protocol or "tcp", int(first), int(last or first)


def _healths(values: Sequence[str]) -> Accept:
    from estiba.engine import health

    for value in values:
        if value not in HEALTHS:
            raise InvalidArgument(f"cannot use --filter health={value}: unknown state", hint="valid values: " + ", ".join(HEALTHS))
    return lambda c: ("none" if (found := health.of(c)) is None else found.status) in values


# There are no tasks of a swarm: what asks for one finds none.
_PLAIN: dict[str, Callable[[list[str]], Accept]] = {
    "id": lambda values: lambda c: any(c.id.startswith(value) for value in values),
    "name": _names,
    "ancestor": _ancestors,
    "volume": _volumes,
    "network": lambda values: lambda c: str(c.options.get("network", "none")) in values,
    "health": _healths,
    "publish": _published,
    "expose": _exposed,
    "is-task": lambda values: lambda _c: "false" in values,
}
