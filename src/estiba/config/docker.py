"""Where Docker keeps a user's configuration, and what its credential helpers may see of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

#: Variables that helpers need to reach a keyring, a password store or an agent; nothing else is passed on (wall W5).
_HELPER_VARIABLES = (
    "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR",
    "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY",
    "GNUPGHOME", "GPG_TTY", "PASSWORD_STORE_DIR",
    "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_REGION", "CLOUDSDK_CONFIG",
    "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CONFIG_DIR",
    "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy",
)  # fmt: skip


def config_directory(environ: Mapping[str, str] = os.environ) -> str:
    """`$DOCKER_CONFIG`, else `~/.docker` (docker(1), environment)."""
    given = environ.get("DOCKER_CONFIG")
    if given:
        return os.path.abspath(given)
    return os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".docker")


def helper_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a `docker-credential-*` program: a search path and the variables above."""
    kept = {name: environ[name] for name in _HELPER_VARIABLES if name in environ}
    kept["PATH"] = environ.get("PATH") or os.defpath
    return kept
