"""Authentication: what registries ask for, and that credentials go nowhere else (bad-inputs row 58, walls W9 and P7)."""

from __future__ import annotations

import base64
import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from estiba import errors
from estiba.registry import auth
from estiba.registry.auth import same_site
from estiba.registry.client import Registry
from estiba.registry.credentials import Credential
from estiba.registry.transport import Limits
from tests.support.registries import PASSWORD, USER, FakeRegistry, Handler, digest_of, make_image

if TYPE_CHECKING:
    from pathlib import Path

    from estiba.config.settings import Settings

FAST = Limits(connect=5, answer=2, read=1, attempts=3, backoff=0.01, longest_wait=1)
KNOWN = Credential(USER, PASSWORD)
IMAGE = make_image([{"a": b"1"}])
SECRETS = (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(), "an-identity-token")


@pytest.fixture(autouse=True)
def isolated(docker_config: Path) -> None:
    """No credentials and proxies of the caller."""


def client(registry: FakeRegistry, settings: Settings, credential: Credential | None = None) -> Registry:
    return Registry(registry.host, settings, lambda _: credential, limits=FAST)


def pull(registry: FakeRegistry, settings: Settings, credential: Credential | None = None) -> bytes:
    with client(registry, settings, credential) as opened:
        return opened.get_manifest("app", "1")[0]


def refused(registry: FakeRegistry, settings: Settings, credential: Credential | None = None) -> errors.EstibaError:
    with pytest.raises(errors.EstibaError) as caught:
        pull(registry, settings, credential)
    assert not any(secret in str(caught.value) + str(caught.value.hint) for secret in SECRETS)
    return caught.value


def leaks(registry: FakeRegistry) -> list[str]:
    """What of a secret a registry has seen."""
    everything = [seen.path + json.dumps(seen.headers) for seen in registry.requests]
    return [text for text in everything if "Authorization" in text or any(secret in text for secret in SECRETS)]


# --- the usual ways -----------------------------------------------------------------------------------------------------


