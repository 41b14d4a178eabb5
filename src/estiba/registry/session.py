"""Requests to one registry: authentication, redirects by hand, bounded retries, errors in words.

Redirects (GET and HEAD only) are followed without `Authorization` to any origin but the registry's own (wall W9), never from
https to http, and never to an address that only this machine or its cloud can reach.
"""

from __future__ import annotations

import http
import ipaddress
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, NamedTuple, NoReturn, TypeVar

from estiba import errors
from estiba.config.settings import is_loopback
from estiba.oci import strict_json
from estiba.registry.auth import Authorizer
from estiba.registry.connect import AddressRule, Failure, IPAddress
from estiba.registry.credentials import CredentialSource
from estiba.registry.transport import Answer, Limits, Origin, Request, Transport, parse_url, printable

_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_REDIRECTS = 5
_RETRY = {429, 500, 502, 503, 504}
_MAX_ERROR = 64 << 10
#: Metadata services of clouds that are not on a link-local address (AWS, Azure, Alibaba).
_METADATA = frozenset(ipaddress.ip_address(text) for text in ("fd00:ec2::254", "168.63.129.16", "100.100.100.200"))
USER_AGENT = "estiba"

T = TypeVar("T")


class Endpoint(NamedTuple):
    """Where a registry is asked: `registry` is its name in references (or the mirror's), `port` None for the scheme's own.

    `plain` allows HTTP when the server does not speak TLS; `prefix` is a mirror's path before `/v2/`.
    """

    registry: str
    host: str
    port: int | None
    plain: bool = False
    prefix: str = ""


class Call(NamedTuple):
    """One request. `target` is a path below the endpoint or, for an upload's `Location`, an absolute URL.

    `what` completes "cannot ..." in messages. `start` and `length` say which part of a file is the body.
    """

    method: str
    target: str
    what: str
    scopes: Sequence[str] = ()
    headers: Mapping[str, str] | None = None
    body: bytes | BinaryIO | None = None
    start: int = 0
    length: int | None = None


