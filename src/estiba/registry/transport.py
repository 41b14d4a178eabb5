"""One HTTP exchange with one origin: connections (kept and used again), TLS, proxies, time limits.

No redirect is followed here and no credential is known: `http.client` gives exactly one exchange, which is what walls W8 and W9
need (docs/dev/decisions/http-client.md). Every fault becomes a `Failure` that names its phase.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import weakref
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple, Self
from urllib.parse import urljoin, urlsplit

from estiba.config.proxies import Proxies, Proxy
from estiba.errors import Cancelled, OnFailure
from estiba.registry.connect import AddressRule, Failure, connect, open_tls
from estiba.registry.tls import Trust


class Origin(NamedTuple):
    """What credentials and connections are bound to (RFC 6454): scheme, lower-case host without brackets, port."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The `Host` header: the port only when it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}"


_PORTS = {"https": 443, "http": 80}
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_:")
_MAX_URL = 16 << 10


class Limits(NamedTuple):
    """Time limits in seconds, and how often a request is tried.

    `read` is the longest silence inside an answer; a stream that brings less than `slowest` bytes a second over that time is
    given up and resumed.
    """

    connect: float = 10.0
    answer: float = 60.0
    read: float = 30.0
    slowest: int = 100
    attempts: int = 5
    backoff: float = 0.5
    longest_wait: float = 60.0


def parse_url(text: str, base: str | None = None) -> tuple[Origin, str]:
    """Split an absolute (with `base`: or relative) http(s) URL into its origin and its request target.

    Raises ValueError for anything else: other schemes, user information, characters that do not belong into a URL.
    """
    if base is not None:
        text = urljoin(base, text)
    if len(text) > _MAX_URL or any(not "!" <= character <= "~" for character in text):
        raise ValueError("malformed URL")
    url = urlsplit(text)
    host = url.hostname
    if url.scheme not in _PORTS or not host or url.username is not None or not _HOST_CHARACTERS.issuperset(host):
        raise ValueError("malformed URL")
    origin = Origin(url.scheme, host, url.port or _PORTS[url.scheme])
    return origin, (url.path or "/") + (f"?{url.query}" if url.query else "")


class Request(NamedTuple):
    """One request as it goes out. A `BinaryIO` body is sent from its position, `length` bytes of it."""

    origin: Origin
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | BinaryIO | None = None
    length: int | None = None


class Answer:
    """The answer to one request; `close` it, or read it to its end, so that its connection can serve again."""

    def __init__(
        self,
        transport: Transport,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        request: Request,
    ) -> None:
        self._transport = transport
        self._connection: http.client.HTTPConnection | None = connection
        self._response = response
        self.origin = request.origin
        self.method = request.method
        self.target = request.target
        self.status = response.status
        # http.client counts what `read` leaves, but not in every version what `read1` leaves (python/cpython#113199).
        self._left = response.length

    def header(self, name: str) -> str | None:
        return self._response.headers.get(name)

    def headers(self, name: str) -> list[str]:
        return self._response.headers.get_all(name) or []

    @property
    def length(self) -> int | None:
        """Content-Length in bytes; Failure when it is not a number (RFC 9110, 8.6)."""
        text = self.header("Content-Length")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise Failure("reading the answer", "malformed Content-Length", retry=False)
        return int(text)

    @property
    def media_type(self) -> str:
        """Content-Type without parameters, lower-case; empty when absent."""
        return (self.header("Content-Type") or "").partition(";")[0].strip().lower()

    def read_some(self, size: int) -> bytes:
        """Up to `size` bytes of the body, as they come; empty at its end, as far as the framing tells."""
        if self._connection is None:
            return b""
        if self._left is not None:
            size = min(size, self._left)
        try:
            data = self._response.read1(size) if size else b""
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise _failure(error, "reading the answer", self._transport.limits.read) from error
        if self._left is not None:
            self._left -= len(data)
        if not data or self._left == 0:
            self._end()
        return data

    def read(self, limit: int) -> bytes:
        """The whole body; Failure when it is longer than `limit` bytes, or shorter than announced."""
        pieces = []
        size = 0
        while piece := self.read_some(limit + 1 - size):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                self.close()
                raise Failure("reading the answer", f"larger than the limit of {limit} bytes", retry=False)
        if self._left:
            raise Failure("reading the answer", f"cut off after {size} bytes")
        return b"".join(pieces)

    def discard(self) -> None:
        """Read a short rest so that the connection can be kept; close it when the rest is long."""
        try:
            self.read(64 << 10)
        except Failure:
            self.close()

    def close(self) -> None:
        """Give up what has not been read, and the connection with it; nothing happens at the end of the body."""
        if self._connection is not None:
            self._response.close()
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._response.close()
        if self._response.will_close or self._left:
            connection.close()
        else:
            self._transport.keep(self.origin, connection)


