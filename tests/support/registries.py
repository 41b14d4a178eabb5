"""Registries for tests: Debian's docker-registry (plain; with TLS and basic authentication), and one of ours that can misbehave."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import secrets
import socket
import ssl
import struct
import subprocess
import tarfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID, Digest

USER, PASSWORD = "captain", "correct horse"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass(frozen=True)
class DockerRegistry:
    """A running docker-registry: `host` as in references; `ca` where it speaks TLS."""

    host: str
    ca: Path | None = None


def serve(
    folder: Path, http_section: Mapping[str, object], auth: Mapping[str, object] | None = None, *, access_log: bool = False
) -> Iterator[None]:
    """Runs docker-registry until the generator is closed; `access_log` writes each request to folder/log.

    Its configuration is YAML, of which JSON is a part.
    """
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": not access_log}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": http_section,
    }
    if auth:
        config["auth"] = auth
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        host, _, port = str(http_section["addr"]).partition(":")
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((host, int(port)), 1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, "docker-registry does not listen"
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """docker-registry over plain HTTP on loopback, for everybody."""
    host = f"127.0.0.1:{free_port()}"
    for _ in serve(tmp_path_factory.mktemp("plain-registry"), {"addr": host}):
        yield DockerRegistry(host)


@pytest.fixture(scope="session")
def certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def secure_registry(
    tmp_path_factory: pytest.TempPathFactory, certificate_authority: CertificateAuthority
) -> Iterator[DockerRegistry]:
    """docker-registry over TLS with basic authentication (USER, PASSWORD); its certificate is for localhost and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("secure-registry")
    certificate, key = certificate_authority.issue("registry", "DNS:localhost,IP:127.0.0.1")
    (folder / "htpasswd").write_text(f"{USER}:{bcrypt(PASSWORD)}\n")
    port = free_port()
    section = {"addr": f"127.0.0.1:{port}", "tls": {"certificate": str(certificate), "key": str(key)}}
    auth = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    for _ in serve(folder, section, auth):
        yield DockerRegistry(f"localhost:{port}", certificate_authority.certificate)


def bcrypt(password: str) -> str:
    """crypt(5)'s bcrypt, which htpasswd files of docker-registry need; Perl has crypt(3), Python 3.13 has not."""
    program = 'print crypt($ARGV[0], "\\$2y\\$05\\$" . "abcdefghijklmnopqrstuu")'
    return subprocess.run(["perl", "-e", program, password], check=True, capture_output=True, text=True).stdout


class CertificateAuthority:
    """An authority of openssl's making, and certificates from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        self._key = folder / "ca.key"
        self._openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=estiba test authority",
            "-keyout", str(self._key), "-out", str(self.certificate),
        )  # fmt: skip

    def issue(self, name: str, alternative_names: str, days: int = 30) -> tuple[Path, Path]:
        """(certificate, key) with the common name `name`; negative `days` make one that is over."""
        certificate, key, request = (self.folder / f"{name}.{end}" for end in ("crt", "key", "csr"))
        extension = self.folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={alternative_names}\n")
        self._openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request)
        )
        self._openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial",
            "-days", str(days), "-extfile", str(extension), "-out", str(certificate),
        )  # fmt: skip
        return certificate, key

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self.folder)


def trust(folder: Path, registry: DockerRegistry | FakeRegistry, authority: Path) -> None:
    """Put the authority into `folder/certs.d` for the registry, where Docker's users put it."""
    place = folder / "certs.d" / registry.host
    place.mkdir(parents=True)
    (place / "ca.crt").write_bytes(authority.read_bytes())


# --- images -------------------------------------------------------------------------------------------------------------