class Session:
    """Requests to one endpoint, from any number of threads."""

    def __init__(
        self, endpoint: Endpoint, transport: Transport, credentials: CredentialSource, realms: Sequence[str] = ()
    ) -> None:
        self.endpoint = endpoint
        self.limits: Limits = transport.limits
        self._transport = transport
        self._credentials = credentials
        self._realms = realms
        self._lock = threading.Lock()
        self._origin: Origin | None = None
        self._authorizer: Authorizer | None = None

    @property
    def identity_token(self) -> str:
        """The identity token that the token server gave at a log-in, or nothing."""
        return self._authorizer.identity_token if self._authorizer else ""

    def request(self, call: Call, *, attempts: int | None = None) -> Answer:
        """Send until there is an answer worth reading (any status but 401 and those that ask to come again); the caller closes it.

        Raises Unauthenticated, Unavailable (with host, phase, cause, and how long it was tried).
        """
        return self._attempt(call, self.limits.attempts if attempts is None else attempts, lambda answer: answer)

    def ask(self, call: Call, use: Callable[[Answer], T]) -> T:
        """`request`, and `use` of the answer, which is closed then; a Failure while it is read is one more reason to try again."""

        def closing(answer: Answer) -> T:
            with answer:
                return use(answer)

        return self._attempt(call, self.limits.attempts, closing)

    def _attempt(self, call: Call, attempts: int, use: Callable[[Answer], T]) -> T:
        began = time.monotonic()
        tried = 0
        while True:
            tried += 1
            wait = None
            try:
                answer = self._once(call)
                if answer.status not in _RETRY:
                    return use(answer)
                wait = _retry_after(answer)
                answer.discard()
                raise self._busy(answer.status, wait)
            except Failure as failure:
                if not failure.retry or tried >= attempts:
                    self.fail(call.what, failure, tried, began)
            self.pause(tried, wait)

    def _busy(self, status: int, wait: float | None) -> Failure:
        """An answer that asks to come again, unless that would be too late."""
        late = wait is not None and wait > self.limits.longest_wait
        asked = f", and it asks to come back in {wait:.0f} s" if late else ""
        return Failure("waiting for the answer", _status_text(status) + asked, retry=not late)

    def pause(self, tried: int, wait: float | None = None) -> None:
        """Sleep before the next attempt: what the registry asked for, else twice as long each time, with a random part."""
        if wait is None:
            wait = min(self.limits.backoff * 2 ** (tried - 1), self.limits.longest_wait)
        if self._transport.cancelled.wait(wait * random.uniform(1.0, 1.25)):  # noqa: S311 - spreads clients, hides nothing
            raise errors.Cancelled("cannot go on: interrupted")

    def fail(self, what: str, failure: Failure, tried: int, began: float) -> NoReturn:
        """Say it: which registry, which phase, why, how long."""
        spent = time.monotonic() - began
        tries = f" (tried {tried} times in {spent:.1f} s)" if tried > 1 else ""
        hint = failure.hint
        if failure.plain and not self.endpoint.plain:
            hint = "to allow plain HTTP, add the registry to insecure-registries in the configuration file"
        message = f"cannot {what} ({self.endpoint.registry}, {failure.phase}): {failure.cause}{tries}"
        raise errors.Unavailable(message, hint=hint) from failure

    def refuse(self, what: str, answer: Answer) -> NoReturn:
        """Turn an answer that is not the one hoped for into an error of the matching kind."""
        status = answer.status
        told = _told(answer)
        message = f"cannot {what} ({self.endpoint.registry}): "
        if status == http.HTTPStatus.NOT_FOUND:
            raise errors.NotFound(message + (told or "not found"))
        if status in {http.HTTPStatus.FORBIDDEN, http.HTTPStatus.UNAUTHORIZED}:
            raise errors.PermissionDenied(message + (told or _status_text(status)))
        raise errors.Unavailable(message + _status_text(status) + (f": {told}" if told else ""))

    def origin(self) -> Origin:
        """The registry's origin; found out once where plain HTTP is allowed: https first, as Docker does."""
        with self._lock:
            if self._origin is None:
                self._origin = self._find_origin()
            return self._origin

    def _find_origin(self) -> Origin:
        endpoint = self.endpoint
        secure = Origin("https", endpoint.host, endpoint.port or 443)
        if not endpoint.plain:
            return secure
        try:
            self._transport.probe_tls(secure)
        except Failure as failure:
            # A refused connection to the https port says nothing about the http port; the same port would refuse again.
            if not failure.plain and not (endpoint.port is None and failure.phase.startswith("connecting")):
                raise
            return Origin("http", endpoint.host, endpoint.port or 80)
        return secure

    def _authorize(self) -> Authorizer:
        origin = self.origin()
        with self._lock:
            if self._authorizer is None:
                self._authorizer = Authorizer(self.endpoint.registry, origin, self._credentials, self._fetch_token, self._realms)
            return self._authorizer

    def _fetch_token(self, origin: Origin, target: str, headers: dict[str, str], form: bytes | None) -> Answer:
        headers = {"Accept": "application/json", **headers}
        return self._send(origin, target, Call("GET" if form is None else "POST", target, "", body=form), headers)

    def _once(self, call: Call) -> Answer:
        """One request with its redirects; a `401` of the registry is answered once, a second one is the end."""
        own = self.origin()
        base = own.url + self.endpoint.prefix
        try:
            origin, target = parse_url(base + call.target if call.target.startswith("/") else call.target)
        except ValueError:
            raise Failure("reading the answer", "it points to a malformed URL", retry=False) from None
        authorizer = self._authorize()
        used = authorizer.header(call.scopes) if origin == own else None
        challenges = 0
        while True:
            answer = self._follow(own, origin, target, call, used)
            if answer.status != http.HTTPStatus.UNAUTHORIZED or answer.origin != own:
                return answer
            challenges += 1
            answer.discard()
            if challenges > 2:
                used = authorizer.challenged(answer, call.scopes, used)
                raise Failure("authenticating", "the registry asks for credentials again and again", retry=False)
            used = authorizer.challenged(answer, call.scopes, used)

    def _follow(self, own: Origin, origin: Origin, target: str, call: Call, authorization: str | None) -> Answer:
        for _ in range(_MAX_REDIRECTS + 1):
            headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(call.headers or {})}
            if authorization is not None and origin == own:
                headers["Authorization"] = authorization
            if call.body is not None and not isinstance(call.body, bytes):
                call.body.seek(call.start)
            answer = self._send(origin, target, call, headers)
            if answer.status not in _REDIRECTS or call.method not in {"GET", "HEAD"}:
                return answer
            location = answer.header("Location") or ""
            answer.discard()
            try:
                following, target = parse_url(location, origin.url + target)
            except ValueError:
                raise Failure("following a redirect", "it points to a malformed URL", retry=False) from None
            if origin.scheme == "https" and following.scheme != "https":
                raise Failure("following a redirect", f"it leads from https to {following.url}", retry=False)
            origin = following
        raise Failure("following a redirect", f"more than {_MAX_REDIRECTS} of them", retry=False)

    def _send(self, origin: Origin, target: str, call: Call, headers: dict[str, str]) -> Answer:
        rule = self._rule(origin)
        if rule is not None:
            _check_literal(origin.host, rule)
        body = b"" if call.body is None and call.method in {"POST", "PUT", "PATCH"} else call.body
        request = Request(origin, call.method, target, headers, body, call.length)
        return self._transport.exchange(request, rule)

    def _rule(self, origin: Origin) -> AddressRule | None:
        """What an address must not be when the registry, not the user, has named the host."""
        if origin.host == self.endpoint.host:
            return None
        local = is_loopback(self.endpoint.host)

        def check(address: IPAddress) -> str | None:
            mapped = getattr(address, "ipv4_mapped", None) or address
            if mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified or mapped in _METADATA:
                return f"the registry points to {address}, which is not an address of a registry"
            if mapped.is_loopback and not local:
                return f"the registry points to {address}, this machine itself"
            return None

        return check


def _check_literal(host: str, rule: AddressRule) -> None:
    """A proxy resolves names for us, so an address written out is checked before one is asked."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    reason = rule(address)
    if reason is not None:
        raise Failure(f"connecting to {host}", reason, retry=False)


def _status_text(status: int) -> str:
    try:
        return f"answer {status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return f"answer {status}"


def _retry_after(answer: Answer) -> float | None:
    """`Retry-After` in seconds (RFC 9110, 10.2.3); a date is read against the answer's own clock."""
    text = (answer.header("Retry-After") or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    if not text:
        return None
    from email.utils import parsedate_to_datetime

    try:
        until = parsedate_to_datetime(text)
        now = parsedate_to_datetime(answer.header("Date") or "")
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):  # TypeError: one date with a zone and one without
        return None


def _told(answer: Answer) -> str:
    """The first error message of the registry (distribution-spec, "Error Codes"), made fit for one line."""
    try:
        if answer.media_type not in {"application/json", "application/problem+json"}:
            answer.discard()
            return ""
        body = strict_json.loads(answer.read(_MAX_ERROR), what="error", limit=_MAX_ERROR)
    except (Failure, errors.DataLoss):
        return ""
    listed = body.get("errors") if isinstance(body, dict) else None
    first = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, dict):
        return ""
    told = first.get("message") or first.get("code")
    return printable(told) if isinstance(told, str) else ""
