"""Options of a container's streams: the keys that detach a terminal, and the log. On the start path of ``run``."""

from __future__ import annotations

from estiba.errors import NotImplemented
from estiba.runtime.parse_values import choice, key_value, nearest, refuse, size, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.runtime.options import RunOptions

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
_MOST_KEYS = 16  # MAX_DETACH_KEYS (helper/src/run.h)
_DRIVERS = ("cri", "json-file", "local", "none")
_DRIVERS_OF_DOCKER = ("syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs", "logentries")
_LOG_OPTIONS = ("max-size", "max-file", "labels", "env")
_LOG_OPTIONS_OF_DOCKER = ("compress", "mode", "max-buffer-size", "tag", "labels-regex", "env-regex")
_LEAST_LOG = 1024
_MOST_FILES = 1000


def detach_keys(text: str) -> bytes:
    """Returns the bytes of a list of keys, as Docker writes it: characters, ctrl-<character> and DEL, with commas between them."""
    keys = b"".join(_key(text, key) for key in text.split(","))
    if len(keys) > _MOST_KEYS:
        raise refuse("--detach-keys", text, f"more than {_MOST_KEYS} keys")
    return keys


def _key(text: str, key: str) -> bytes:
    control = key.removeprefix("ctrl-").lower()
    if key == "DEL":
        return b"\x7f"
    if len(key) == 1 and key.isascii():
        return key.encode("ascii")
    if key.startswith("ctrl-") and len(control) == 1 and control in "@abcdefghijklmnopqrstuvwxyz[\\]^_":
        return bytes([ord(control) & 0x1F])  # ascii(7): what Control makes of a key
    raise refuse("--detach-keys", text, "not a list of keys", hint="for example ctrl-p,ctrl-q")


def set_detach_keys(options: RunOptions, text: str) -> None:
    """--detach-keys; an empty list means the default, as Docker has it."""
    options.detach_keys = detach_keys(text or DEFAULT_DETACH_KEYS)


def log_driver(options: RunOptions, text: str) -> None:
    """--log-driver: the CRI format under any of Docker's names for files, or none."""
    if text in _DRIVERS_OF_DOCKER:
        raise NotImplemented(f"cannot use --log-driver {text}: estiba keeps logs in files", hint="use cri or none")
    options.log.driver = "none" if choice("--log-driver", text, _DRIVERS) == "none" else "cri"


def log_option(options: RunOptions, text: str) -> None:
    """--log-opt max-size=10m, max-file=3, labels=NAME,..., env=NAME,...."""
    key, value = key_value("--log-opt", text)
    if key in _LOG_OPTIONS_OF_DOCKER:
        raise NotImplemented(f"cannot use --log-opt {text!r}: estiba has no such option", hint="valid are " + ", ".join(_LOG_OPTIONS))
    if key not in _LOG_OPTIONS:
        raise refuse("--log-opt", text, "unknown option", hint=nearest(key, _LOG_OPTIONS))
    if key == "max-size":
        options.log.max_size = 0 if value == "-1" else size("--log-opt max-size", value, minimum=_LEAST_LOG)
    elif key == "max-file":
        options.log.max_file = whole("--log-opt max-file", value, 1, _MOST_FILES)
    elif key == "labels":
        options.log.labels = value.split(",")
    else:
        options.log.env = value.split(",")
