"""A store of its own for each test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from estiba.config.settings import Settings
    from estiba.store.layout import Store


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing reaches the caller's own store, configuration or credentials."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "CI", "ESTIBA_DEBUG") if name in os.environ}
    folders = {
        "ESTIBA_ROOT": tmp_path / "root",
        "XDG_RUNTIME_DIR": tmp_path / "run",
        "XDG_CONFIG_HOME": tmp_path / "config",
        "XDG_DATA_HOME": tmp_path / "data",
        "DOCKER_CONFIG": tmp_path / "docker",
        "HOME": tmp_path / "home",
    }
    for name in ("XDG_RUNTIME_DIR", "HOME"):
        folders[name].mkdir(mode=0o700)
    return kept | {name: str(path) for name, path in folders.items()}


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    from estiba.config.settings import load

    return load(environ=environment)


@pytest.fixture
def store(settings: Settings) -> Store:
    from estiba.store.layout import Store

    return Store.open(settings)
