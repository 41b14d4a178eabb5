"""TLS: whose certificate, which name, and what loopback is excused from (bad-inputs row 60)."""

from __future__ import annotations

import io
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import hypothesis.strategies as st
import pytest

from estiba import errors
from estiba.registry.certificates import describe
from estiba.registry.client import Registry
from estiba.registry.transport import Limits
from tests.support.registries import CertificateAuthority, FakeRegistry, Handler, make_image, run_fake, trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.config.settings import Settings

FAST = Limits(connect=5, answer=2, read=2, attempts=2, backoff=0.01)
IMAGE = make_image([{"a": b"1"}])


@pytest.fixture(autouse=True)
def isolated(docker_config: Path) -> None:
    """No proxies of the caller."""


@pytest.fixture
def configured(settings: Settings, tmp_path: Path) -> Settings:
    return settings.replace(config_dir=str(tmp_path / "configuration"))


def served(authority: CertificateAuthority, name: str, alternative_names: str, days: int = 30) -> Iterator[FakeRegistry]:
    certificate, key = authority.issue(name, alternative_names, days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    yield from run_fake(FakeRegistry(name="localhost"), context)


def refused(registry: FakeRegistry, settings: Settings) -> errors.Unavailable:
    with Registry(registry.host, settings, limits=FAST) as opened, pytest.raises(errors.Unavailable) as caught:
        opened.get_manifest("app", "1")
    assert registry.requests == []
    assert registry.host in caught.value.message
    assert "TLS handshake with localhost" in caught.value.message
    return caught.value


def test_an_authority_of_certs_d(
    tls_registry: FakeRegistry, configured: Settings, certificate_authority: CertificateAuthority
) -> None:
    tls_registry.add("app", "1", IMAGE)
    trust(Path(configured.config_dir), tls_registry, certificate_authority.certificate)
    with Registry(tls_registry.host, configured, limits=FAST) as opened:
        assert opened.get_manifest("app", "1")[2] == IMAGE.digest


def test_an_unknown_authority_is_named_with_the_certificate(tls_registry: FakeRegistry, configured: Settings) -> None:
    """Loopback may do without TLS; a server that has it is still checked, and never asked in plain HTTP instead."""
    error = refused(tls_registry, configured)
    assert "certificate refused" in error.message
    assert "it is for fake, localhost; issued by estiba test authority; valid 20" in error.message
    assert error.hint is not None
    assert "certs.d" in error.hint


def test_the_configuration_may_waive_it(tls_registry: FakeRegistry, configured: Settings) -> None:
    tls_registry.add("app", "1", IMAGE)
    with Registry(tls_registry.host, configured.replace(insecure_registries=(tls_registry.host,)), limits=FAST) as opened:
        assert opened.get_manifest("app", "1")[2] == IMAGE.digest


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [
        ("DNS:other.example,IP:192.0.2.7", 30, ["Hostname mismatch", "it is for server, other.example, 192.0.2.7;"]),
        ("DNS:localhost", -1, ["certificate has expired", "it is for server, localhost;"]),
    ],
)
def test_a_wrong_certificate(
    certificate_authority: CertificateAuthority, configured: Settings, names: str, days: int, words: list[str]
) -> None:
    for registry in served(certificate_authority, "server", names, days):
        trust(Path(configured.config_dir), registry, certificate_authority.certificate)
        error = refused(registry, configured)
        assert all(word in error.message for word in words), error.message


def test_a_damaged_authority_is_named(tls_registry: FakeRegistry, configured: Settings, tmp_path: Path) -> None:
    bad = tmp_path / "bad.crt"
    bad.write_text("hello")
    trust(Path(configured.config_dir), tls_registry, bad)
    with Registry(tls_registry.host, configured, limits=FAST) as opened, pytest.raises(errors.FailedPrecondition) as caught:
        opened.get_manifest("app", "1")
    assert "certs.d" in caught.value.message
    assert "not a PEM certificate" in caught.value.message


