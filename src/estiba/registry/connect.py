"""From a name to a connected socket, and TLS on it: the phases `resolving`, `connecting`, `TLS handshake`."""

from __future__ import annotations

import errno
import ipaddress
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

from estiba.registry.certificates import describe

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Sockaddr = tuple[Any, ...]
#: Says why an address must not be asked, or None where it may.
AddressRule = Callable[[IPAddress], str | None]

#: RFC 8305, 5: the time one attempt has before the next address is tried beside it, seconds.
_ATTEMPT_DELAY = 0.25


class Failure(Exception):
    """One exchange failed. `phase` says in doing what; `cause` why; `retry` whether trying again may help.

    `stale` marks what an idle connection that the server has closed looks like. `plain` marks a server that does not speak TLS.
    Never holds a header, a token or user information of a URL.
    """

    def __init__(
        self, phase: str, cause: str, *, retry: bool = True, stale: bool = False, plain: bool = False, hint: str | None = None
    ) -> None:
        super().__init__(f"{phase}: {cause}")
        self.phase = phase
        self.cause = cause
        self.retry = retry
        self.stale = stale
        self.plain = plain
        self.hint = hint


def connect(host: str, port: int, timeout: float, rule: AddressRule | None) -> socket.socket:
    """Connect to the first address of `host` that answers (RFC 8305); `timeout` in seconds is for all of them together."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        temporary = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        cause = getattr(error, "strerror", None) or "not a host name"
        raise Failure(f"resolving the name {host}", cause, retry=temporary) from error
    addresses: list[tuple[int, Sockaddr]] = [(family, sockaddr) for family, _, _, _, sockaddr in found]
    if rule is not None:
        for _, sockaddr in addresses:
            reason = rule(ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]))
            if reason is not None:
                raise Failure(f"connecting to {host}", reason, retry=False)
    return connect_any(_interleave(addresses), timeout, f"{host} port {port}")


def connect_any(addresses: Sequence[tuple[int, Sockaddr]], timeout: float, what: str) -> socket.socket:
    """Try the addresses in order, a quarter of a second apart, until one is connected; the others are dropped."""
    deadline = time.monotonic() + timeout
    waiting = list(addresses)
    causes: list[str] = []
    refused = False
    with selectors.DefaultSelector() as selector:
        try:
            next_start = time.monotonic()
            while waiting or selector.get_map():
                now = time.monotonic()
                if now >= deadline:
                    raise Failure(f"connecting to {what}", f"no answer within {timeout:g} s")
                if waiting and (now >= next_start or not selector.get_map()):
                    family, sockaddr = waiting.pop(0)
                    next_start = now + _ATTEMPT_DELAY
                    error = _begin(selector, family, sockaddr)
                    if error:
                        causes.append(error)
                    continue
                until = min(deadline, next_start) if waiting else deadline
                for key, _ in selector.select(max(0.0, until - now)):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    selector.unregister(sock)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code == 0:
                        return sock
                    sock.close()
                    refused = refused or code == errno.ECONNREFUSED
                    causes.append(_strerror(code))
        finally:
            for key in list(selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()
    raise Failure(f"connecting to {what}", ", ".join(dict.fromkeys(causes)) or "no address", retry=not refused)


def _begin(selector: selectors.BaseSelector, family: int, sockaddr: Sockaddr) -> str | None:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    code = sock.connect_ex(sockaddr)
    if code in {0, errno.EINPROGRESS}:
        selector.register(sock, selectors.EVENT_WRITE)
        return None
    sock.close()
    return _strerror(code)


def _strerror(code: int) -> str:
    from os import strerror

    return strerror(code).lower()


def _interleave(addresses: list[tuple[int, Sockaddr]]) -> list[tuple[int, Sockaddr]]:
    """Alternate the families, the resolver's first choice first (RFC 8305, 4)."""
    if not addresses:
        return []
    first = [address for address in addresses if address[0] == addresses[0][0]]
    second = [address for address in addresses if address[0] != addresses[0][0]]
    mixed = [address for pair in zip(first, second, strict=False) for address in pair]
    rest = first[len(second) :] if len(first) > len(second) else second[len(first) :]
    return mixed + rest


def open_tls(sock: socket.socket, host: str, context: ssl.SSLContext, timeout: float) -> ssl.SSLSocket:
    """The TLS handshake; a refused certificate is named with its names, issuer and dates."""
    phase = f"TLS handshake with {host}"
    peer = sock.getpeername()
    family = sock.family
    sock.settimeout(timeout)
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        shown = describe(_peer_certificate(family, peer, host, timeout))
        cause = f"certificate refused: {error.verify_message.rstrip('.')} ({shown})"
        hint = "put the certificate of its authority into certs.d/<host>[:port]/ca.crt beside the configuration file"
        raise Failure(phase, cause, retry=False, hint=hint) from error
    except TimeoutError as error:
        raise Failure(phase, f"no answer within {timeout:g} s") from error
    except ssl.SSLError as error:
        plain = error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}
        cause = "the server answers in plain HTTP" if plain else str(error.reason or "broken off").replace("_", " ").lower()
        raise Failure(phase, cause, retry=False, plain=plain) from error
    except OSError as error:
        # A plain server may also just hang up on what it takes for garbage.
        raise Failure(phase, "the connection was closed by the other side", plain=True) from error


def _peer_certificate(family: int, peer: Sockaddr, host: str, timeout: float) -> bytes | None:
    """The certificate that a server shows, unverified, only to say its names; nothing is sent to that server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with connect_any([(family, peer)], timeout, host) as sock:
            sock.settimeout(timeout)
            with context.wrap_socket(sock, server_hostname=host) as tls:
                return tls.getpeercert(binary_form=True)
    except (OSError, Failure):
        return None
