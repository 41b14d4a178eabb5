"""Answers to `401`: basic authentication, and bearer tokens (distribution's token specification; RFC 6750).

Wall W9: a credential belongs to one origin. It is sent to that origin, and to the token realm only when the realm is on https
(or on the registry's own plain origin) and of the registry's own domain. A token is sent to the registry's origin only.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote, urlencode

from estiba import errors
from estiba.oci import strict_json
from estiba.registry.challenge import Challenge, parse_challenges
from estiba.registry.connect import Failure
from estiba.registry.credentials import Credential, CredentialSource
from estiba.registry.transport import Answer, Origin, parse_url

#: "token" and "access_token" are the same thing; a token without `expires_in` lives this long (token specification), seconds.
_DEFAULT_LIFE = 60
_LONGEST_LIFE = 366 * 86400
#: A token is not used in its last seconds: the clock of the registry decides, and a request takes time.
_MARGIN = 5
_MAX_ANSWER = 256 << 10
_CLIENT_ID = "estiba"

#: Fetches a token: realm's origin and target, headers, form or None.
Fetch = Callable[[Origin, str, dict[str, str], bytes | None], Answer]


class _Token(NamedTuple):
    value: str
    expires: float  # time.monotonic()


class Authorizer:
    """What one registry wants to see in `Authorization`, learned from its challenges.

    Parameters: `registry`, its name in references (for credentials and messages); `origin`; `credentials`, asked only when the
    registry wants a credential, and once; `fetch`, the way to the token realm; `realms`, hosts that the configuration trusts with
    credentials although they are of another domain.
    """

    def __init__(
        self, registry: str, origin: Origin, credentials: CredentialSource, fetch: Fetch, realms: Sequence[str] = ()
    ) -> None:
        self._registry = registry
        self._origin = origin
        self._source = credentials
        self._fetch = fetch
        self._realms = realms
        self._credential: Credential | None = None
        self._asked = False
        self._basic = False
        self._bearer: dict[str, str] | None = None
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self.identity_token = ""
        self._lock = threading.RLock()

    def header(self, scopes: Sequence[str]) -> str | None:
        """The value of `Authorization` for a request, or None while nothing is known to be wanted."""
        with self._lock:
            if self._bearer is not None:
                return "Bearer " + self._token(tuple(scopes))
            if self._basic:
                return _basic(self._require())
            return None

    def challenged(self, answer: Answer, scopes: Sequence[str], used: str | None) -> str:
        """Learn from a `401` and return the header to try instead; `used` is the one that was refused.

        Raises Unauthenticated when there is nothing else to try.
        """
        try:
            challenges = parse_challenges(answer.headers("WWW-Authenticate"))
        except ValueError as error:
            raise self._refused(f"the registry's challenge is malformed ({error})") from None
        with self._lock:
            current = self.header(scopes)
            if used is not None and current != used and current is not None:
                return current  # another thread has been here
            known = self._bearer is not None or self._basic
            self._learn(challenges)
            if used is not None and known and (self._bearer is None or self._tokens.pop(tuple(scopes), None) is None):
                raise self._refused("the registry refuses the credentials")
            header = self.header(scopes)
            if header is None or header == used:
                raise self._refused("the registry refuses the credentials")
            return header

    def _learn(self, challenges: list[Challenge]) -> None:
        for challenge in challenges:
            if challenge.scheme == "bearer":
                if "realm" not in challenge.parameters:
                    raise self._refused("the registry's challenge is malformed (no realm)")
                self._bearer = challenge.parameters
                return
        if any(challenge.scheme == "basic" for challenge in challenges):
            self._basic, self._bearer = True, None
            return
        schemes = ", ".join(challenge.scheme for challenge in challenges)
        raise self._refused(f"it wants {schemes}, not basic or bearer" if schemes else "it answers 401 without a challenge")

    def _require(self) -> Credential:
        credential = self._lookup()
        if credential is None or not credential.username:
            raise self._refused("the registry wants a user and password")
        return credential

    def _lookup(self) -> Credential | None:
        if not self._asked:
            self._credential = self._source(self._registry)
            self._asked = True
        return self._credential

    def _token(self, scopes: tuple[str, ...]) -> str:
        token = self._tokens.get(scopes)
        if token is None or time.monotonic() >= token.expires - _MARGIN:
            token = self._tokens[scopes] = self._obtain(scopes)
        return token.value

    def _obtain(self, scopes: tuple[str, ...]) -> _Token:
        assert self._bearer is not None
        realm = self._bearer["realm"]
        try:
            origin, target = parse_url(realm)
        except ValueError:
            raise self._refused("the realm of its challenge is not a URL") from None
        if origin.scheme != "https" and origin != self._origin and self._origin.scheme == "https":
            raise self._refused(f"its token realm {origin.url} is not https")
        if origin.scheme != "https" and origin.host != self._origin.host:
            raise self._refused(f"its token realm {origin.url} is not https and another host")
        credential = self._lookup()
        listed = origin.host in self._realms or origin.authority in self._realms
        if credential is not None and not listed and not same_site(self._origin.host, origin.host):
            raise self._refused(
                f"its token realm is on another domain ({origin.host}), which must not see the credentials",
                hint=f"add {origin.host} to token-realms in the configuration file if you trust it, or log out",
            )
        return self._read_token(self._ask(origin, target, scopes, credential), origin)

    def _ask(self, origin: Origin, target: str, scopes: tuple[str, ...], credential: Credential | None) -> Answer:
        assert self._bearer is not None
        service = self._bearer.get("service", "")
        if credential is not None and credential.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                ("service", service),
                ("client_id", _CLIENT_ID),
                ("refresh_token", credential.identity_token),
                ("scope", " ".join(scopes)),
            ]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._fetch(origin, target, headers, urlencode(form).encode("ascii"))
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        headers = {}
        if credential is not None:
            query += [("account", credential.username), ("client_id", _CLIENT_ID)]
            headers["Authorization"] = _basic(credential)
            if not scopes:
                query.append(("offline_token", "true"))  # a log-in: the server may give an identity token
        joiner = "&" if "?" in target else "?"
        return self._fetch(origin, target + joiner + urlencode(query, quote_via=quote) if query else target, headers, None)

    def _read_token(self, answer: Answer, origin: Origin) -> _Token:
        where = f"token server {origin.authority}"
        what = f"answer of the {where}"
        with answer:
            if answer.status in {400, 401, 403}:
                raise self._refused(f"its {where} refuses ({answer.status})")
            if answer.status != 200:
                passing = answer.status in {429, 500, 502, 503, 504}
                raise Failure(f"asking the {where}", f"answer {answer.status}", retry=passing)
            if answer.media_type == "text/html":
                raise Failure(f"asking the {where}", "the answer is a web page, not a token", retry=False)
            body = strict_json.loads(answer.read(_MAX_ANSWER), what=what, limit=_MAX_ANSWER)
        if not isinstance(body, dict):
            raise errors.Unavailable(f"cannot log in to {self._registry} ({where}): the answer is not a JSON object")
        # Not by strict_json's accessors, whose messages show the value.
        value, refresh = body.get("token") or body.get("access_token"), body.get("refresh_token", "")
        if not isinstance(value, str) or not value or any(not "!" <= character <= "~" for character in value):
            raise errors.Unavailable(f"cannot log in to {self._registry} ({where}): the answer has no valid token")
        life = strict_json.get_int(body, "expires_in", what, _DEFAULT_LIFE)
        if not 0 <= life <= _LONGEST_LIFE:
            raise errors.Unavailable(f"cannot log in to {self._registry} ({where}): expires_in is {life}, not a time in seconds")
        self.identity_token = refresh if isinstance(refresh, str) else ""
        return _Token(value, time.monotonic() + max(life, _DEFAULT_LIFE))

    def _refused(self, cause: str, hint: str | None = None) -> errors.Unauthenticated:
        logged_in = self._asked and self._credential is not None
        default = f"log in again: estiba login {self._registry}" if logged_in else f"log in: estiba login {self._registry}"
        return errors.Unauthenticated(f"cannot authenticate to {self._registry}: {cause}", hint=hint or default)


def _basic(credential: Credential) -> str:
    """RFC 7617; UTF-8 is what registries expect."""
    pair = f"{credential.username}:{credential.password}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


#: Domains under which strangers get names: two of them are not one site. Not the whole public suffix list, which changes weekly;
#: what is missing here only widens the realm of a registry that is a stranger's already.
_SHARED = frozenset({
    "amazonaws.com", "azurecr.io", "azurewebsites.net", "cloudfront.net", "github.io", "gitlab.io", "herokuapp.com",
    "ngrok.io", "ngrok-free.app", "pages.dev", "run.app", "workers.dev", "fly.dev", "vercel.app", "netlify.app",
})  # fmt: skip


def same_site(registry: str, realm: str) -> bool:
    """Whether `realm` may see what belongs to `registry`: the same host, or the same registrable domain."""
    if registry == realm:
        return True
    left, right = registry.split("."), realm.split(".")
    if any(labels[-1].isdigit() or ":" in labels[-1] for labels in (left, right)):
        return False  # addresses
    count = 2
    if ".".join(left[-2:]) in _SHARED or (len(left[-1]) == 2 and len(left) > 2 and len(left[-2]) <= 3):
        count = 3  # registry.example.co.uk
    return len(left) >= count and left[-count:] == right[-count:]
