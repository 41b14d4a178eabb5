"""The image configuration (image-spec, config.md).

It is data of the image's author: it may fill the workload's arguments, environment, folder and user, and nothing else
(wall W7 of the security model). What is malformed is refused; what Docker ignores is ignored, and named in `warnings`.
Go reads null as absent, and so does this module. On the start path.
"""

from __future__ import annotations

from estiba.errors import DataLoss, InvalidArgument
from estiba.oci.digest import DiffID, parse_diff_id
from estiba.oci.platform import Platform
from estiba.oci.strict_json import (
    LIMIT,
    as_dict,
    get_bool,
    get_dict,
    get_int,
    get_str,
    get_str_list,
    get_str_map,
    loads,
)  # fmt: skip
from estiba.oci.user import parse_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: Labels of this prefix are estiba's own; an image may not set them.
RESERVED_LABELS = "org.estiba."
LAYERS_MAX = 500
VOLUMES_MAX = 1000
PORTS_MAX = 65535
PATH_MAX = 4095
_WHAT = "the image configuration"
_DIGITS = frozenset("0123456789")


class Healthcheck:
    """``HEALTHCHECK``: `test` as Docker stores it (``["CMD", ...]``, ``["CMD-SHELL", line]``, ``["NONE"]``), times in ns."""

    __slots__ = ("interval", "retries", "start_interval", "start_period", "test", "timeout")

    def __init__(self, test: list[str], times: list[int], retries: int) -> None:
        self.test = test
        self.interval, self.timeout, self.start_period, self.start_interval = times
        self.retries = retries


class ImageConfig:
    """A checked image configuration.

    `architecture`, `os`, `variant` as written; `created`, RFC 3339 text or None when absent or not a date; `env`,
    ``NAME=VALUE`` entries in order; `entrypoint` and `cmd`, empty when absent; `user`, ``""`` or ``user[:group]``;
    `working_dir`, ``""`` or absolute and free of ``..``; `exposed_ports` as ``port/protocol``; `volumes`, absolute paths;
    `labels` without reserved ones; `stop_signal`; `healthcheck` or None; `shell`; `args_escaped`; `history`, objects as they
    are; `diff_ids`, lowest layer first; `raw`, the bytes; `warnings`, one line each.
    """

    __slots__ = (
        "architecture", "author", "cmd", "created", "diff_ids", "entrypoint", "env", "exposed_ports", "healthcheck",
        "history", "labels", "os", "raw", "shell", "stop_signal", "user", "variant", "volumes", "warnings", "working_dir",
    )  # fmt: skip

    def __init__(self) -> None:
        self.architecture = ""
        self.author = ""
        self.cmd: list[str] = []
        self.created: str | None = None
        self.diff_ids: list[DiffID] = []
        self.entrypoint: list[str] = []
        self.env: list[str] = []
        self.exposed_ports: list[str] = []
        self.healthcheck: Healthcheck | None = None
        self.history: list[dict[str, object]] = []
        self.labels: dict[str, str] = {}
        self.os = ""
        self.raw = b""
        self.shell: list[str] = []
        self.stop_signal = ""
        self.user = ""
        self.variant = ""
        self.volumes: list[str] = []
        self.warnings: list[str] = []
        self.working_dir = ""

    @property
    def platform(self) -> Platform:
        """The normalised platform."""
        return Platform(self.os, self.architecture, self.variant)

    @property
    def created_seconds(self) -> int | None:
        """`created` in seconds since 1970, None when unknown."""
        return None if self.created is None else epoch_seconds(self.created)


def parse_image_config(data: bytes, *, what: str = _WHAT) -> ImageConfig:
    """Reads and checks an image configuration; `what` names it in messages. Raises DataLoss."""
    if len(data) > LIMIT:
        raise DataLoss(f"cannot read {what}: it has {len(data)} bytes, more than the limit of {LIMIT} (4 MiB)")
    document = as_dict(loads(data, what=what), what)
    config = ImageConfig()
    config.raw = data
    config.architecture = _word(document, "architecture", what)
    config.os = _word(document, "os", what)
    config.variant = _word(document, "variant", what)
    config.created = _created(document)
    config.author = get_str(document, "author", what, "") if type(document.get("author")) is str else ""
    config.diff_ids = _diff_ids(document, what)
    config.history = _history(document)
    _read_process(config, get_dict(document, "config", what, {}), what)
    return config


