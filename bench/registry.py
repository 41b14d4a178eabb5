"""Debian's docker-registry on loopback, for as long as a benchmark lasts."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 15.0

CONFIGURATION = """\
version: 0.1
log: {{accesslog: {{disabled: {quiet}}}, level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def loopback_registry(folder: Path, *, access_log: bool = False) -> Iterator[str]:
    """A registry without TLS and without users; gives its host:port. `access_log`: one line for each request in folder/log."""
    folder.mkdir(parents=True)
    port = free_port()
    configuration = folder / "config.yml"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, quiet=str(not access_log).lower()))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(configuration)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"docker-registry did not start:\n{(folder / 'log').read_text()}") from None
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
