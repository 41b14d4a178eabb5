"""-v, --mount and --tmpfs (Docker's forms) to `MountRequest`.

This module is on the start path of ``run``: it imports the error tree and its neighbours only.
"""

from __future__ import annotations

from estiba.errors import NotImplemented
from estiba.runtime.options import MountRequest
from estiba.runtime.parse_values import choice, nearest, octal, refuse, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_VOLUME_OPTIONS = ("ro", "rw", "nocopy", "consistent", "cached", "delegated", "z", "Z", *PROPAGATIONS)


def parse_volume(text: str) -> MountRequest:
    """-v SOURCE:TARGET[:OPTIONS], or -v TARGET for a folder of the container's own."""
    parts = text.split(":")
    if len(parts) > 3:
        raise refuse("--volume", text, "too many colons", hint="SOURCE:TARGET[:ro]; --mount takes paths with a colon")
    if len(parts) == 1:
        return MountRequest("volume", _target("--volume", parts[0], text))
    if not parts[0].startswith("/"):
        raise _named_volume("--volume", parts[0], text)
    mount = MountRequest("bind", _target("--volume", parts[1], text), _source("--volume", parts[0], text))
    for option in parts[2].split(",") if len(parts) == 3 else ():
        _volume_option(mount, option, text)
    return mount


def _volume_option(mount: MountRequest, option: str, text: str) -> None:
    if option not in _VOLUME_OPTIONS:
        raise refuse("--volume", text, f"unknown option {option!r}", hint=nearest(option, _VOLUME_OPTIONS))
    if option in ("ro", "rw"):
        mount.read_only = option == "ro"
    elif option in PROPAGATIONS:
        mount.propagation = option


def _named_volume(flag: str, source: str, text: str) -> Exception:
    if source and source[0].isalnum() and "/" not in source:
        return NotImplemented(f"cannot use {flag} {text!r}: named volumes are not offered yet", hint="bind a folder: /PATH:TARGET")
    return refuse(flag, text, "the source is not an absolute path")


def _source(flag: str, path: str, text: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise refuse(flag, text, "the source is not an absolute path")
    return path


def _target(flag: str, path: str, text: str) -> str:
    """Returns the target without doubled or trailing slashes; the root and anything with .. are refused."""
    names = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/") or "\0" in path:
        raise refuse(flag, text, "the target is not an absolute path")
    if not names or ".." in names:
        raise refuse(flag, text, "the target is the container's root, or goes above it")
    return "/" + "/".join(names)


def parse_tmpfs(text: str) -> MountRequest:
    """--tmpfs TARGET[:OPTIONS], options as mount(8) has them for a tmpfs."""
    target, separator, options = text.partition(":")
    mount = MountRequest("tmpfs", _target("--tmpfs", target, text))
    for option in options.split(",") if separator else ():
        key, _, value = option.partition("=")
        if key == "size":
            mount.size = size("--tmpfs", value, minimum=4096)
        elif key == "mode":
            mount.mode = octal("--tmpfs", value, text)
        elif option in ("ro", "rw"):
            mount.read_only = option == "ro"
        elif option in ("exec", "noexec"):
            mount.executable = option == "exec"
        elif option not in ("nosuid", "nodev", "defaults"):
            raise refuse("--tmpfs", text, f"unknown option {option!r}", hint="size=, mode=, ro, exec, noexec")
    return mount


def _boolean(flag: str, value: str) -> bool:
    return choice(flag, value.lower(), ("", "true", "1", "false", "0")) in ("", "true", "1")


def _set_read_only(mount: MountRequest, value: str) -> None:
    mount.read_only = _boolean("--mount readonly", value)


def _set_recursive(mount: MountRequest, value: str) -> None:
    word = choice("--mount bind-recursive", value, ("enabled", "disabled", "writable", "readonly"))
    mount.recursive = word != "disabled"
    mount.recursive_read_only = word != "writable"


def _set_propagation(mount: MountRequest, value: str) -> None:
    mount.propagation = choice("--mount bind-propagation", value, PROPAGATIONS)


def _set_nonrecursive(mount: MountRequest, value: str) -> None:
    mount.recursive = not _boolean("--mount bind-nonrecursive", value)


def _set_create(mount: MountRequest, value: str) -> None:
    mount.create_source = _boolean("--mount bind-create-src", value)


def _set_size(mount: MountRequest, value: str) -> None:
    mount.size = size("--mount tmpfs-size", value, minimum=4096)


def _set_mode(mount: MountRequest, value: str) -> None:
    mount.mode = octal("--mount tmpfs-mode", value, value)


def _ignore(mount: MountRequest, value: str) -> None:
    """Keys that change nothing on Linux (consistency is Docker Desktop's)."""


_COMMON: dict[str, Callable[[MountRequest, str], None]] = {"readonly": _set_read_only, "ro": _set_read_only, "consistency": _ignore}
_KEYS: dict[str, dict[str, Callable[[MountRequest, str], None]]] = {
    "bind": {
        **_COMMON,
        "bind-propagation": _set_propagation,
        "bind-recursive": _set_recursive,
        "bind-nonrecursive": _set_nonrecursive,
        "bind-create-src": _set_create,
    },
    "tmpfs": {**_COMMON, "tmpfs-size": _set_size, "tmpfs-mode": _set_mode},
    "volume": {**_COMMON, "volume-nocopy": _ignore},
}


def parse_mount(text: str) -> MountRequest:
    """--mount type=bind|tmpfs|volume,source=...,target=...[,KEY[=VALUE]...]. A field with a comma is put in double quotes."""
    fields = _fields(text)
    kind = fields.pop("type", "volume")
    if kind in ("image", "npipe", "cluster"):
        raise NotImplemented(f"cannot use --mount {text!r}: type {kind} is not offered", hint="bind, tmpfs or volume")
    keys = _KEYS.get(choice("--mount", kind, tuple(_KEYS)), {})
    source = fields.pop("source", "")
    target = _target("--mount", fields.pop("target", ""), text)
    if kind == "bind":
        mount = MountRequest("bind", target, _source("--mount", source, text))
    elif source:
        raise _named_volume("--mount", source, text)
    else:
        mount = MountRequest("tmpfs" if kind == "tmpfs" else "volume", target)
    for key, value in fields.items():
        if key not in keys:
            raise refuse("--mount", text, f"unknown key {key!r} for type {kind}", hint=nearest(key, tuple(keys)))
        keys[key](mount, value)
    return mount


_ALIASES = {"src": "source", "dst": "target", "destination": "target"}


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for field in _split_csv(text):
        key, _, value = field.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        if key in fields:
            raise refuse("--mount", text, f"{key} is given twice")
        fields[key] = value
    return fields


def _split_csv(text: str) -> list[str]:
    """Splits at commas outside double quotes; a doubled quote inside quotes is a quote (RFC 4180, which Docker reads here)."""
    fields, current, quoted, position = [], "", False, 0
    while position < len(text):
        character = text[position]
        if quoted and text[position : position + 2] == '""':
            current += '"'
            position += 1
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            fields.append(current)
            current = ""
        else:
            current += character
        position += 1
    if quoted:
        raise refuse("--mount", text, "a double quote is not closed")
    return [*fields, current]