def test_an_anonymous_token(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.tokens = True
    fake_registry.add("app", "1", IMAGE)
    assert pull(fake_registry, settings) == IMAGE.manifest
    assert leaks(fake_registry) != []  # the token itself, to the registry
    assert fake_registry.count("GET", "/token?service=test&scope=repository%3Aapp%3Apull") == 1


def test_a_token_for_a_user(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.tokens = fake_registry.private = True
    fake_registry.add("app", "1", IMAGE)
    assert pull(fake_registry, settings, KNOWN) == IMAGE.manifest
    basic = [seen.path for seen in fake_registry.requests if seen.headers.get("Authorization", "").startswith("Basic")]
    assert len(basic) == 1
    assert basic[0].startswith("/token?")


def test_a_token_by_identity_token(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.tokens = fake_registry.private = True
    fake_registry.add("app", "1", IMAGE)
    assert pull(fake_registry, settings, Credential(identity_token="an-identity-token")) == IMAGE.manifest
    assert fake_registry.count("POST", "/token") == 1


def test_without_credentials_a_private_registry_says_how(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.tokens = fake_registry.private = True
    error = refused(fake_registry, settings)
    assert isinstance(error, errors.Unauthenticated)
    assert fake_registry.host in error.message
    assert error.hint == f"log in: estiba login {fake_registry.host}"


def test_a_wrong_password_is_said_once_and_not_tried_for_ever(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.tokens = fake_registry.private = True
    error = refused(fake_registry, settings, Credential(USER, "wrong"))
    assert isinstance(error, errors.Unauthenticated)
    assert fake_registry.count("GET", "/token") == 1


def test_one_token_serves_many_threads(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.tokens = True
    fake_registry.add("app", "1", IMAGE)
    with client(fake_registry, settings) as opened, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: opened.get_manifest("app", "1")[0], range(32)))
    assert found == [IMAGE.manifest] * 32
    assert fake_registry.count("GET", "/token") == 1


def test_a_token_of_each_scope(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.tokens = True
    fake_registry.add("app", "1", IMAGE)
    with client(fake_registry, settings) as opened:
        opened.get_manifest("app", "1")
        opened.put_manifest("app", "2", IMAGE.media_type, IMAGE.manifest)
    assert sorted(map(tuple, fake_registry.granted.values())) == [("repository:app:pull",), ("repository:app:pull,push",)]


def test_a_token_that_the_registry_forgot_is_fetched_anew(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.tokens = True
    fake_registry.add("app", "1", IMAGE)
    with client(fake_registry, settings) as opened:
        opened.get_manifest("app", "1")
        fake_registry.granted.clear()
        assert opened.get_manifest("app", "1")[0] == IMAGE.manifest
    assert fake_registry.count("GET", "/token") == 2


def test_a_token_expires_by_the_monotonic_clock(
    fake_registry: FakeRegistry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_registry.tokens = True
    fake_registry.add("app", "1", IMAGE)
    now = [1000.0]
    monkeypatch.setattr("estiba.registry.auth.time.monotonic", lambda: now[0])
    monkeypatch.setattr("estiba.registry.auth.time.time", lambda: 0.0)
    with client(fake_registry, settings) as opened:
        opened.get_manifest("app", "1")
        now[0] += 290
        opened.get_manifest("app", "1")
        assert fake_registry.count("GET", "/token") == 1
        now[0] += 10
        opened.get_manifest("app", "1")
    assert fake_registry.count("GET", "/token") == 2


def test_basic(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.add("app", "1", IMAGE)
    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def fault(handler: Handler) -> bool:
        if handler.headers.get("Authorization") == wanted:
            return False
        handler.reply(401, WWW_Authenticate='Basic realm="x"')
        return True

    fake_registry.fault = fault
    assert pull(fake_registry, settings, KNOWN) == IMAGE.manifest
    assert isinstance(refused(fake_registry, settings, Credential(USER, "wrong")), errors.Unauthenticated)
    assert isinstance(refused(fake_registry, settings), errors.Unauthenticated)


def test_credentials_are_not_sent_unless_asked_for(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.add("app", "1", IMAGE)
    pull(fake_registry, settings, KNOWN)
    assert leaks(fake_registry) == []


# --- malformed challenges and tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("challenge", "word"),
    [
        (None, "without a challenge"),
        ('Bearer realm="', "malformed"),
        ("Bearer", "no realm"),
        ("Negotiate", "negotiate"),
        ('Bearer realm="file:///etc/passwd"', "not a URL"),
        ('Bearer realm="http://user:pw@127.0.0.1/"', "not a URL"),
        ('Bearer realm="http://auth.example.com/token"', "not https"),
        ('Bearer realm="https://auth.example.com/token"', "another domain"),
    ],
)
def test_a_challenge_that_makes_no_sense(
    fake_registry: FakeRegistry, settings: Settings, challenge: str | None, word: str
) -> None:
    headers = {"WWW_Authenticate": challenge} if challenge else {}
    fake_registry.fault = lambda handler: handler.reply(401, b"", **headers)
    error = refused(fake_registry, settings, KNOWN)
    assert isinstance(error, errors.Unauthenticated)
    assert word in error.message
    assert leaks(fake_registry) == []


@pytest.mark.parametrize("realm", ["https://169.254.169.254/latest", "https://[fd00:ec2::254]/", "https://[::ffff:169.254.1.1]/"])
def test_a_realm_on_a_metadata_address_is_not_asked(fake_registry: FakeRegistry, settings: Settings, realm: str) -> None:
    fake_registry.tokens = True
    fake_registry.realm = realm
    error = refused(fake_registry, settings)
    assert isinstance(error, errors.Unavailable)
    assert "not an address of a registry" in error.message


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"{}", "no valid token"),
        (b'{"token": ""}', "no valid token"),
        (b'{"token": "a\\r\\nX-Evil: 1"}', "no valid token"),
        (b'{"token": 7}', "no valid token"),
        (b'{"token": "abc", "expires_in": -1}', "-1"),
        (b'{"token": "abc", "expires_in": 1000000000000}', "expires_in is 1000000000000"),
        (b'{"token": "abc", "expires_in": true}', "expires_in"),
        (b'{"token": "abc", "token": "def"}', "duplicate"),
        (b"<html>", "answer of the token server"),
        (b"[]", "not a JSON object"),
    ],
)
def test_a_token_answer_that_is_none(fake_registry: FakeRegistry, settings: Settings, answer: bytes, word: str) -> None:
    fake_registry.tokens = True

    def fault(handler: Handler) -> bool:
        if handler.path.startswith("/token"):
            handler.reply(200, answer, Content_Type="application/json")
            return True
        return False

    fake_registry.fault = fault
    assert word in refused(fake_registry, settings).message


# --- nothing leaves the origin ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_gets_no_credentials(
    fake_registry: FakeRegistry, other_registry: FakeRegistry, settings: Settings, status: int
) -> None:
    fake_registry.tokens = fake_registry.private = True
    blob = next(iter(IMAGE.layers))
    other_registry.add("app", "1", IMAGE)

    def fault(handler: Handler) -> bool:
        if "/blobs/" in handler.path and handler.headers.get("Authorization"):
            handler.reply(status, Location=f"http://{other_registry.host}{handler.path}", Set_Cookie="a=b")
            return True
        return False

    fake_registry.fault = fault
    with client(fake_registry, settings, KNOWN) as opened:
        assert b"".join(opened.blob_chunks("app", blob)) == IMAGE.blobs[blob.digest]
    assert other_registry.count("GET", "/blobs/") == 1
    assert leaks(other_registry) == []
    assert "Cookie" not in other_registry.requests[0].headers


def test_a_client_that_follows_redirects_itself_would_leak(fake_registry: FakeRegistry, other_registry: FakeRegistry) -> None:
    """The negative twin: the other registry does notice what urllib.request forwards (P7)."""
    fake_registry.fault = lambda handler: handler.reply(302, Location=f"http://{other_registry.host}/v2/")
    request = urllib.request.Request(f"http://{fake_registry.host}/v2/", headers={"Authorization": "Basic " + SECRETS[1]})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5):
        pass
    assert leaks(other_registry) != []


def test_a_401_of_a_redirects_target_gets_no_credentials(
    fake_registry: FakeRegistry, other_registry: FakeRegistry, settings: Settings
) -> None:
    fake_registry.fault = lambda handler: handler.reply(307, Location=f"http://{other_registry.host}{handler.path}")
    other_registry.fault = lambda handler: handler.reply(401, WWW_Authenticate='Basic realm="x"')
    error = refused(fake_registry, settings, KNOWN)
    assert isinstance(error, errors.PermissionDenied)
    assert leaks(other_registry) == []


@pytest.mark.parametrize(
    "location",
    ["", "file:///etc/passwd", "http://user:pw@127.0.0.1/", "http://exa mple/", "http://127.0.0.1:99999/", "gopher://x/", "//"],
)
def test_a_redirect_to_nowhere(fake_registry: FakeRegistry, settings: Settings, location: str) -> None:
    fake_registry.fault = lambda handler: handler.reply(302, Location=location)
    error = refused(fake_registry, settings, KNOWN)
    assert isinstance(error, errors.Unavailable)
    assert "redirect" in error.message or "malformed" in error.message


def test_redirects_in_a_circle_end(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.fault = lambda handler: handler.reply(302, Location=handler.path)
    assert "more than 5" in refused(fake_registry, settings).message
    assert len(fake_registry.requests) == 6


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "http://0.0.0.0/", "http://224.0.0.1/"])
def test_a_redirect_to_an_address_of_the_cloud_is_refused(fake_registry: FakeRegistry, settings: Settings, target: str) -> None:
    fake_registry.fault = lambda handler: handler.reply(302, Location=target)
    assert "not an address of a registry" in refused(fake_registry, settings).message


def test_the_next_page_of_tags_stays_on_the_registry(
    fake_registry: FakeRegistry, other_registry: FakeRegistry, settings: Settings
) -> None:
    def fault(handler: Handler) -> bool:
        link = f'<http://{other_registry.host}/v2/app/tags/list>; rel="next"'
        handler.reply(200, b'{"name":"app","tags":["a"]}', Link=link)
        return True

    fake_registry.fault = fault
    with client(fake_registry, settings, KNOWN) as opened, pytest.raises(errors.Unavailable, match="another origin"):
        opened.tags("app")
    assert other_registry.requests == []


def test_the_credentials_are_asked_for_once(fake_registry: FakeRegistry, settings: Settings) -> None:
    """A helper may ask the user."""
    fake_registry.tokens = fake_registry.private = True
    fake_registry.add("app", "1", IMAGE)
    asked = []
    lock = threading.Lock()

    def source(registry: str) -> Credential:
        with lock:
            asked.append(registry)
        return KNOWN

    with Registry(fake_registry.host, settings, source, limits=FAST) as opened, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: opened.head_manifest("app", str(n % 2)) if n % 2 else None, range(8)))
        opened.put_manifest("app", "2", IMAGE.media_type, IMAGE.manifest)
    assert asked == [fake_registry.host]


