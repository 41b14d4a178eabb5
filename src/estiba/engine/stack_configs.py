"""The configuration of a stack of images: what `image stack` writes and `run --with` runs.

The rules, lowest image first: layers are concatenated; a layer that is in the stack twice stays where it is topmost; command,
user, folder, stop signal and health check are those of the last image that has a command; environments are merged, the last
value of a name counts, and PATH is joined with the last image's folders first; ports, volumes and labels are united; histories
are concatenated. The result depends on nothing else, so equal stacks have equal image ids.

On the start path of ``run --with``.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument
from estiba.oci.image_config import LAYERS_MAX, ImageConfig, parse_image_config
from estiba.oci.platform import matches
from estiba.oci.strict_json import as_dict, dumps, get_dict, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.oci.digest import DiffID
    from estiba.oci.platform import Platform

_PROCESS_KEYS = ("User", "WorkingDir", "Entrypoint", "Cmd", "StopSignal", "Healthcheck", "Shell", "ArgsEscaped", "OnBuild")
_UNITED_KEYS = ("ExposedPorts", "Volumes", "Labels")


def stack_configs(configs: Sequence[ImageConfig]) -> ImageConfig:
    """The configuration of `configs` stacked, lowest first. Raises InvalidArgument when their platforms differ."""
    if not configs:
        raise InvalidArgument("cannot stack images: none is named")
    platform = common_platform([config.platform for config in configs])
    layers = unique_layers([diff_id for config in configs for diff_id in config.diff_ids])
    if len(layers) > LAYERS_MAX:
        raise InvalidArgument(f"cannot stack images: together they have {len(layers)} layers, the limit is {LAYERS_MAX}")
    document: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        document["variant"] = platform.variant
    created = [config.created for config in sorted(configs, key=_age) if config.created]
    if created:
        document["created"] = created[-1]
    document["config"] = _process(configs)
    document["rootfs"] = {"type": "layers", "diff_ids": layers}
    document["history"] = _history(configs)
    return parse_image_config(dumps(document))


def _age(config: ImageConfig) -> int:
    return config.created_seconds or 0


def unique_layers(diff_ids: Sequence[DiffID]) -> list[DiffID]:
    """`diff_ids` without repetitions, each where it is topmost.

    overlayfs refuses one lower directory twice (ELOOP, "overlapping lowerdir path"). Leaving out the lower one changes nothing
    of what is seen: everything it has, whiteouts included, the upper one has again above it.
    """
    last = {diff_id: place for place, diff_id in enumerate(diff_ids)}
    return [diff_id for place, diff_id in enumerate(diff_ids) if last[diff_id] == place]


def common_platform(platforms: Sequence[Platform]) -> Platform:
    """The platform that can run programs of all of `platforms`. Raises InvalidArgument when none of them can."""
    for candidate in platforms:
        if all(matches(candidate, other) for other in platforms):
            return candidate
    names = ", ".join(platform.text for platform in platforms)
    raise InvalidArgument(f"cannot stack images: their platforms differ ({names})", hint="choose one with --platform")


def _process(configs: Sequence[ImageConfig]) -> dict[str, object]:
    what = "the image configuration"
    sections = [get_dict(as_dict(loads(config.raw, what=what), what), "config", what, {}) for config in configs]
    leading = [at for at, config in enumerate(configs) if config.entrypoint or config.cmd]
    leader = sections[leading[-1] if leading else -1]
    result = {key: leader[key] for key in _PROCESS_KEYS if leader.get(key) is not None}
    env = merge_env([config.env for config in configs])
    if env:
        result["Env"] = env
    for key in _UNITED_KEYS:
        united = {name: value for section in sections for name, value in get_dict(section, key, what, {}).items()}
        if united:
            result[key] = united
    return result


def merge_env(environments: Sequence[Sequence[str]]) -> list[str]:
    """NAME=VALUE entries, each name once where it came first; the last value counts, PATH is joined (last image first)."""
    merged: dict[str, str] = {}
    for environment in environments:
        for entry in environment:
            name, _, value = entry.partition("=")
            if name == "PATH" and merged.get(name):
                value = ":".join(dict.fromkeys((*value.split(":"), *merged[name].split(":"))))
            merged[name] = value
    return [f"{name}={value}" for name, value in merged.items()]


def _history(configs: Sequence[ImageConfig]) -> list[dict[str, object]]:
    """All histories; an entry whose layer stands again further up no longer makes a layer (`empty_layer`)."""
    stack = [diff_id for config in configs for diff_id in config.diff_ids]
    last = {diff_id: place for place, diff_id in enumerate(stack)}
    result = []
    place = 0
    for entry in (entry for config in configs for entry in aligned_history(config)):
        if entry.get("empty_layer") is True:
            result.append(entry)
            continue
        result.append(entry if last[stack[place]] == place else {**entry, "empty_layer": True})
        place += 1
    return result


def aligned_history(config: ImageConfig) -> list[dict[str, object]]:
    """The history with exactly one entry per layer besides the empty ones: short ones are filled up, long ones marked empty."""
    result: list[dict[str, object]] = []
    left = len(config.diff_ids)
    for entry in config.history:
        makes_layer = entry.get("empty_layer") is not True
        if makes_layer and not left:
            entry = {**entry, "empty_layer": True}
        left -= bool(makes_layer and left)
        result.append(entry)
    return result + [{} for _ in range(left)]