def digest_of(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


@dataclass
class TestImage:
    """An image as bytes: blobs by digest (layers and configuration), and its manifest."""

    __test__ = False  # pytest: not a class of tests

    blobs: dict[str, bytes]
    manifest: bytes
    media_type: str
    diff_ids: list[DiffID]
    layers: list[Descriptor]
    config: Descriptor

    @property
    def digest(self) -> Digest:
        return digest_of(self.manifest)


def make_image(
    layers: list[dict[str, bytes]],
    *,
    docker: bool = False,
    architecture: str = "amd64",
    compress: bool = True,
    pack: Callable[[bytes], bytes] = lambda tar: gzip.compress(tar, 6, mtime=0),
    **config: object,
) -> TestImage:
    """An image whose layers hold the given files, compressed by `pack`."""
    from estiba.oci import media_types as mt

    layer_type = (mt.DOCKER_LAYER_GZIP if docker else mt.OCI_LAYER_GZIP) if compress else mt.OCI_LAYER
    blobs: dict[str, bytes] = {}
    diff_ids: list[DiffID] = []
    descriptors: list[Descriptor] = []
    for files in layers:
        tar = make_tar(files)
        blob = pack(tar) if compress else tar
        diff_ids.append(DiffID(digest_of(tar)))
        blobs[digest_of(blob)] = blob
        descriptors.append(Descriptor(layer_type, digest_of(blob), len(blob)))
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": {"Cmd": ["/bin/sh"], **config},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    data = json.dumps(document).encode()
    blobs[digest_of(data)] = data
    head = Descriptor(mt.DOCKER_CONFIG if docker else mt.OCI_CONFIG, digest_of(data), len(data))
    media_type = mt.DOCKER_MANIFEST if docker else mt.OCI_MANIFEST
    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": head.to_json(),
        "layers": [descriptor.to_json() for descriptor in descriptors],
    }).encode()
    return TestImage(blobs, manifest, media_type, diff_ids, descriptors, head)


def make_tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(data), 1_700_000_000, 0o755
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def make_index(*entries: tuple[bytes, str, str]) -> bytes:
    """An index of (manifest, media type, architecture)."""
    from estiba.oci import media_types as mt

    return json.dumps({
        "schemaVersion": 2,
        "mediaType": mt.OCI_INDEX,
        "manifests": [
            {
                "mediaType": media_type,
                "digest": digest_of(data),
                "size": len(data),
                "platform": {"os": "linux", "architecture": architecture},
            }
            for data, media_type, architecture in entries
        ],
    }).encode()


# --- a registry of ours ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]


