"""`logout`: forget the credentials of a registry."""

from __future__ import annotations

from estiba.config.settings import Settings
from estiba.engine.login import registry_name
from estiba.registry.credentials import Credentials


def logout(settings: Settings, host: str | None) -> str:
    """Erase from Docker's config.json or its helper; returns Docker's line. Not to be logged in is no error there."""
    registry = registry_name(settings, host)
    if Credentials().erase(registry):
        return f"Removing login credentials for {registry}"
    return f"Not logged in to {registry}"