def _read_process(config: ImageConfig, section: dict[str, object], what: str) -> None:
    config.env = _env(section, config.warnings, what)
    config.entrypoint = _words(section, "Entrypoint", what)
    config.cmd = _words(section, "Cmd", what)
    config.shell = _words(section, "Shell", what)
    config.user = _user(section, what)
    config.working_dir = _working_dir(section, what)
    config.exposed_ports = _exposed_ports(section, what)
    config.volumes = _volumes(section, what)
    config.labels = _labels(section, config.warnings, what)
    config.stop_signal = _word(section, "StopSignal", what)
    config.healthcheck = _healthcheck(section, what)
    get_bool(section, "ArgsEscaped", what, False)


def _refuse(what: str, why: str) -> NoReturn:
    raise DataLoss(f"cannot use {what}: {why}")


def _word(section: dict[str, object], key: str, what: str) -> str:
    """A short string of printable ASCII without spaces, or empty."""
    word = get_str(section, key, what, "")
    if len(word) > 64 or not word.isascii() or any(letter <= " " or letter == "\x7f" for letter in word):
        _refuse(what, f"{key} {word[:64]!r} is malformed")
    return word


def _words(section: dict[str, object], key: str, what: str) -> list[str]:
    """Arguments; one string stands for a list of it, as Docker reads it."""
    value = section.get(key)
    if type(value) is str:
        return [get_str(section, key, what)]
    return get_str_list(section, key, what, [])


def _env(section: dict[str, object], warnings: list[str], what: str) -> list[str]:
    result: list[str] = []
    for entry in get_str_list(section, "Env", what, []):
        name, equals, _ = entry.partition("=")
        if not name:
            _refuse(what, f"Env entry {entry[:60]!r} has no name")
        if equals:
            result.append(entry)
        else:
            # Docker's client would take the value from the caller's environment: never for an image.
            warnings.append(f"the image's Env entry {entry[:60]!r} has no value and is ignored")
    return result


def _user(section: dict[str, object], what: str) -> str:
    user = get_str(section, "User", what, "")
    if user:
        try:
            parse_user(user)
        except InvalidArgument as error:
            raise DataLoss(f"cannot use {what}: User {user[:100]!r} is malformed", hint=error.hint) from None
    return user


