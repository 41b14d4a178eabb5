"""Docker's `--filter` for images: dangling, label, before, since, until, reference."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from datetime import datetime

from estiba.engine.filters import split
from estiba.engine.units import parse_moment, parse_time
from estiba.errors import DataLoss, InvalidArgument, NotFound
from estiba.oci.image_config import ImageConfig
from estiba.store.images import Image, find
from estiba.store.layout import Store

Predicate = Callable[[Image], bool]
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def image_filter(store: Store, filters: Sequence[str], allowed: Sequence[str]) -> Predicate:
    """A predicate for `filters` (`key=value`, `label!=value`).

    Values of one key are alternatives, keys all count, as in Docker (labels all count). Raises InvalidArgument for a key that is
    not `allowed` or a malformed value, NotFound for `before` and `since` of an unknown image.
    """
    groups: dict[str, list[Predicate]] = {}
    for name, value in split(filters, (*allowed, *(("label!",) if "label" in allowed else ()))):
        negated = name.endswith("!")
        key = name.removesuffix("!")
        predicate = _MAKERS[key](store, value, f"{name}={value}")
        group = f"{key}{len(groups)}" if key == "label" else key
        groups.setdefault(group, []).append(_not(predicate) if negated else predicate)
        if key == "label":
            groups["readable"] = [_readable]
    return lambda image: all(any(predicate(image) for predicate in group) for group in groups.values())


def _not(predicate: Predicate) -> Predicate:
    return lambda image: not predicate(image)


def config_of(image: Image) -> ImageConfig:
    """The image's configuration, an empty one when it is missing or damaged: `check` names it, and it hides no other image."""
    try:
        return image.config
    except (NotFound, DataLoss):
        return ImageConfig()


def _readable(image: Image) -> bool:
    """Nobody knows the labels of a damaged image, so no filter for labels chooses it, `label!=` least of all."""
    return config_of(image).raw != b""


def created(image: Image) -> datetime | None:
    """When the image was created, None when its configuration does not say so."""
    return parse_time(config_of(image).created)


def _dangling(store: Store, value: str, text: str) -> Predicate:
    wanted = _TRUTH.get(value.lower())
    if wanted is None:
        raise InvalidArgument(f"cannot use --filter {text!r}: dangling is true or false")
    return lambda image: image.reference.is_dangling == wanted


def _label(store: Store, value: str, text: str) -> Predicate:
    name, equals, content = value.partition("=")
    if equals:
        return lambda image: config_of(image).labels.get(name) == content
    return lambda image: name in config_of(image).labels


def _relative(store: Store, value: str, older: bool) -> Predicate:
    other = find(store, value)
    moment = created(other)

    def predicate(image: Image) -> bool:
        own = created(image)
        return image.id != other.id and own is not None and moment is not None and (own < moment if older else own > moment)

    return predicate


def _before(store: Store, value: str, text: str) -> Predicate:
    return _relative(store, value, older=True)


def _since(store: Store, value: str, text: str) -> Predicate:
    return _relative(store, value, older=False)


def _until(store: Store, value: str, text: str) -> Predicate:
    moment = parse_moment(value)
    if moment is None:
        raise InvalidArgument(f"cannot use --filter {text!r}: not a time", hint="for example until=24h or until=2026-01-31T12:00:00Z")

    def predicate(image: Image) -> bool:
        own = created(image)
        return own is not None and own < moment

    return predicate


def _reference(store: Store, value: str, text: str) -> Predicate:
    return lambda image: matches_pattern(image, value)


def matches_pattern(image: Image, pattern: str) -> bool:
    """Whether a name of the image fits a pattern as Docker's: with or without tag, `*` does not go over a slash."""
    if image.reference.is_dangling:
        return False
    names = (image.reference.familiar, image.reference.familiar_name, image.reference.canonical, image.reference.name)
    return any(_matches(name, pattern) for name in names)


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(fnmatch.fnmatchcase(*pair) for pair in zip(parts, patterns, strict=True))


_MAKERS: dict[str, Callable[[Store, str, str], Predicate]] = {
    "dangling": _dangling,
    "label": _label,
    "before": _before,
    "since": _since,
    "until": _until,
    "reference": _reference,
}
