"""What TLS believes: the system's authorities, and per host those of Docker's `certs.d` (dockerd(8), "certs.d").

`<folder>/<host>[:port]/*.crt` are authorities; `*.cert` with the `*.key` of the same name is what the client shows.
"""

from __future__ import annotations

import os
import ssl
import threading

from estiba.errors import FailedPrecondition


class Trust:
    """Makes (and keeps) the TLS context of each host.

    Parameters: `folders`, the `certs.d` folders, the first one that has the host wins; `unverified`, the `(host, port)` pairs
    for which the configuration waives verification (`insecure_registries`).
    """

    def __init__(self, folders: tuple[str, ...], unverified: frozenset[tuple[str, int]] = frozenset()) -> None:
        self._folders = folders
        self._unverified = unverified
        self._contexts: dict[tuple[str, int], ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def context(self, host: str, port: int) -> ssl.SSLContext:
        """The context for `host:port`; FailedPrecondition when a file of `certs.d` cannot be used."""
        with self._lock:
            context = self._contexts.get((host, port))
            if context is None:
                context = self._contexts[host, port] = self._make(host, port)
            return context

    def _make(self, host: str, port: int) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if (host, port) in self._unverified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        folder = self._folder(host, port)
        if folder is not None:
            _load(context, folder)
        return context

    def _folder(self, host: str, port: int) -> str | None:
        shown = f"[{host}]" if ":" in host else host
        names = [f"{shown}:{port}", shown] if port == 443 else [f"{shown}:{port}"]
        for folder in self._folders:
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isdir(path):
                    return path
        return None


def _load(context: ssl.SSLContext, folder: str) -> None:
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        stem, extension = os.path.splitext(path)
        try:
            if extension == ".crt":
                context.load_verify_locations(cafile=path)
            elif extension == ".cert":
                # An empty password keeps OpenSSL from asking on the terminal.
                context.load_cert_chain(path, stem + ".key", password="")
        except (ssl.SSLError, OSError) as error:
            cause = "not a PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise FailedPrecondition(f"cannot use certificate {path}: {cause}") from error
