"""`Settings`: what the user and the machine have chosen. The only reader of the environment and of configuration files.

Sources, later ones win: defaults, ``/etc/estiba/config.json`` (root) or ``$XDG_CONFIG_HOME/estiba/config.json``
(``ESTIBA_CONFIG`` names another file), ``ESTIBA_ROOT`` and the other variables below, the command line. The file is one JSON
object with the keys of `KEYS`; an unknown key is an error that names the nearest known one. On the start path.
"""

from __future__ import annotations

import os
import stat

from estiba.errors import FailedPrecondition, InvalidArgument, PermissionDenied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: Key of the configuration file -> attribute of `Settings` and kind of value.
KEYS = {
    "root": ("root", "path"),
    "default-registry": ("default_registry", "host"),
    "insecure-registries": ("insecure_registries", "hosts"),
    "registry-mirrors": ("mirrors", "urls"),
    "token-realms": ("token_realms", "hosts"),
    "keep-blobs": ("keep_blobs", "bool"),
    "id-range-start": ("id_range_start", "id"),
    "id-range-count": ("id_range_count", "id"),
    "parallel-downloads": ("parallel_downloads", "count"),
    "unpack-max-bytes": ("unpack_max_bytes", "size"),
    "unpack-max-inodes": ("unpack_max_inodes", "size"),
    "userns": ("userns", "userns"),
    "lock-timeout": ("lock_timeout", "seconds"),
    "helper-path": ("helper_path", "path"),
    "debug": ("debug", "bool"),
}
_CONFIG_MAX = 1024 * 1024
#: The folder of last resort, without the user's number: anybody may have made it, so it is checked.
TEMPORARY = "/tmp/estiba-"  # noqa: S108 - a folder of ours, whose owner is checked
_TEXTS = {
    "path": "an absolute path",
    "host": "a registry's HOST[:PORT] with a dot, a colon or the name localhost",
    "hosts": "an array of registries HOST[:PORT] or networks ADDRESS/BITS",
    "urls": "an array of https:// or http:// addresses",
    "bool": "true or false",
    "id": "an integer from 1 to 4294967294",
    "count": "an integer from 1 to 64",
    "size": "a positive integer",
    "seconds": "an integer from 0 to 86400",
    "userns": '"auto" or "host"',
}


class Settings:
    """The choices of one process; read-only.

    Paths: `root` store, `runtime_dir` volatile state, `config_dir` the configuration file's folder; `uid` effective user.
    Registries: `default_registry`; `insecure_registries`, hosts spoken to without TLS or without checking it (loopback ones are
    always plain HTTP candidates, see `is_insecure`); `mirrors`, base addresses tried before docker.io; `token_realms`, hosts that
    may see a registry's credentials although they are of another domain.
    Store: `keep_blobs` keeps compressed layers; `unpack_max_bytes` and `unpack_max_inodes` bound one layer.
    Containers: `id_range_start`, `id_range_count` are the host ids from which root's containers get theirs; `userns` is "auto" or
    "host". `parallel_downloads`; `lock_timeout`, seconds that a command waits for another one, 0 for ever; `helper_path`, empty for the
    packaged one; `debug`.
    """

    __slots__ = (
        "config_dir", "debug", "default_registry", "helper_path", "id_range_count", "id_range_start", "insecure_registries",
        "keep_blobs", "lock_timeout", "mirrors", "parallel_downloads", "root", "runtime_dir", "token_realms", "uid", "unpack_max_bytes",
        "unpack_max_inodes", "userns",
    )  # fmt: skip

    root: str
    runtime_dir: str
    config_dir: str
    uid: int
    default_registry: str
    insecure_registries: tuple[str, ...]
    mirrors: tuple[str, ...]
    token_realms: tuple[str, ...]
    keep_blobs: bool
    id_range_start: int
    id_range_count: int
    parallel_downloads: int
    unpack_max_bytes: int
    unpack_max_inodes: int
    userns: str
    lock_timeout: int
    helper_path: str
    debug: bool

    def __init__(self, **values: object) -> None:
        for name, value in {**_DEFAULTS, **values}.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Settings are read-only: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Settings are read-only: {name}")

    def replace(self, **values: object) -> Settings:
        """A copy with other values."""
        return Settings(**{**{name: getattr(self, name) for name in self.__slots__}, **values})

    def is_insecure(self, registry: str) -> bool:
        """Whether `registry` (``host[:port]``) may be spoken to over plain HTTP: loopback, or configured.

        As Docker: ``localhost``, addresses in 127.0.0.0/8 and ::1, then ``insecure-registries`` by host, host:port, or network.
        """
        return is_loopback(registry) or self.waives_tls(registry)

    def waives_tls(self, registry: str) -> bool:
        """Whether the configuration says so for `registry`: its certificate is not checked then. Loopback alone does not."""
        return _listed(registry, self.insecure_registries)


