"""A bundle's config.json, read strictly: what is there has the type that the specification gives it, what this machine or this program
cannot do is refused, and what the specification does not know is left alone (runtime-spec, config.md#extensibility).
"""

from __future__ import annotations

import os

from estiba.errors import DataLoss, InvalidArgument, NotFound, NotImplemented
from estiba.oci import strict_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

#: The version of the specification that is implemented; another minor version's new properties are unknown ones.
SPEC_VERSION = "1.2.0"
UINT64_MAX = (1 << 64) - 1

NAMESPACES = ("user", "mount", "pid", "network", "ipc", "uts", "cgroup", "time")


class Section:
    """An object of config.json, and where it is for messages. An absent or null value is the default."""

    __slots__ = ("value", "what")

    def __init__(self, value: dict[str, object], what: str) -> None:
        self.value = value
        self.what = what

    def has(self, key: str) -> bool:
        """Whether there is anything at `key`."""
        return self.value.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """The string at `key`."""
        return strict_json.get_str(self.value, key, self.what, default)

    def number(self, key: str, default: int | None = None, *, minimum: int = 0, maximum: int = UINT64_MAX) -> int:
        """The integer at `key`."""
        return strict_json.get_int(self.value, key, self.what, default, minimum=minimum, maximum=maximum)

    def given(self, key: str, *, minimum: int = 0, maximum: int = UINT64_MAX) -> int | None:
        """The integer at `key`, None where there is none."""
        return self.number(key, minimum=minimum, maximum=maximum) if self.has(key) else None

    def flag(self, key: str, *, default: bool = False) -> bool:
        """The boolean at `key`."""
        return strict_json.get_bool(self.value, key, self.what, default)

    def texts(self, key: str) -> list[str]:
        """The strings of the array at `key`."""
        return strict_json.get_str_list(self.value, key, self.what, [])

    def numbers(self, key: str, *, maximum: int) -> list[int]:
        """The integers of the array at `key`."""
        items = strict_json.get_list(self.value, key, self.what, [])
        return [strict_json.get_int({key: item}, key, self.what, maximum=maximum) for item in items]

    def words(self, key: str) -> dict[str, str]:
        """The object of strings at `key`."""
        return strict_json.get_str_map(self.value, key, self.what, {})

    def section(self, key: str) -> Section:
        """The object at `key`, an empty one where there is none."""
        return Section(strict_json.get_dict(self.value, key, self.what, {}), f"{self.what}, {key}")

    def sections(self, key: str) -> list[Section]:
        """The objects of the array at `key`."""
        what = f"{self.what}, {key}"
        return [Section(strict_json.as_dict(item, what), what) for item in strict_json.get_list(self.value, key, self.what, [])]


class Bundle:
    """A bundle: its folder, the raw bytes of its config.json and what they say."""

    __slots__ = ("config", "data", "folder", "linux", "process")

    def __init__(self, folder: str, data: bytes) -> None:
        self.folder = folder
        self.data = data
        self.config = Section(strict_json.as_dict(strict_json.loads(data, what="config.json"), "config.json"), "config.json")
        self.process = self.config.section("process")
        self.linux = self.config.section("linux")

    @classmethod
    def open(cls, folder: str) -> Self:
        """Reads and checks the bundle in `folder`. Raises NotFound, DataLoss, InvalidArgument, NotImplemented."""
        folder = os.path.realpath(folder)
        path = f"{folder}/config.json"
        try:
            with open(path, "rb") as file:
                bundle = cls(folder, file.read(strict_json.LIMIT + 1))
        except OSError as error:
            raise NotFound(f"cannot read {path}: {error.strerror}", hint="--bundle names the folder that holds config.json") from error
        bundle.check()
        return bundle

    @property
    def root(self) -> str:
        """The path of the root file system."""
        return os.path.realpath(os.path.join(self.folder, self.config.section("root").text("path")))

    def namespaces(self) -> dict[str, str]:
        """Type -> path, empty for a new one. Raises InvalidArgument for a type that is unknown or stands twice."""
        found: dict[str, str] = {}
        for entry in self.linux.sections("namespaces"):
            kind = entry.text("type")
            if kind not in NAMESPACES or kind in found:
                raise InvalidArgument(f"cannot use config.json: namespace {kind!r} {'stands twice' if kind in found else 'is unknown'}")
            found[kind] = entry.text("path", "")
            if found[kind] and not found[kind].startswith("/"):
                raise InvalidArgument(f"cannot use config.json: the path of namespace {kind} is not absolute")
        return found

    @property
    def makes_mounts(self) -> bool:
        """Whether the container gets a new mount namespace."""
        return self.namespaces().get("mount") == ""

    def check(self) -> None:
        """Refuses what cannot be done before anything is made."""
        _check_version(self.config.text("ociVersion"))
        if not os.path.isdir(self.root):
            raise NotFound(f"cannot use root {self.root}: it is no folder")
        namespaces = self.namespaces()
        for key, kind in (("hostname", "uts"), ("domainname", "uts")):
            if self.config.text(key, "") and kind not in namespaces:
                raise InvalidArgument(f"cannot set {key}: config.json has no {kind} namespace")
        if "user" in namespaces and not namespaces["user"] and not self.linux.sections("uidMappings"):
            raise InvalidArgument("cannot make a user namespace: config.json has no uidMappings")
        if "user" in namespaces and "mount" not in namespaces:
            raise InvalidArgument("cannot mount in the host's mount namespace: the user namespace of config.json has no rights there")
        _refuse_unknown(self.linux, "linux", ("intelRdt", "mountLabel", "netDevices", "memoryPolicy"))
        if self.linux.section("personality").text("domain", "LINUX") != "LINUX":
            raise NotImplemented("cannot use config.json: linux.personality of another domain than LINUX is not offered")
        if self.process.value:
            check_process(self.process)


def _check_version(version: str) -> None:
    """Semantic versions of the first major one (runtime-spec, config.md#specification-version)."""
    numbers = version.partition("+")[0].partition("-")[0].split(".")
    if len(numbers) != 3 or not all(part.isascii() and part.isdigit() for part in numbers):
        raise DataLoss(f"cannot use config.json: ociVersion {version!r} is no semantic version")
    if numbers[0] != "1":
        raise NotImplemented(f"cannot use config.json: it is of version {version} of the specification, this is {SPEC_VERSION}")


def check_process(process: Section) -> None:
    """Refuses a process that cannot be run as it says. Raises InvalidArgument, NotImplemented."""
    if not process.texts("args"):
        raise InvalidArgument(f"cannot use {process.what}: it has no args")
    if not process.text("cwd").startswith("/"):
        raise InvalidArgument(f"cannot use {process.what}: cwd is not an absolute path")
    for entry in process.texts("env"):
        if entry.find("=") < 1:
            raise InvalidArgument(f"cannot use {process.what}: environment variable {entry!r} has no name or no value")
    _refuse_unknown(process, "process", ("selinuxLabel", "scheduler", "ioPriority", "execCPUAffinity"))
    profile = process.text("apparmorProfile", "")
    if profile not in ("", "unconfined"):
        raise NotImplemented(f"cannot use AppArmor profile {profile}: AppArmor is not offered")
    seen = set()
    for limit in process.sections("rlimits"):
        kind = limit.text("type")
        if kind in seen:
            raise InvalidArgument(f"cannot use {process.what}: {kind} stands twice")
        seen.add(kind)


def _refuse_unknown(section: Section, name: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        if section.value.get(key):
            raise NotImplemented(f"cannot use config.json: {name}.{key} is not offered")
