"""Debian's docker-registry on loopback, for as long as a benchmark lasts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.registries import free_port, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def loopback_registry(folder: Path, *, access_log: bool = False) -> Iterator[str]:
    """A registry without TLS and without users; gives its host:port. `access_log`: one line for each request in folder/log."""
    folder.mkdir(parents=True)
    address = f"127.0.0.1:{free_port()}"
    for _ in serve(folder, {"addr": address}, access_log=access_log):
        yield address