def test_a_plain_server_elsewhere_is_not_spoken_to(
    fake_registry: FakeRegistry, configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is not loopback's own, though it leads there: no plain HTTP, and a hint what would allow it."""
    real = socket.getaddrinfo
    monkeypatch.setattr(
        "estiba.registry.connect.socket.getaddrinfo", lambda host, port, **kw: real("127.0.0.1", port, **kw)
    )
    name = f"registry.example.org:{fake_registry.port}"
    with Registry(name, configured, limits=FAST) as opened, pytest.raises(errors.Unavailable) as caught:
        opened.get_manifest("app", "1")
    assert "plain HTTP" in caught.value.message or "closed by the other side" in caught.value.message
    assert "insecure-registries" in str(caught.value.hint)
    fake_registry.add("app", "1", IMAGE)
    allowed = configured.replace(insecure_registries=("registry.example.org",))
    with Registry(name, allowed, limits=FAST) as opened:
        assert opened.get_manifest("app", "1")[2] == IMAGE.digest


def test_a_silent_handshake_ends(configured: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        limits = Limits(connect=0.3, attempts=1)
        with Registry(host, configured, limits=limits) as opened, pytest.raises(errors.Unavailable) as caught:
            opened.get_manifest("app", "1")
    assert "TLS handshake with 127.0.0.1): no answer within 0.3 s" in caught.value.message


@pytest.mark.parametrize("what", ["redirect", "upload", "realm"])
def test_nothing_leads_from_https_to_http(
    tls_registry: FakeRegistry,
    fake_registry: FakeRegistry,
    configured: Settings,
    certificate_authority: CertificateAuthority,
    what: str,
) -> None:
    trust(Path(configured.config_dir), tls_registry, certificate_authority.certificate)
    plain = f"http://{fake_registry.host}"

    def fault(handler: Handler) -> bool:
        if what == "realm":
            return handler.reply(401, WWW_Authenticate=f'Bearer realm="{plain}/token"')
        return handler.reply(202 if what == "upload" else 307, Location=f"{plain}{handler.path}")

    tls_registry.fault = fault
    with Registry(tls_registry.host, configured, limits=FAST) as opened, pytest.raises(errors.EstibaError) as caught:
        if what == "upload":
            opened.upload_blob("app", IMAGE.config.digest, 1, io.BytesIO(b"x"))
        else:
            opened.get_manifest("app", "1")
    assert "from https to http" in caught.value.message or "is not https" in caught.value.message
    assert fake_registry.requests == []


# --- proxies ----------------------------------------------------------------------------------------------------------------


class Proxy:
    """A proxy that answers CONNECT with `status`, and joins the two sides on 200."""

    def __init__(self, status: str, target: int) -> None:
        self.heads: list[str] = []
        self._status = status
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            self.heads.append(head.decode())
            sock.sendall(f"HTTP/1.1 {self._status}\r\n\r\n".encode())
            if self._status.startswith("200"):
                other = socket.create_connection(("127.0.0.1", self._target))
                for left, right in ((sock, other), (other, sock)):
                    threading.Thread(target=self._pump, args=(left, right), daemon=True).start()
            else:
                sock.close()

    @staticmethod
    def _pump(left: socket.socket, right: socket.socket) -> None:
        try:
            while data := left.recv(65536):
                right.sendall(data)
            right.shutdown(socket.SHUT_WR)
        except OSError:
            return
        finally:
            left.close()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


def through(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://someone:open%20sesame@127.0.0.1:{proxy.port}")


def test_a_tunnel_with_the_proxys_own_credentials(
    certificate_authority: CertificateAuthority, configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for registry in served(certificate_authority, "far", "DNS:registry.example.org"):
        registry.add("app", "1", IMAGE)
        registry.name = "registry.example.org"
        trust(Path(configured.config_dir), registry, certificate_authority.certificate)
        proxy = Proxy("200 OK", registry.port)
        through(proxy, monkeypatch)
        with Registry(registry.host, configured, limits=FAST) as opened:
            assert opened.get_manifest("app", "1")[2] == IMAGE.digest
        proxy.close()
        assert f"CONNECT {registry.host} HTTP/1.1" in proxy.heads[0]
        assert "Proxy-Authorization: Basic c29tZW9uZTpvcGVuIHNlc2FtZQ==" in proxy.heads[0]
        assert all("Proxy-Authorization" not in seen.headers for seen in registry.requests)


def test_a_proxy_that_wants_to_know_us(configured: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy("407 Proxy Authentication Required", 0)
    through(proxy, monkeypatch)
    with Registry("registry.example.org", configured, limits=FAST) as opened, pytest.raises(errors.Unavailable) as caught:
        opened.get_manifest("app", "1")
    proxy.close()
    assert f"asking the proxy 127.0.0.1:{proxy.port}): 407 Proxy Authentication Required" in caught.value.message
    assert "sesame" not in caught.value.message + str(caught.value.hint)


def test_loopback_is_never_asked_through_a_proxy(
    fake_registry: FakeRegistry, configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_registry.add("app", "1", IMAGE)
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Registry(fake_registry.host, configured, limits=FAST) as opened:
        assert opened.get_manifest("app", "1")[2] == IMAGE.digest


# --- reading a certificate that was refused ------------------------------------------------------------------------------------


def test_describe_says_no_more_than_it_can_read() -> None:
    assert describe(None) == "certificate not readable"
    assert describe(b"\x30\x80") == "certificate not readable"


@hypothesis.given(st.data())
def test_describe_never_fails(certificate_authority: CertificateAuthority, data: st.DataObject) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(certificate_authority.certificate.read_text()))
    for _ in range(data.draw(st.integers(0, 8))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)))
    assert describe(bytes(der[:cut])).isprintable()