def clean_path(path: str) -> str:
    """An absolute path without ``.``, ``..``, doubled and trailing slashes, read from ``/`` (nothing is above ``/``)."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _working_dir(section: dict[str, object], what: str) -> str:
    path = get_str(section, "WorkingDir", what, "")
    if len(path) > PATH_MAX:
        _refuse(what, f"WorkingDir has {len(path)} characters, the limit is {PATH_MAX}")
    return clean_path(path) if path else ""


def _exposed_ports(section: dict[str, object], what: str) -> list[str]:
    ports = get_dict(section, "ExposedPorts", what, {})
    if len(ports) > PORTS_MAX:
        _refuse(what, f"ExposedPorts has {len(ports)} entries")
    return [_port(port, what) for port in ports]


def _port(text: str, what: str) -> str:
    """``port[-port][/protocol]`` with the protocol made explicit."""
    numbers, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    first, _, last = numbers.partition("-")
    valid = _is_port(first) and _is_port(last or first)
    if not valid or numbers.endswith("-") or protocol not in ("tcp", "udp", "sctp"):
        _refuse(what, f"ExposedPorts entry {text[:60]!r} is not PORT[-PORT][/tcp|udp|sctp]")
    return f"{numbers}/{protocol}"


def _is_port(text: str) -> bool:
    return bool(text) and _DIGITS.issuperset(text) and len(text) <= 5 and 0 < int(text) < 65536


def _volumes(section: dict[str, object], what: str) -> list[str]:
    volumes = get_dict(section, "Volumes", what, {})
    if len(volumes) > VOLUMES_MAX:
        _refuse(what, f"Volumes has {len(volumes)} entries, the limit is {VOLUMES_MAX}")
    result: list[str] = []
    for path in volumes:
        if ".." in path.split("/") or len(path) > PATH_MAX or any(letter < " " or letter == "\x7f" for letter in path):
            _refuse(what, f"Volumes entry {path[:100]!r} is not an absolute path without '..'")
        clean = clean_path(path)
        if clean == "/":
            _refuse(what, "Volumes names the root folder")
        result.append(clean)
    return result


def _labels(section: dict[str, object], warnings: list[str], what: str) -> dict[str, str]:
    labels = get_str_map(section, "Labels", what, {})
    for name in [name for name in labels if name.startswith(RESERVED_LABELS)]:
        del labels[name]
        warnings.append(f"the image's label {name[:60]!r} is ignored: {RESERVED_LABELS} is reserved")
    return labels


def _healthcheck(section: dict[str, object], what: str) -> Healthcheck | None:
    check = get_dict(section, "Healthcheck", what, {})
    if not check:
        return None
    times = [get_int(check, key, what, 0) for key in ("Interval", "Timeout", "StartPeriod", "StartInterval")]
    return Healthcheck(get_str_list(check, "Test", what, []), times, get_int(check, "Retries", what, 0, maximum=2**31 - 1))


def _diff_ids(document: dict[str, object], what: str) -> list[DiffID]:
    rootfs = get_dict(document, "rootfs", what, {})
    kind = get_str(rootfs, "type", what, "layers")
    if kind != "layers":
        _refuse(what, f"rootfs type {kind[:60]!r} is not 'layers'")
    texts = get_str_list(rootfs, "diff_ids", what, [])
    if len(texts) > LAYERS_MAX:
        _refuse(what, f"it has {len(texts)} diff_ids, the limit is {LAYERS_MAX}")
    try:
        return [parse_diff_id(text) for text in texts]
    except InvalidArgument as error:
        raise DataLoss(f"cannot read {what}: diff_ids: {error.message}") from None


def _history(document: dict[str, object]) -> list[dict[str, object]]:
    """What is there of the history; it is for display, so nothing in it is a reason to refuse an image."""
    history = document.get("history")
    return [entry for entry in history if type(entry) is dict] if type(history) is list else []


def _created(document: dict[str, object]) -> str | None:
    created = document.get("created")
    return created if type(created) is str and epoch_seconds(created) is not None else None


def epoch_seconds(text: str) -> int | None:
    """RFC 3339 text in seconds since 1970; None for what is not a date between 1970 and 9998."""
    date, letter, rest = text[:10], text[10:11], text[11:]
    clock, zone = rest[:8], rest[8:]
    if date[4:5] + date[7:8] + clock[2:3] + clock[5:6] != "--::" or letter not in ("T", "t", " ") or letter == "":
        return None
    fields = (date[:4], date[5:7], date[8:], clock[:2], clock[3:5], clock[6:])
    if not all(
        _DIGITS.issuperset(field) and len(field) == width for field, width in zip(fields, (4, 2, 2, 2, 2, 2), strict=True)
    ):
        return None
    year, month, day, hour, minute, second = (int(field) for field in fields)
    offset = _zone_seconds(zone)
    if offset is None or not (1970 <= year <= 9998 and 1 <= month <= 12 and hour < 24 and minute < 60 and second <= 60):
        return None
    if not 1 <= day <= _days_in(year, month):
        return None
    return _days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset


def _zone_seconds(zone: str) -> int | None:
    """``Z`` or ``+hh:mm``, after an optional fraction."""
    if zone[:1] == ".":
        digits = zone[1:]
        zone = digits.lstrip("0123456789")
        if len(zone) == len(digits):
            return None
    if zone in ("Z", "z"):
        return 0
    hours, minutes = zone[1:3], zone[4:]
    if len(zone) != 6 or zone[0] not in "+-" or zone[3] != ":" or not _DIGITS.issuperset(hours + minutes):
        return None
    seconds = int(hours) * 3600 + int(minutes) * 60
    return -seconds if zone[0] == "-" else seconds


def _days_in(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]


def _days_since_1970(year: int, month: int, day: int) -> int:
    before = year - 1
    days = 365 * (year - 1970) + (before // 4 - before // 100 + before // 400) - (1969 // 4 - 1969 // 100 + 1969 // 400)
    return days + sum(_days_in(year, m) for m in range(1, month)) + day - 1
