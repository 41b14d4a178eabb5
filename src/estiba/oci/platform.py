"""Platforms: operating system, architecture and variant (image-spec, image-index.md, "platform").

Names are normalised as containerd does (``x86_64`` is amd64, ``aarch64`` is arm64/v8, ``armhf`` is arm/v7). On the start path.
"""

from __future__ import annotations

import os

from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiba.oci.descriptor import Descriptor

_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "x64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv8": ("arm64", "v8"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
    "mips64el": ("mips64le", ""),
}
#: GOARCH values that an image may name (image-spec takes the list of Go).
ARCHITECTURES = (
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
)  # fmt: skip
_DEFAULT_VARIANT = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
_OS = ("linux", "windows", "darwin", "freebsd", "wasip1")
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


class Platform:
    """A normalised platform. `variant` is empty where the architecture has no variants, and for plain amd64."""

    __slots__ = ("architecture", "os", "variant")

    def __init__(self, os: str, architecture: str, variant: str = "") -> None:
        os = os.lower()
        architecture, implied = _ALIASES.get(architecture.lower(), (architecture.lower(), ""))
        variant = variant.lower() or implied
        if variant.isdecimal():
            variant = "v" + variant
        if architecture == "amd64" and variant == "v1":
            variant = ""
        elif architecture in ("arm", "arm64") and not variant:
            variant = _DEFAULT_VARIANT[architecture]
        self.os = os
        self.architecture = architecture
        self.variant = variant

    @property
    def text(self) -> str:
        """``os/architecture`` or ``os/architecture/variant``."""
        return f"{self.os}/{self.architecture}/{self.variant}" if self.variant else f"{self.os}/{self.architecture}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Platform) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Platform({self.text!r})"


def parse_platform(text: str) -> Platform:
    """Reads ``os``, ``architecture``, ``os/architecture`` or ``os/architecture/variant``, as ``--platform`` takes them.

    Raises InvalidArgument.
    """
    parts = text.lower().split("/")
    if not all(part and _ALLOWED.issuperset(part) for part in parts) or len(parts) > 3:
        raise InvalidArgument(
            f"cannot use platform {text[:100]!r}: it is not os/architecture[/variant]", hint="for example linux/arm64"
        )
    if len(parts) == 1:
        host = host_platform()
        if parts[0] in _OS:
            return Platform(parts[0], host.architecture, host.variant)
        parts = [host.os, parts[0]]
    platform = Platform(*parts)
    if platform.os not in _OS:
        raise InvalidArgument(f"cannot use platform {text[:100]!r}: unknown operating system, known are {', '.join(_OS)}")
    if platform.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise InvalidArgument(f"cannot use platform {text[:100]!r}: unknown architecture, known are {known}")
    return platform


def host_platform() -> Platform:
    """The platform of this machine's kernel (uname(2))."""
    machine = os.uname().machine
    return Platform("linux", *_ALIASES.get(machine, (machine, "")))


def _level(platform: Platform) -> int:
    """The variant as a number: 8 for v8, 1 for plain amd64, 0 where there is none; -1 for one without order."""
    variant = platform.variant or _DEFAULT_VARIANT.get(platform.architecture, "v0")
    number = variant[1:].partition(".")[0]
    return int(number) if variant[0] == "v" and number.isascii() and number.isdecimal() else -1


def matches(wanted: Platform, offered: Platform) -> bool:
    """Whether a program for `offered` runs on `wanted`: equal, or an older variant of the same architecture."""
    if wanted.os != offered.os or wanted.architecture != offered.architecture:
        return False
    if wanted.variant == offered.variant:
        return True
    return 0 <= _level(offered) <= _level(wanted)


def best(wanted: Platform, descriptors: Iterable[Descriptor]) -> Descriptor | None:
    """The entry of an index that suits `wanted` best: the highest variant that matches, the first of equals.

    An entry without a platform is taken when it is the only candidate; its configuration then decides.
    """
    chosen: Descriptor | None = None
    nameless: list[Descriptor] = []
    for descriptor in descriptors:
        offered = descriptor.platform
        if offered is None:
            nameless.append(descriptor)
        elif matches(wanted, offered) and (
            chosen is None or chosen.platform is None or _level(offered) > _level(chosen.platform)
        ):
            chosen = descriptor
    if chosen is None and len(nameless) == 1:
        return nameless[0]
    return chosen