_DEFAULTS: dict[str, object] = {
    "default_registry": "docker.io",
    "insecure_registries": (),
    "mirrors": (),
    "token_realms": (),
    "keep_blobs": False,
    # Above what systemd and login.defs hand out (systemd's UIDS-GIDS.md), below 2^31 for file systems with signed ids.
    "id_range_start": 0x70000000,
    "id_range_count": 4094 * 65536,
    "parallel_downloads": 4,
    "unpack_max_bytes": 64 * 1024**3,
    "unpack_max_inodes": 4_000_000,
    "userns": "auto",
    "lock_timeout": 0,
    "helper_path": "",
    "debug": False,
}


def load(root: str | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings of this process.

    Parameters: `root`, the store's folder when the command line gives one; `environ`. Raises InvalidArgument for a wrong
    setting, PermissionDenied for a folder that another user could change.
    """
    uid = os.geteuid()
    path = _absolute(environ.get("ESTIBA_CONFIG") or f"{_config_dir(uid, environ)}/config.json", "ESTIBA_CONFIG")
    values = _read_file(path, required=bool(environ.get("ESTIBA_CONFIG")))
    if environ.get("ESTIBA_DEBUG"):
        values["debug"] = True
    if environ.get("ESTIBA_LOCK_TIMEOUT"):
        values["lock_timeout"] = _seconds(environ["ESTIBA_LOCK_TIMEOUT"])
    if environ.get("ESTIBA_HELPER"):
        values["helper_path"] = _absolute(environ["ESTIBA_HELPER"], "ESTIBA_HELPER")
    if root is not None:
        values["root"] = _absolute(root, "--root")
    elif environ.get("ESTIBA_ROOT"):
        values["root"] = _absolute(environ["ESTIBA_ROOT"], "ESTIBA_ROOT")
    elif "root" not in values:
        values["root"] = "/var/lib/estiba" if uid == 0 else _xdg(environ, "XDG_DATA_HOME", ".local/share") + "/estiba"
    return Settings(uid=uid, config_dir=os.path.dirname(path), runtime_dir=runtime_dir(uid, environ), **values)


def pack(settings: Settings) -> str:
    """The settings as a word for another process of ours, which `unpack` reads."""
    from estiba.oci.strict_json import dumps

    return dumps({name: getattr(settings, name) for name in settings.__slots__}).decode("ascii", "backslashreplace")


def unpack(text: str) -> Settings:
    """The settings of `pack`."""
    from estiba.oci.strict_json import as_dict, loads

    return Settings(**as_dict(loads(text.encode("ascii"), what="the settings", raw_bytes=True), "the settings"))


def runtime_dir(uid: int, environ: Mapping[str, str] = os.environ) -> str:
    """The folder of volatile state: ``/run/estiba``, ``$XDG_RUNTIME_DIR/estiba``, or ``/tmp/estiba-UID`` made with mode 0700.

    The last one is in a folder that everybody may write to, so its owner and mode are checked. Raises PermissionDenied.
    """
    if uid == 0:
        return "/run/estiba"
    base = environ.get("XDG_RUNTIME_DIR", "")
    if base.startswith("/"):
        return base.rstrip("/") + "/estiba"
    return checked_folder(f"{TEMPORARY}{uid}", uid)


def checked_folder(path: str, uid: int) -> str:
    """`path`, made with mode 0700 when it is missing, refused unless it is a folder of `uid` that nobody else may enter.

    Raises PermissionDenied.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise PermissionDenied(f"cannot create folder {path}: {error.strerror}", hint="set XDG_RUNTIME_DIR") from None
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o077:
        raise PermissionDenied(
            f"cannot use folder {path}: it is not a folder of user {uid} with mode 0700",
            hint="remove it, or set XDG_RUNTIME_DIR",
        )
    return path


def is_loopback(registry: str) -> bool:
    """Whether the host of ``host[:port]`` is this machine by name or address."""
    host = _host_of(registry)
    return host in ("localhost", "::1") or (_is_ipv4(host) and host.startswith("127."))


# --- folders --------------------------------------------------------------------------------------------------------


def _absolute(path: str, source: str) -> str:
    if not path or "\0" in path:
        raise InvalidArgument(f"cannot use {source} {path!r}: it is not a path")
    return os.path.normpath(os.path.join(os.getcwd(), path)) if path[0] != "/" else os.path.normpath(path)


def _seconds(text: str) -> object:
    value = _convert(int(text), "seconds") if text.isascii() and text.isdecimal() and len(text) < 9 else None
    if value is None:
        raise InvalidArgument(f"cannot use ESTIBA_LOCK_TIMEOUT {text[:40]!r}: it is not {_TEXTS['seconds']}")
    return value


def _xdg(environ: Mapping[str, str], variable: str, below_home: str) -> str:
    """A base folder (XDG Base Directory Specification: a relative path is ignored)."""
    value = environ.get(variable, "")
    if value.startswith("/"):
        return value.rstrip("/")
    return f"{_home(environ)}/{below_home}"


def _home(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    if home.startswith("/"):
        return home.rstrip("/")
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir.rstrip("/")
    except KeyError:
        raise FailedPrecondition(
            "cannot find a home folder: HOME is not set and the user has no passwd entry", hint="set HOME or ESTIBA_ROOT"
        ) from None


def _config_dir(uid: int, environ: Mapping[str, str]) -> str:
    return "/etc/estiba" if uid == 0 else _xdg(environ, "XDG_CONFIG_HOME", ".config") + "/estiba"


# --- the configuration file -----------------------------------------------------------------------------------------


def _read_file(path: str, *, required: bool) -> dict[str, object]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise InvalidArgument(f"cannot read settings {path}: no such file (ESTIBA_CONFIG)") from None
        return {}
    except OSError as error:
        raise InvalidArgument(f"cannot read settings {path}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidArgument(f"cannot read settings {path}: it is not a file")
        data = b""
        while chunk := os.read(descriptor, _CONFIG_MAX + 1 - len(data)):
            data += chunk
    finally:
        os.close(descriptor)
    return parse_file(data, path)


def parse_file(data: bytes, path: str) -> dict[str, object]:
    """The attributes that a configuration file sets. Raises InvalidArgument."""
    from estiba.errors import DataLoss
    from estiba.oci.strict_json import loads

    try:
        document = loads(data, what=f"settings {path}", limit=_CONFIG_MAX)
    except DataLoss as error:
        raise InvalidArgument(error.message) from None
    if type(document) is not dict:
        raise InvalidArgument(f"cannot read settings {path}: it is not a JSON object")
    values: dict[str, object] = {}
    for key, value in document.items():
        if key not in KEYS:
            raise InvalidArgument(f"cannot read settings {path}: unknown key {key[:60]!r}", hint=_nearest(key))
        attribute, kind = KEYS[key]
        converted = _convert(value, kind)
        if converted is None:
            raise InvalidArgument(f"cannot read settings {path}: {key!r} is not {_TEXTS[kind]}")
        values[attribute] = converted
    return values


def _nearest(key: str) -> str:
    import difflib

    close = difflib.get_close_matches(key.replace("_", "-").lower(), KEYS, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"known keys are {', '.join(KEYS)}"


def _convert(value: object, kind: str) -> object | None:
    """The value of a key of `kind`, None when it is not one."""
    if kind in ("id", "count", "size"):
        limit = {"id": 2**32 - 2, "count": 64, "size": 2**63 - 1}[kind]
        return value if type(value) is int and 1 <= value <= limit else None
    if kind == "seconds":
        return value if type(value) is int and 0 <= value <= 86400 else None
    if kind == "bool":
        return value if type(value) is bool else None
    if kind in ("hosts", "urls"):
        check = _is_host_or_network if kind == "hosts" else _is_url
        if type(value) is not list or not all(type(item) is str and check(item) for item in value):
            return None
        return tuple(item.rstrip("/") for item in value)
    if type(value) is not str:
        return None
    if kind == "path":
        return os.path.normpath(value) if value.startswith("/") and "\0" not in value else None
    if kind == "host":
        return value if _is_host(value) and ("." in value or ":" in value or value == "localhost") else None
    return value if value in ("auto", "host") else None


# --- hosts and networks ---------------------------------------------------------------------------------------------

_HOST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]")


def _is_host(text: str) -> bool:
    return bool(text) and len(text) <= 255 and _HOST.issuperset(text)


def _is_host_or_network(text: str) -> bool:
    address, slash, bits = text.partition("/")
    if not slash:
        return _is_host(text)
    return _is_host(address) and bits.isascii() and bits.isdecimal() and int(bits) <= (128 if ":" in address else 32)


def _is_url(text: str) -> bool:
    scheme, found, rest = text.partition("://")
    return bool(found) and scheme in ("http", "https") and _is_host(rest.partition("/")[0])


def _host_of(registry: str) -> str:
    if registry.startswith("["):
        return registry[1:].partition("]")[0]
    return registry.partition(":")[0] if registry.count(":") <= 1 else registry


def _is_ipv4(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and all(p.isascii() and p.isdecimal() and len(p) <= 3 and int(p) < 256 for p in parts)


def _listed(registry: str, patterns: tuple[str, ...]) -> bool:
    host = _host_of(registry)
    for pattern in patterns:
        if pattern in (registry, host):
            return True
        if "/" in pattern and (_is_ipv4(host) or ":" in host) and _in_network(host, pattern):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:  # colons alone do not make an address
        return False