class Transport:
    """Connections to any origin. Safe for several threads: an idle connection is lent to one of them at a time.

    Parameters: `trust`, what TLS believes; `proxies`; `limits`.
    """

    def __init__(self, trust: Trust, proxies: Proxies, limits: Limits) -> None:
        self.limits = limits
        self._trust = trust
        self._proxies = proxies
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = {}
        self._busy: weakref.WeakSet[http.client.HTTPConnection] = weakref.WeakSet()
        #: Set by `cancel`; whoever sleeps between attempts sleeps on it.
        self.cancelled = threading.Event()
        self._lock = threading.Lock()

    def exchange(self, request: Request, addresses: AddressRule | None = None) -> Answer:
        """Send one request and read the head of its answer; `addresses` may refuse those that the host's name has.

        Raises Failure.
        """
        body = request.body
        start = body.tell() if body is not None and not isinstance(body, bytes) else 0
        while True:
            if self.cancelled.is_set():
                raise Cancelled("cannot go on: interrupted")
            connection = self._lend(request.origin)
            reused = connection is not None
            if connection is None:
                connection = self._connect(request.origin, addresses)
            try:
                return self._exchange(connection, request)
            except Failure as failure:
                connection.close()
                # A server may close an idle connection at any time (RFC 9112, 9.3.1); that is no failure of the request.
                if not (reused and failure.stale):
                    raise
                if body is not None and not isinstance(body, bytes):
                    body.seek(start)

    def _exchange(self, connection: http.client.HTTPConnection, request: Request) -> Answer:
        origin, headers, target = request.origin, request.headers, request.target
        proxy = self._proxies.for_origin(origin.scheme, origin.host, origin.port)
        if proxy is not None and origin.scheme == "http":
            target = origin.url + target
            if proxy.authorization:
                headers = {**headers, "Proxy-Authorization": proxy.authorization}
        length = len(request.body) if isinstance(request.body, bytes) else request.length
        try:
            connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", origin.authority)
            for name, value in headers.items():
                connection.putheader(name, value)
            if length is not None:
                connection.putheader("Content-Length", str(length))
            connection.endheaders()
            _send_body(connection, request.body, length)
        except (OSError, http.client.HTTPException) as error:
            raise _failure(error, "sending the request", self.limits.read) from error
        try:
            if connection.sock is not None:
                connection.sock.settimeout(self.limits.answer)
            response = connection.getresponse()
            if connection.sock is not None:  # gone when the server closes after this answer: the old limit then holds
                connection.sock.settimeout(self.limits.read)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _failure(error, "waiting for the answer", self.limits.answer) from error
        if response.status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            response.close()
            raise Failure("asking the proxy", "407 Proxy Authentication Required", retry=False, hint=_PROXY_HINT)
        return Answer(self, connection, response, request)

    def probe_tls(self, origin: Origin) -> None:
        """Find out whether `origin` speaks TLS; Failure (`plain`) when it does not.

        Nothing is believed and nothing is sent, so no authority is needed: loading those of the system takes longer than this.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._open(origin, None, context).close()

    def keep(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.setdefault(origin, []).append(connection)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def cancel(self) -> None:
        """Break off what other threads are doing here; everything raises Cancelled from now on."""
        self.cancelled.set()
        with self._lock:
            for connection in self._busy:
                try:
                    if connection.sock is not None:
                        connection.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it was closed meanwhile

    def _lend(self, origin: Origin) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(origin)
            return idle.pop() if idle else None

    def _connect(self, origin: Origin, addresses: AddressRule | None) -> http.client.HTTPConnection:
        context = self._trust.context(origin.host, origin.port) if origin.scheme == "https" else None
        connection = http.client.HTTPConnection(origin.host, origin.port)
        connection.sock = self._open(origin, addresses, context)
        with self._lock:
            self._busy.add(connection)
        return connection

    def _open(self, origin: Origin, addresses: AddressRule | None, context: ssl.SSLContext | None) -> socket.socket:
        """A connected socket, through the proxy where there is one, with TLS where there is a context."""
        proxy = self._proxies.for_origin(origin.scheme, origin.host, origin.port)
        if proxy is None:
            sock = connect(origin.host, origin.port, self.limits.connect, addresses)
        else:
            sock = connect(proxy.host, proxy.port, self.limits.connect, None)
        with OnFailure(sock.close):
            if proxy is not None and context is not None:
                _open_tunnel(sock, origin, proxy, self.limits.answer)
            if context is not None:
                sock = open_tls(sock, origin.host, context, self.limits.connect)
        sock.settimeout(self.limits.read)
        return sock


_PROXY_HINT = "put the proxy's user and password into HTTPS_PROXY (http://user:password@host:port)"
_BLOCK = 256 << 10


def _send_body(connection: http.client.HTTPConnection, body: bytes | BinaryIO | None, length: int | None) -> None:
    if body is None:
        return
    if isinstance(body, bytes):
        connection.send(body)
        return
    left = length or 0
    while left:
        block = body.read(min(_BLOCK, left))
        if not block:
            raise Failure("sending the request", "the file became shorter while it was sent", retry=False)
        connection.send(block)
        left -= len(block)


def _open_tunnel(sock: socket.socket, origin: Origin, proxy: Proxy, timeout: float) -> None:
    """Ask `proxy` for a tunnel to `origin` (RFC 9110, 9.3.6)."""
    authority = f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{origin.host}:{origin.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    phase = f"asking the proxy {proxy.host}:{proxy.port}"
    sock.settimeout(timeout)
    try:
        sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
        response = http.client.HTTPResponse(sock, method="CONNECT")
        try:
            response.begin()
        finally:
            response.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failure(error, phase, timeout) from error
    if response.status != http.HTTPStatus.OK:
        hint = _PROXY_HINT if response.status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED else None
        raise Failure(phase, f"{response.status} {printable(response.reason)}", retry=False, hint=hint)


def _failure(error: Exception, phase: str, timeout: float) -> Failure:
    """Say what went wrong in words that hold nothing of the request."""
    if isinstance(error, TimeoutError):
        return Failure(phase, f"no answer within {timeout:g} s")
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return Failure(phase, "the connection was closed by the other side", stale=True)
    if isinstance(error, ssl.SSLError):
        return Failure(phase, f"TLS: {printable(error.reason or 'error')}", stale=True)
    if isinstance(error, http.client.IncompleteRead):
        return Failure(phase, "cut off")
    if isinstance(error, http.client.HTTPException | ValueError):
        return Failure(phase, f"not an answer in HTTP/1.1 ({type(error).__name__})", retry=False)
    return Failure(phase, printable(getattr(error, "strerror", None) or type(error).__name__))


def printable(text: str, limit: int = 200) -> str:
    """What another machine said, fit for one line: control characters escaped, at most `limit` characters."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text[:limit])
    return shown + ("..." if len(text) > limit else "")