class Handler(http.server.BaseHTTPRequestHandler):
    """distribution-spec in memory: pull, push, mount, tags, and tokens when the registry wants them."""

    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 60
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True  # a client that went away; tests judge what the client saw

    def reply(self, status: int, body: bytes = b"", **headers: str) -> bool:
        """Answers, and says so; keyword `Content_Type` is the header Content-Type. A Content-Length that is given is not corrected."""
        self.send_response_only(status)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent.setdefault("Content-Length", str(len(body)))
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if int(sent["Content-Length"]) != len(body) and self.command != "HEAD":
            self.close_connection = True
        return True

    def reset(self) -> None:
        """Ends the connection with RST, as a machine that dies or a middlebox would (SO_LINGER of 0, socket(7))."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _dispatch(self) -> None:
        registry = self.server.registry
        with registry.lock:
            registry.requests.append(Seen(self.command, self.path, dict(self.headers)))
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        if registry.fault is not None and registry.fault(self):
            return
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/token":
            self._token()
        elif registry.tokens and not registry.allowed(self.headers.get("Authorization"), self._scope(url.path)):
            realm = registry.realm or f"{registry.scheme}://{registry.host}/token"
            self.reply(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}',
                       WWW_Authenticate=f'Bearer realm="{realm}",service="test",scope="{self._scope(url.path)}"',
                       Content_Type="application/json")  # fmt: skip
        else:
            self._serve(url.path)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _dispatch  # noqa: N815 - http.server's names

    def _scope(self, path: str) -> str:
        parts = path.split("/")
        for word in ("manifests", "blobs", "tags"):
            if word in parts:
                name = "/".join(parts[2 : parts.index(word)])
                return f"repository:{name}:{'pull' if self.command in {'GET', 'HEAD'} else 'pull,push'}"
        return ""

    def _token(self) -> None:
        registry = self.server.registry
        given = self.headers.get("Authorization", "")
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        form = urllib.parse.parse_qs(self.body.decode())
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        known = given == wanted or form.get("refresh_token") == ["an-identity-token"]
        if (registry.private or given or form) and not known:
            self.reply(401, b'{"details":"no"}', Content_Type="application/json")
            return
        scopes = query.get("scope", []) or [word for scope in form.get("scope", []) for word in scope.split()]
        answer = {"token": registry.grant(scopes), "expires_in": registry.token_life}
        if query.get("offline_token") == ["true"] and registry.identity_tokens:
            answer["refresh_token"] = "an-identity-token"
        self.reply(200, json.dumps(answer).encode(), Content_Type="application/json")

    def _serve(self, path: str) -> None:
        registry = self.server.registry
        parts = path.split("/")
        if path == "/v2/":
            self.reply(200, b"{}", Content_Type="application/json")
        elif "uploads" in parts:
            self._upload("/".join(parts[2 : parts.index("blobs")]), parts[-1])
        elif "blobs" in parts:
            self._blob(registry.blobs.get("/".join(parts[2:-2]), {}).get(parts[-1]))
        elif "manifests" in parts:
            self._manifest("/".join(parts[2:-2]), parts[-1])
        elif parts[-2:] == ["tags", "list"]:
            self._tags("/".join(parts[2:-2]))
        else:
            self.reply(404)

    def _missing(self, code: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
        self.reply(404, body, Content_Type="application/json")

    def _blob(self, data: bytes | None) -> None:
        if data is None:
            self._missing("BLOB_UNKNOWN")
            return
        asked = self.headers.get("Range")
        if asked and self.server.registry.ranges:
            first = int(asked.removeprefix("bytes=").partition("-")[0])
            self.reply(206, data[first:], Content_Range=f"bytes {first}-{len(data) - 1}/{len(data)}")
        else:
            self.reply(200, data, Content_Type="application/octet-stream")

    def _manifest(self, name: str, reference: str) -> None:
        manifests = self.server.registry.manifests.setdefault(name, {})
        if self.command == "PUT":
            entry = (self.body, self.headers.get("Content-Type", ""))
            manifests[reference] = manifests[digest_of(self.body)] = entry
            self.reply(201, Location=f"/v2/{name}/manifests/{reference}", Docker_Content_Digest=digest_of(self.body))
            return
        found = manifests.get(reference)
        if found is None:
            self._missing("MANIFEST_UNKNOWN")
            return
        data, media_type = found
        self.reply(200, data, Content_Type=media_type, Docker_Content_Digest=digest_of(data))

    def _tags(self, name: str) -> None:
        registry = self.server.registry
        tags = sorted(tag for tag in registry.manifests.get(name, {}) if ":" not in tag)
        start = tags.index(self.query["last"]) + 1 if "last" in self.query else 0
        page = tags[start : start + registry.page]
        headers = {"Content_Type": "application/json"}
        if start + registry.page < len(tags):
            headers["Link"] = f'</v2/{name}/tags/list?last={page[-1]}>; rel="next"'
        self.reply(200, json.dumps({"name": name, "tags": page}).encode(), **headers)

    def _upload(self, name: str, session: str) -> None:
        registry = self.server.registry
        blobs = registry.blobs.setdefault(name, {})
        if self.command == "POST":
            source = registry.blobs.get(self.query.get("from", ""), {}).get(self.query.get("mount", ""))
            if source is not None and registry.mounts:
                blobs[self.query["mount"]] = source
                self.reply(201, Location=f"/v2/{name}/blobs/{self.query['mount']}")
                return
            session = secrets.token_hex(8)
            registry.uploads[session] = b""
            self.reply(202, Location=f"{registry.upload_base}/v2/{name}/blobs/uploads/{session}?state=x")
        elif session not in registry.uploads:
            self._missing("BLOB_UPLOAD_UNKNOWN")
        elif self.command == "PATCH":
            start = int(self.headers["Content-Range"].partition("-")[0])
            if start != len(registry.uploads[session]):
                self.reply(416)
                return
            registry.uploads[session] += self.body
            self.reply(202, Location=f"/v2/{name}/blobs/uploads/{session}?state=y")
        else:
            data = registry.uploads.pop(session) + self.body
            if digest_of(data) != self.query["digest"]:
                self.reply(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"digest invalid"}]}',
                           Content_Type="application/json")  # fmt: skip
                return
            blobs[self.query["digest"]] = data
            self.reply(201, Location=f"/v2/{name}/blobs/{self.query['digest']}", Docker_Content_Digest=self.query["digest"])


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    registry: FakeRegistry

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@dataclass
class FakeRegistry:
    """A registry in memory that counts, wants tokens, and misbehaves as told.

    `fault` is called with the handler before every request is served; when it returns true it has answered itself.
    """

    port: int = 0
    scheme: str = "http"
    name: str = "127.0.0.1"
    tokens: bool = False
    private: bool = False
    identity_tokens: bool = False
    token_life: object = 300
    realm: str = ""
    ranges: bool = True
    mounts: bool = True
    page: int = 1000
    upload_base: str = ""
    fault: Callable[[Handler], bool] | None = None
    requests: list[Seen] = field(default_factory=list)
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    manifests: dict[str, dict[str, tuple[bytes, str]]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    granted: dict[str, list[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        return f"{self.name}:{self.port}"

    def add(self, repository: str, tag: str, image: TestImage) -> None:
        self.blobs.setdefault(repository, {}).update(image.blobs)
        self.add_manifest(repository, tag, image.manifest, image.media_type)

    def add_manifest(self, repository: str, tag: str, data: bytes, media_type: str) -> None:
        manifests = self.manifests.setdefault(repository, {})
        manifests[tag] = manifests[digest_of(data)] = (data, media_type)

    def grant(self, scopes: list[str]) -> str:
        token = secrets.token_urlsafe(24)
        self.granted[token] = scopes
        return token

    def allowed(self, authorization: str | None, scope: str) -> bool:
        kind, _, token = (authorization or "").partition(" ")
        if kind != "Bearer" or token not in self.granted:
            return False
        if not scope:
            return True
        name, actions = scope.rpartition(":")[::2]
        return any(
            given.rpartition(":")[0] == name and set(actions.split(",")) <= set(given.rpartition(":")[2].split(","))
            for given in self.granted[token]
        )

    def count(self, method: str, part: str) -> int:
        return sum(1 for seen in self.requests if seen.method == method and part in seen.path)


def run_fake(registry: FakeRegistry, context: ssl.SSLContext | None = None) -> Iterator[FakeRegistry]:
    """Serves `registry` until the generator is closed."""
    server = _Server(("127.0.0.1", 0), Handler)
    server.registry = registry
    registry.port = server.server_address[1]
    if context is not None:
        registry.scheme = "https"
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def fake_registry() -> Iterator[FakeRegistry]:
    """A registry of ours over plain HTTP."""
    yield from run_fake(FakeRegistry())


@pytest.fixture
def other_registry() -> Iterator[FakeRegistry]:
    """A second one, on another origin."""
    yield from run_fake(FakeRegistry())


@pytest.fixture
def tls_registry(certificate_authority: CertificateAuthority) -> Iterator[FakeRegistry]:
    """A registry of ours over TLS, with a good certificate for localhost."""
    certificate, key = certificate_authority.issue("fake", "DNS:localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    yield from run_fake(FakeRegistry(name="localhost"), context)


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as $DOCKER_CONFIG, so that no test sees or changes the caller's credentials."""
    folder = tmp_path / "docker"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    for name in [name for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "no_proxy"}]:
        monkeypatch.delenv(name)
    return folder
