"""Which proxy an HTTP client has to use: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` (and their lower-case twins).

There is no standard, only custom; the rules are those that Docker's and Podman's users know (Go's `httpproxy` documentation):
an entry of `NO_PROXY` is `*`, an address, a network (`10.0.0.0/8`), `example.com` (with its subdomains) or `.example.com`
(only subdomains), each with an optional `:port`. Loopback is never asked through a proxy.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from estiba.config.settings import is_loopback
from estiba.errors import InvalidArgument


class Proxy(NamedTuple):
    """An HTTP proxy: `host`, `port`, and the value of `Proxy-Authorization` (never shown) when its URL has user information."""

    host: str
    port: int
    authorization: str | None = None

    def __repr__(self) -> str:
        return f"Proxy({self.host!r}, {self.port})"


class Proxies(NamedTuple):
    """The environment's proxies; `for_origin` answers for one origin."""

    https: Proxy | None = None
    http: Proxy | None = None
    exceptions: tuple[str, ...] = ()

    def for_origin(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy for `scheme://host:port`, or None for a direct connection."""
        proxy = self.https if scheme == "https" else self.http
        if proxy is None or is_loopback(host) or any(_matches(entry, host, port) for entry in self.exceptions):
            return None
        return proxy


def from_environment(environ: Mapping[str, str] = os.environ) -> Proxies:
    """Read the proxies; InvalidArgument for a proxy URL that is none (its user information is not repeated)."""
    exceptions = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    return Proxies(
        https=_proxy(environ, "HTTPS_PROXY"),
        # A CGI program's HTTP_PROXY is the request's `Proxy:` header (CVE-2016-5385).
        http=None if "REQUEST_METHOD" in environ else _proxy(environ, "HTTP_PROXY"),
        exceptions=tuple(entry.strip().lower() for entry in exceptions.split(",") if entry.strip()),
    )


def _proxy(environ: Mapping[str, str], name: str) -> Proxy | None:
    text = environ.get(name) or environ.get(name.lower())
    if not text:
        return None
    if "://" not in text:
        text = "http://" + text
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port or 80
    except ValueError:
        raise InvalidArgument(f"cannot use the proxy in {name}: not a URL") from None
    if url.scheme != "http" or not host:
        raise InvalidArgument(f"cannot use the proxy in {name}: only http://[user:password@]host[:port] is supported")
    authorization = None
    if url.username is not None:
        from base64 import b64encode

        pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode("ascii")
    return Proxy(host, port, authorization)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    if _address(entry) is None:  # an IPv6 address has colons of its own
        name, colon, entry_port = entry.rpartition(":")
        if colon:
            if entry_port != str(port):
                return False
            entry = name
    if address is not None:
        return address == _address(entry)
    if entry.startswith("."):
        return host.endswith(entry)
    return host == entry or host.endswith("." + entry)
