"""`login`: try a user and password at a registry, and keep them where Docker does."""

from __future__ import annotations

from estiba import errors
from estiba.config.settings import Settings
from estiba.oci.reference import DOCKER_HUB, parse_reference
from estiba.registry.client import Registry
from estiba.registry.credentials import Credential, Credentials


def login(settings: Settings, host: str | None, user: str, password: str) -> str:
    """Verify and keep; returns Docker's line.

    Parameters: `host`, None for the default registry. Raises Unauthenticated when the registry refuses, Unavailable, and what
    `Credentials.store` raises. A registry that asks nobody cannot verify; the credentials are kept all the same, as Docker does.
    """
    registry = registry_name(settings, host)
    credential = Credential(user, password)
    with Registry(registry, settings, lambda _: credential) as client:
        try:
            identity_token = client.check()
        except errors.Unauthenticated as error:
            cause = error.message.partition(": ")[2]
            raise errors.Unauthenticated(f"cannot log in to {registry}: {cause}", hint="check user and password") from None
    if identity_token:
        credential = Credential(user, identity_token=identity_token)
    Credentials().store(registry, credential)
    return "Login Succeeded"


def registry_name(settings: Settings, host: str | None) -> str:
    """The registry's name as references have it: `https://` and a path are taken off, Docker Hub's other names are one.

    Raises InvalidArgument.
    """
    if host is None:
        return settings.default_registry
    name = host.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if name in {"docker.io", "index.docker.io", "registry-1.docker.io"}:
        return DOCKER_HUB
    if "." not in name and ":" not in name and name != "localhost":
        raise errors.InvalidArgument(
            f"cannot use registry {host[:200]!r}: not a host name with a dot or a port",
            hint="for example registry.example.org:5000",
        )
    return parse_reference(f"{name}/name").registry