@pytest.mark.parametrize(
    ("registry", "realm", "same"),
    [
        ("registry-1.docker.io", "auth.docker.io", True),
        ("ghcr.io", "ghcr.io", True),
        ("registry.gitlab.example.co.uk", "gitlab.example.co.uk", True),
        ("a.co.uk", "b.co.uk", False),
        ("a.azurecr.io", "b.azurecr.io", False),
        ("registry.example.com", "example.com.evil.net", False),
        ("registry.example.com", "evilexample.com", False),
        ("registry.example.com", "registry.example.com", True),
        ("10.0.0.1", "20.0.0.1", False),
        ("localhost", "other", False),
    ],
)
def test_what_is_one_site(registry: str, realm: str, same: bool) -> None:
    assert same_site(registry, realm) is same


def test_a_listed_realm_may_be_elsewhere(
    fake_registry: FakeRegistry, other_registry: FakeRegistry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.1 and localhost are two sites; the token server on the other one needs the user's word."""
    fake_registry.add("app", "1", IMAGE)
    fake_registry.tokens = fake_registry.private = True
    monkeypatch.setattr(auth, "same_site", lambda *_: False)
    assert "another domain" in refused(fake_registry, settings, KNOWN).message
    assert leaks(fake_registry) == []
    assert pull(fake_registry, settings.replace(token_realms=("127.0.0.1",)), KNOWN) == IMAGE.manifest


def test_the_digest_is_of_the_answer(fake_registry: FakeRegistry, settings: Settings) -> None:
    fake_registry.add("app", "1", IMAGE)
    with client(fake_registry, settings) as opened:
        assert opened.head_manifest("app", "1") == digest_of(IMAGE.manifest)
