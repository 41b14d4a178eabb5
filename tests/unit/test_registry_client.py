"""The client as a whole: manifests, tags, retries, mirrors, and what is no registry (bad-inputs rows 1, 11, 58, 60)."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from estiba import errors
from estiba.oci import media_types
from estiba.registry.client import Registry
from estiba.registry.endpoints import endpoint_of
from estiba.registry.transport import Limits, parse_url
from tests.support.registries import FakeRegistry, Handler, digest_of, make_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from estiba.config.settings import Settings

FAST = Limits(connect=5, answer=1, read=1, attempts=3, backoff=0.01, longest_wait=1)
IMAGE = make_image([{"a": b"1"}])


@pytest.fixture
def registry(fake_registry: FakeRegistry, settings: Settings, docker_config: Path) -> Iterator[Registry]:
    fake_registry.add("app", "1", IMAGE)
    with Registry(fake_registry.host, settings, limits=FAST) as opened:
        yield opened


def refused(registry: Registry) -> errors.EstibaError:
    with pytest.raises(errors.EstibaError) as caught:
        registry.get_manifest("app", "1")
    assert "\n" not in caught.value.message
    assert registry.host in caught.value.message
    return caught.value


def test_by_tag_and_by_digest(registry: Registry) -> None:
    expected = (IMAGE.manifest, media_types.OCI_MANIFEST, IMAGE.digest)
    assert registry.get_manifest("app", "1") == expected
    assert registry.get_manifest("app", IMAGE.digest) == expected


def test_one_connection_serves_all(registry: Registry, fake_registry: FakeRegistry) -> None:
    ports = []

    def fault(handler: Handler) -> bool:
        ports.append(handler.client_address[1])
        return False

    fake_registry.fault = fault
    for _ in range(3):
        registry.get_manifest("app", "1")
        assert registry.has_blob("app", IMAGE.config.digest)
        assert b"".join(registry.blob_chunks("app", IMAGE.config)) == IMAGE.blobs[IMAGE.config.digest]
    assert len(ports) == 9
    assert len(set(ports)) == 1


def test_an_idle_connection_that_the_server_closed_is_no_failure(
    fake_registry: FakeRegistry, settings: Settings, docker_config: Path
) -> None:
    fake_registry.add("app", "1", IMAGE)

    def fault(handler: Handler) -> bool:
        handler.close_connection = True  # without saying so in the answer
        return False

    fake_registry.fault = fault
    with Registry(fake_registry.host, settings, limits=Limits(attempts=1)) as registry:
        for _ in range(3):
            assert registry.get_manifest("app", "1")[2] == IMAGE.digest


def test_tags_over_several_pages(registry: Registry, fake_registry: FakeRegistry) -> None:
    for number in range(7):
        fake_registry.add("app", f"v{number}", IMAGE)
    fake_registry.page = 3
    assert registry.tags("app") == ["1", "v0", "v1", "v2", "v3", "v4", "v5", "v6"]
    assert fake_registry.count("GET", "/tags/list") == 3


def test_no_tags_as_go_writes_it(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.fault = lambda handler: handler.reply(200, b'{"name":"app","tags":null}')
    assert registry.tags("app") == []


def test_an_unknown_tag(registry: Registry, fake_registry: FakeRegistry) -> None:
    with pytest.raises(errors.NotFound, match=r"cannot fetch manifest .*/app:2 \(.*\): manifest unknown"):
        registry.get_manifest("app", "2")


def test_the_digest_asked_for_must_be_that_of_the_bytes(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.manifests["app"][IMAGE.digest] = (IMAGE.manifest + b" ", media_types.OCI_MANIFEST)
    with pytest.raises(errors.DataLoss, match="its digest is"):
        registry.get_manifest("app", IMAGE.digest)


@pytest.mark.parametrize("told", [digest_of(b"other"), "sha256:abc", "SHA256:" + "a" * 64, ""])
def test_a_wrong_docker_content_digest(registry: Registry, fake_registry: FakeRegistry, told: str) -> None:
    fake_registry.fault = lambda handler: handler.reply(
        200, IMAGE.manifest, Content_Type=IMAGE.media_type, Docker_Content_Digest=told
    )
    assert isinstance(refused(registry), errors.DataLoss)


def test_a_manifest_of_five_mebibytes(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.add_manifest("app", "1", b" " * (5 << 20), media_types.OCI_MANIFEST)
    error = refused(registry)
    assert isinstance(error, errors.DataLoss)
    assert "4 MiB" in error.message


def test_one_of_unknown_length_is_not_read_for_ever(registry: Registry, fake_registry: FakeRegistry) -> None:
    def fault(handler: Handler) -> bool:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nConnection: close\r\n\r\n")
        for _ in range(64):
            handler.wfile.write(b" " * (1 << 20))
        handler.close_connection = True
        return True

    fake_registry.fault = fault
    assert "limit" in refused(registry).message


def test_a_log_in_page(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.fault = lambda handler: handler.reply(200, b"<html>", Content_Type="text/html; charset=utf-8")
    error = refused(registry)
    assert "web page" in error.message
    assert error.hint == "is there a log-in page or a proxy in between?"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xd9\xa3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        b"",
    ],
)
def test_what_is_not_http(registry: Registry, fake_registry: FakeRegistry, answer: bytes) -> None:
    def fault(handler: Handler) -> bool:
        handler.wfile.write(answer)
        handler.close_connection = True
        return True

    fake_registry.fault = fault
    assert isinstance(refused(registry), errors.Unavailable)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_registry_is_asked_again(registry: Registry, fake_registry: FakeRegistry, status: int) -> None:
    asked: list[int] = []

    def fault(handler: Handler) -> bool:
        asked.append(1)
        return len(asked) < 3 and handler.reply(status, b"later", Retry_After="0")

    fake_registry.fault = fault
    assert registry.get_manifest("app", "1")[2] == IMAGE.digest


def test_a_storm_ends(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.fault = lambda handler: handler.reply(503, b"")
    error = refused(registry)
    assert isinstance(error, errors.Unavailable)
    assert "waiting for the answer): answer 503 Service Unavailable (tried 3 times in" in error.message
    assert len(fake_registry.requests) == 3


def test_a_registry_that_asks_to_come_back_tomorrow(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.fault = lambda handler: handler.reply(429, b"", Retry_After="86400")
    assert "come back in 86400 s" in refused(registry).message
    assert len(fake_registry.requests) == 1


def test_retry_after_as_a_date(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.fault = lambda handler: handler.reply(
        503, b"", Date="Tue, 24 Nov 2026 10:00:00 GMT", Retry_After="Tue, 24 Nov 2026 11:00:00 GMT"
    )
    assert "come back in 3600 s" in refused(registry).message


def test_a_silent_registry(registry: Registry, fake_registry: FakeRegistry) -> None:
    done = threading.Event()
    fake_registry.fault = lambda _: done.wait(20)
    try:
        error = refused(registry)
    finally:
        done.set()
    assert "waiting for the answer): no answer within 1 s (tried 3 times" in error.message


def test_an_error_message_of_the_registry_is_made_harmless(registry: Registry, fake_registry: FakeRegistry) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "no\n\x1b[31mestiba: all is well" + "x" * 500}]}).encode()
    fake_registry.fault = lambda handler: handler.reply(403, body, Content_Type="application/json")
    error = refused(registry)
    assert isinstance(error, errors.PermissionDenied)
    assert "\x1b" not in error.message
    assert len(error.message) < 400


def test_nobody_listens(settings: Settings, docker_config: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with Registry(host, settings, limits=FAST) as registry, pytest.raises(errors.Unavailable) as caught:
            registry.get_manifest("app", "1")
    assert f"connecting to 127.0.0.1 port {host[10:]}): connection refused" in caught.value.message
    assert "tried" not in caught.value.message


def test_an_unknown_host(settings: Settings, docker_config: Path) -> None:
    with Registry("nosuch.invalid", settings, limits=FAST) as registry:
        assert "resolving the name nosuch.invalid" in refused(registry).message


def test_cancel_ends_a_waiting_thread(registry: Registry, fake_registry: FakeRegistry) -> None:
    arrived, done = threading.Event(), threading.Event()

    def fault(_: Handler) -> bool:
        arrived.set()
        return done.wait(20)

    fake_registry.fault = fault
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            registry.get_manifest("app", "1")
        except errors.EstibaError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert arrived.wait(5)
    registry.cancel()
    thread.join(5)
    done.set()
    assert isinstance(caught[0], errors.Cancelled)


# --- mirrors ---------------------------------------------------------------------------------------------------------------


def test_docker_hub_is_behind_a_name(settings: Settings) -> None:
    endpoint = endpoint_of("docker.io", settings)
    assert (endpoint.registry, endpoint.host, endpoint.port, endpoint.plain) == ("docker.io", "registry-1.docker.io", None, False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localhost:5000", ("localhost", 5000, True)),
        ("127.8.9.1", ("127.8.9.1", None, True)),
        ("[::1]:5000", ("::1", 5000, True)),
        ("registry.example.org", ("registry.example.org", None, False)),
        ("Registry.Example.org:444", ("registry.example.org", 444, False)),
        ("10.1.2.3:5000", ("10.1.2.3", 5000, True)),
        ("11.1.2.3:5000", ("11.1.2.3", 5000, False)),
    ],
)
def test_where_plain_http_is_allowed(settings: Settings, name: str, expected: tuple[str, int | None, bool]) -> None:
    endpoint = endpoint_of(name, settings.replace(insecure_registries=("10.0.0.0/8",)))
    assert (endpoint.host, endpoint.port, endpoint.plain) == expected


@pytest.fixture
def hub(settings: Settings, fake_registry: FakeRegistry, docker_config: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    """`fake_registry` plays Docker Hub."""
    from estiba.registry import endpoints
    from estiba.registry.session import Endpoint

    def hub_endpoint(registry: str, _: object) -> Endpoint:
        return Endpoint(registry, "127.0.0.1", fake_registry.port, plain=True)

    monkeypatch.setattr(endpoints, "endpoint_of", hub_endpoint)
    monkeypatch.setattr("estiba.registry.client.endpoint_of", hub_endpoint)
    return fake_registry


def test_a_mirror_is_asked_first_and_the_registry_for_the_rest(
    hub: FakeRegistry, other_registry: FakeRegistry, settings: Settings
) -> None:
    other_registry.add("library/app", "1", IMAGE)
    other_registry.blobs["library/app"] = {IMAGE.config.digest: IMAGE.blobs[IMAGE.config.digest]}
    hub.add("library/app", "1", IMAGE)
    hub.add("library/app", "2", IMAGE)
    chosen = settings.replace(mirrors=(f"http://{other_registry.host}",))
    with Registry("docker.io", chosen, limits=FAST) as registry:
        registry.get_manifest("library/app", "1")
        assert hub.requests == []
        registry.get_manifest("library/app", "2")
        assert hub.count("GET", "/manifests/2") == 1
        layer = IMAGE.layers[0]
        assert b"".join(registry.blob_chunks("library/app", layer)) == IMAGE.blobs[layer.digest]
        registry.put_manifest("library/app", "3", IMAGE.media_type, IMAGE.manifest)
    assert hub.count("GET", "/blobs/") == 1
    assert other_registry.count("PUT", "") == 0


def test_a_dead_mirror_does_not_stop_a_pull(hub: FakeRegistry, settings: Settings) -> None:
    hub.add("library/app", "1", IMAGE)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        chosen = settings.replace(mirrors=(f"http://127.0.0.1:{unused.getsockname()[1]}",))
        with Registry("docker.io", chosen, limits=FAST) as registry:
            assert registry.get_manifest("library/app", "1")[2] == IMAGE.digest


# --- URLs ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "x", "ftp://a/", "http://", "http://a b/", "http://a\n/", "http://u@a/", "http://a:0x1/", "http://a:99999/", "//a/"]
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(ValueError):
        parse_url(text)


def test_a_url_relative_to_another() -> None:
    origin, target = parse_url("/b?c=d", "https://a.example:8443/x/y")
    assert (origin.url, target) == ("https://a.example:8443", "/b?c=d")
