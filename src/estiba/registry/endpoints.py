"""From a registry's name in a reference, and the settings, to where it is asked."""

from __future__ import annotations

from estiba.config.settings import Settings
from estiba.errors import InvalidArgument
from estiba.oci.reference import DOCKER_HUB
from estiba.registry.session import Endpoint
from estiba.registry.transport import parse_url

#: docker.io is a name, not a registry: this is the machine behind it.
_DOCKER_HUB_HOST = "registry-1.docker.io"


def endpoint_of(registry: str, settings: Settings) -> Endpoint:
    """The endpoint of a registry name that `oci.reference` has checked: `host`, `host:port`, `[address]:port`."""
    host, port = _split(_DOCKER_HUB_HOST if registry == DOCKER_HUB else registry)
    return Endpoint(registry, host, port, plain=settings.is_insecure(registry))


def mirrors_of(registry: str, settings: Settings) -> list[Endpoint]:
    """The mirrors to ask before `registry`, in order: those of the settings for docker.io, none for others (as Docker)."""
    return [_mirror(text, settings) for text in settings.mirrors] if registry == DOCKER_HUB else []


def _mirror(text: str, settings: Settings) -> Endpoint:
    """`https://host[:port][/path]`, or http, which the user then has said on purpose."""
    try:
        origin, path = parse_url(text)
    except ValueError:
        raise InvalidArgument(f"cannot use mirror {text[:200]!r}: not a URL", hint="write https://host[:port]") from None
    name = origin.authority
    plain = origin.scheme == "http" or settings.is_insecure(name)
    return Endpoint(name, origin.host, origin.port, plain=plain, prefix=path.rstrip("/"))


def _split(registry: str) -> tuple[str, int | None]:
    if registry.startswith("["):
        host, _, rest = registry[1:].partition("]")
        return host.lower(), int(rest[1:]) if rest else None
    host, colon, port = registry.partition(":")
    return host.lower(), int(port) if colon else None
