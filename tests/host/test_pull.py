"""`pull` from registries: Debian's, and one of ours that counts and misbehaves."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba import errors
from estiba.engine.pull import pull, pull_all
from estiba.oci import media_types as mt
from estiba.oci.descriptor import Descriptor
from estiba.store import blobs, images, layers, references
from tests.support.registries import FakeRegistry, Handler, TestImage, digest_of, make_image, make_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.config.settings import Settings
    from estiba.store.layout import Store
    from tests.support.registries import DockerRegistry

FILES = [{f"layer{n}/file{m}": os.urandom(200) * (m + 1) for m in range(40)} for n in range(3)]


@pytest.fixture(autouse=True)
def isolated(docker_config: Path) -> None:
    """No credentials and proxies of the caller."""


@pytest.fixture
def image() -> TestImage:
    return make_image(FILES)


class Heard:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.started: defaultdict[str, list[str]] = defaultdict(list)
        self.finished: dict[str, str] = {}
        self.notes: list[str] = []

    def start(self, piece: str, label: str, total: int | None = None, /) -> None:
        self.started[piece].append(label)

    def advance(self, piece: str, n: int, /) -> None: ...

    def done(self, piece: str, label: str, /) -> None:
        self.finished[piece] = label

    def note(self, text: str, /) -> None:
        self.notes.append(text)


def nothing_stored(store: Store) -> bool:
    """No name, no layer, and nothing unverified; what is left is whole blobs that a collection takes."""
    return (
        list(references.all(store)) == []
        and os.listdir(store.layers) == []
        and os.listdir(store.ingest) == []
        and all(blobs.read_blob(store, digest, verify=True) for digest in blobs.all_blobs(store))
    )


def contents(store: Store, image: TestImage) -> list[dict[str, bytes]]:
    """The files of the unpacked layers."""
    found = []
    for diff_id in image.diff_ids:
        root = Path(store.layers, layers.layer_path_name(diff_id))
        found.append({str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()})
    return found


def layout_of(folder: Path, image: TestImage) -> Path:
    """An OCI image layout for skopeo."""
    (folder / "blobs/sha256").mkdir(parents=True)
    for digest, data in {**image.blobs, image.digest: image.manifest}.items():
        (folder / "blobs/sha256" / digest[7:]).write_bytes(data)
    entry = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}
    entry["annotations"] = {"org.opencontainers.image.ref.name": "x"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def skopeo(*words: str) -> str:
    return subprocess.run(["skopeo", "--insecure-policy", *words], check=True, capture_output=True, text=True).stdout


# --- what is pulled ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("docker", [False, True])
def test_what_skopeo_put_there(
    plain_registry: DockerRegistry, store: Store, settings: Settings, tmp_path: Path, image: TestImage, docker: bool
) -> None:
    layout = layout_of(tmp_path / "layout", image)
    name = f"{plain_registry.host}/pull/skopeo-{str(docker).lower()}:1"
    words = ["--format", "v2s2"] if docker else []
    skopeo("copy", "--dest-tls-verify=false", *words, f"oci:{layout}:x", f"docker://{name}")
    found = pull(store, settings, name)
    raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{name}").encode()
    assert found.manifest_digest == digest_of(raw)
    assert found.manifest.media_type == (mt.DOCKER_MANIFEST if docker else mt.OCI_MANIFEST)
    assert found.layers == image.diff_ids
    assert contents(store, image) == FILES


def test_by_digest_and_by_tag_are_one(fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage) -> None:
    fake_registry.add("app", "1", image)
    by_digest = pull(store, settings, f"{fake_registry.host}/app@{image.digest}")
    before = len(fake_registry.requests)
    by_tag = pull(store, settings, f"{fake_registry.host}/app:1")
    assert str(by_digest.id) == str(by_tag.id) == image.config.digest
    assert not any("/blobs/" in seen.path for seen in fake_registry.requests[before:])


def test_an_image_that_has_not_changed_costs_one_head(
    fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage
) -> None:
    fake_registry.add("app", "1", image)
    name = f"{fake_registry.host}/app:1"
    heard = Heard()
    pull(store, settings, name, progress=heard)
    assert heard.finished["Status"] == f"Downloaded newer image for {name}"
    before = len(fake_registry.requests)
    pull(store, settings, name, progress=heard)
    assert [seen.method for seen in fake_registry.requests[before:]] == ["HEAD"]
    assert heard.finished["Status"] == f"Image is up to date for {name}"
    assert heard.finished["Digest"] == image.digest


def test_a_tag_that_moved(fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage) -> None:
    other = make_image([FILES[0], {"new": b"layer"}])
    fake_registry.add("app", "1", image)
    name = f"{fake_registry.host}/app:1"
    pull(store, settings, name)
    fake_registry.add("app", "1", other)
    before = len(fake_registry.requests)
    assert pull(store, settings, name).manifest_digest == other.digest
    fetched = [seen.path for seen in fake_registry.requests[before:] if "/blobs/" in seen.path]
    assert len(fetched) == 2  # the new layer and the configuration; the layer that both have is there
    assert str(images.find(store, name).id) == other.config.digest


def test_all_tags(fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage) -> None:
    for tag in ("1", "2", "latest"):
        fake_registry.add("app", tag, image)
    fake_registry.page = 2
    found = pull_all(store, settings, f"{fake_registry.host}/app")
    assert [one.reference.tag for one in found] == ["1", "2", "latest"]
    with pytest.raises(errors.InvalidArgument, match="names a tag"):
        pull_all(store, settings, f"{fake_registry.host}/app:1")


@pytest.mark.parametrize("kind", ["plain", "zstd"])
def test_other_compressions(fake_registry: FakeRegistry, store: Store, settings: Settings, kind: str) -> None:
    import zstandard

    image = make_image(FILES, compress=False)
    if kind == "zstd":
        image = repacked(image, zstandard.ZstdCompressor().compress, mt.OCI_LAYER_ZSTD)
    fake_registry.add("app", "1", image)
    pull(store, settings, f"{fake_registry.host}/app:1")
    assert contents(store, image) == FILES


def repacked(image: TestImage, pack: Callable[[bytes], bytes], media_type: str) -> TestImage:
    """The image with its (plain) layers packed in another way."""
    descriptors: list[Descriptor] = []
    packed: dict[str, bytes] = {image.config.digest: image.blobs[image.config.digest]}
    for layer in image.layers:
        data = pack(image.blobs[layer.digest])
        packed[digest_of(data)] = data
        descriptors.append(Descriptor(media_type, digest_of(data), len(data)))
    manifest = json.loads(image.manifest)
    manifest["layers"] = [descriptor.to_json() for descriptor in descriptors]
    return TestImage(packed, json.dumps(manifest).encode(), image.media_type, image.diff_ids, descriptors, image.config)


def test_blobs_are_kept_when_so_set(fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage) -> None:
    fake_registry.add("app", "1", image)
    name = f"{fake_registry.host}/app:1"
    pull(store, settings, name)
    assert not any(blobs.has_blob(store, layer.digest) for layer in image.layers)
    for diff_id in image.diff_ids:
        layers.remove_layer(store, diff_id)
    pull(store, settings.replace(keep_blobs=True), name)
    assert all(blobs.read_blob(store, layer.digest, verify=True) for layer in image.layers)
    for diff_id in image.diff_ids:
        layers.remove_layer(store, diff_id)
    before = len(fake_registry.requests)
    pull(store, settings, name)
    assert not any("/blobs/" in seen.path for seen in fake_registry.requests[before:])


def test_where_a_layer_came_from_is_remembered(
    fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage
) -> None:
    fake_registry.add("team/app", "1", image)
    pull(store, settings, f"{fake_registry.host}/team/app:1")
    for diff_id, layer in zip(image.diff_ids, image.layers, strict=True):
        (blob,) = layers.layer_info(store, diff_id).blobs
        assert (blob.digest, blob.size, blob.source) == (layer.digest, layer.size, f"{fake_registry.host}/team/app")


# --- platforms ---------------------------------------------------------------------------------------------------------------


def indexed(registry: FakeRegistry) -> dict[str, TestImage]:
    made = {name: make_image([{"arch": name.encode()}], architecture=name) for name in ("amd64", "arm64", "riscv64")}
    for image in made.values():
        registry.add("app", image.digest, image)
    index = make_index(*[(image.manifest, image.media_type, name) for name, image in made.items()])
    registry.add_manifest("app", "1", index, mt.OCI_INDEX)
    return made


def test_an_index(fake_registry: FakeRegistry, store: Store, settings: Settings) -> None:
    made = indexed(fake_registry)
    name = f"{fake_registry.host}/app:1"
    assert pull(store, settings, name, platform="linux/arm64").manifest_digest == made["arm64"].digest
    assert pull(store, settings, name, platform="linux/amd64").manifest_digest == made["amd64"].digest
    target = references.get(store, images.find(store, name).reference)
    assert target is not None
    assert target.digest == digest_of(fake_registry.manifests["app"]["1"][0])
    assert {entry.platform.architecture for entry in target.images} == {"amd64", "arm64"}


def test_a_platform_that_an_index_lacks(fake_registry: FakeRegistry, store: Store, settings: Settings) -> None:
    indexed(fake_registry)
    with pytest.raises(errors.NotFound, match=r"none for linux/s390x; there is: linux/amd64, linux/arm64/v8, linux/riscv64") as caught:
        pull(store, settings, f"{fake_registry.host}/app:1", platform="linux/s390x")
    assert "--platform" in str(caught.value.hint)
    assert nothing_stored(store)


def test_a_manifest_for_another_platform(fake_registry: FakeRegistry, store: Store, settings: Settings) -> None:
    fake_registry.add("app", "1", make_image([{"a": b"1"}], architecture="riscv64"))
    name = f"{fake_registry.host}/app:1"
    with pytest.raises(errors.NotFound, match="there is: linux/riscv64"):
        pull(store, settings, name, platform="linux/amd64")
    assert nothing_stored(store)
    heard = Heard()
    pull(store, settings, name, progress=heard)
    assert "is for linux/riscv64" in heard.notes[0]


# --- what is refused (bad-inputs rows 2-14) --------------------------------------------------------------------------------------


def edited(image: TestImage, **changes: object) -> bytes:
    return json.dumps({**json.loads(image.manifest), **changes}).encode()


def entry_of(data: bytes, **changes: object) -> dict[str, object]:
    entry = {"mediaType": mt.OCI_INDEX, "digest": digest_of(data), "size": len(data)}
    return entry | {"platform": {"os": "linux", "architecture": "amd64"}} | changes


def bad_manifests(image: TestImage) -> dict[str, tuple[bytes, str, str]]:
    """name -> (bytes, media type, a word of the message)."""
    good = json.loads(image.manifest)
    layer = good["layers"][0]

    def with_layer(**changes: object) -> bytes:
        return edited(image, layers=[{**layer, **changes}, *good["layers"][1:]])

    return {
        "both": (edited(image, manifests=[]), mt.OCI_MANIFEST, "ambiguous"),
        "type": (image.manifest, mt.DOCKER_MANIFEST, mt.DOCKER_MANIFEST),
        "unknown type": (b"{}", "application/json", "schemaVersion"),
        "schema 1": (b'{"schemaVersion":1,"fsLayers":[]}', mt.DOCKER_SCHEMA1_SIGNED, "schema 1"),
        "layers": (edited(image, layers=good["layers"][:2]), mt.OCI_MANIFEST, "2 layers"),
        "many": (edited(image, layers=[layer] * 501), mt.OCI_MANIFEST, "limit is 500"),
        "size": (with_layer(size=layer["size"] + 1), mt.OCI_MANIFEST, "size mismatch"),
        "digest": (with_layer(digest="sha256:" + "A" * 64), mt.OCI_MANIFEST, "malformed digest"),
        "path": (with_layer(digest="sha256:../../../etc/passwd"), mt.OCI_MANIFEST, "malformed digest"),
        "encrypted": (with_layer(mediaType=mt.OCI_LAYER_GZIP + "+encrypted"), mt.OCI_MANIFEST, "encrypted"),
        "foreign": (with_layer(mediaType=mt.DOCKER_FOREIGN_LAYER, urls=["http://x/"]), mt.OCI_MANIFEST, "foreign"),
        "unknown": (with_layer(mediaType="application/x-layer"), mt.OCI_MANIFEST, "application/x-layer"),
        "boolean": (with_layer(size=True), mt.OCI_MANIFEST, "size"),
        "huge": (with_layer(size=2**63), mt.OCI_MANIFEST, "size"),
        "trailing": (image.manifest + b"{}", mt.OCI_MANIFEST, "JSON"),
        "BOM": (b"\xef\xbb\xbf" + image.manifest, mt.OCI_MANIFEST, "JSON"),
        "twice": (image.manifest[:-1] + b',"config":{}}', mt.OCI_MANIFEST, "config"),
        "deep": (b"[" * 1000, mt.OCI_MANIFEST, "JSON"),
    }


@pytest.mark.parametrize("case", sorted(bad_manifests(make_image(FILES))))
def test_a_bad_manifest(fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage, case: str) -> None:
    data, media_type, word = bad_manifests(image)[case]
    fake_registry.add("app", "good", image)
    fake_registry.add_manifest("app", "1", data, media_type)
    with pytest.raises(errors.EstibaError) as caught:
        pull(store, settings, f"{fake_registry.host}/app:1")
    assert word in caught.value.message
    assert "\n" not in caught.value.message
    assert list(references.all(store)) == []
    assert os.listdir(store.ingest) == []


def test_indexes_without_end(fake_registry: FakeRegistry, store: Store, settings: Settings) -> None:
    data = json.dumps({"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": []}).encode()
    for _ in range(100):
        data = json.dumps({"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": [entry_of(data)]}).encode()
        fake_registry.add_manifest("app", "1", data, mt.OCI_INDEX)
    with pytest.raises(errors.DataLoss, match="nesting limit is 3"):
        pull(store, settings, f"{fake_registry.host}/app:1")
    assert len(fake_registry.requests) == 4  # the outermost, and three within


@pytest.mark.parametrize("changes", [{"size": 5}, {"mediaType": mt.DOCKER_MANIFEST}, {"size": 5 << 20}])
def test_an_index_that_is_wrong_about_its_entry(
    fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage, changes: dict[str, object]
) -> None:
    fake_registry.add("app", "good", image)
    entry = entry_of(image.manifest, **({"mediaType": mt.OCI_MANIFEST} | changes))
    data = json.dumps({"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": [entry]}).encode()
    fake_registry.add_manifest("app", "1", data, mt.OCI_INDEX)
    with pytest.raises(errors.DataLoss):
        pull(store, settings, f"{fake_registry.host}/app:1")
    assert nothing_stored(store)


def test_a_layer_that_is_not_its_diff_id(fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage) -> None:
    config = json.loads(image.blobs[image.config.digest])
    config["rootfs"]["diff_ids"][1] = digest_of(b"something else")
    data = json.dumps(config).encode()
    fake_registry.add("app", "good", image)
    fake_registry.blobs["app"][digest_of(data)] = data
    head = {"mediaType": mt.OCI_CONFIG, "digest": digest_of(data), "size": len(data)}
    fake_registry.add_manifest("app", "1", edited(image, config=head), mt.OCI_MANIFEST)
    with pytest.raises(errors.DataLoss, match="its content has the digest"):
        pull(store, settings, f"{fake_registry.host}/app:1")
    assert list(references.all(store)) == []
    assert os.listdir(store.ingest) == []


def test_a_layer_that_is_damaged_inside(fake_registry: FakeRegistry, store: Store, settings: Settings) -> None:
    """The blob is what its digest says, and no gzip."""
    image = repacked(make_image([{"a": b"1"}], compress=False), lambda tar: gzip.compress(tar)[:-9], mt.OCI_LAYER_GZIP)
    fake_registry.add("app", "1", image)
    with pytest.raises(errors.DataLoss):
        pull(store, settings, f"{fake_registry.host}/app:1")
    assert nothing_stored(store) or os.listdir(store.layers) == []


# --- worker processes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boot", "cause"),
    [("import os; os._exit(3)", "ended with status 3"), ("import os; os.read(0, 9); os.kill(os.getpid(), 9)", "ended with status -9")],
)
def test_a_worker_that_dies(
    fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage, monkeypatch: pytest.MonkeyPatch, boot: str, cause: str
) -> None:
    fake_registry.add("app", "1", image)
    monkeypatch.setattr("estiba.store.layers.workers._BOOT", boot)
    with pytest.raises(errors.FailedPrecondition, match=cause):
        pull(store, settings, f"{fake_registry.host}/app:1")
    assert nothing_stored(store)


def test_no_interpreter_for_workers(
    fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_registry.add("app", "1", image)
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    with pytest.raises(errors.FailedPrecondition, match="/nowhere/python3: No such file"):
        pull(store, settings, f"{fake_registry.host}/app:1")
    assert nothing_stored(store)


# --- a registry that dies at any point (H04) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", range(0, 100, 3))
def test_a_registry_that_dies_at_any_point_of_a_pull(
    fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage, point: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to every request is cut once, after `point` percent of it; a request in seven never gets one."""
    monkeypatch.setattr("estiba.registry.transport.Limits.backoff", 0.01)
    fake_registry.add("app", "1", image)
    cut: set[str] = set()

    def fault(handler: Handler) -> bool:
        if handler.path in cut:
            return False
        cut.add(handler.path)
        if len(cut) % 7 == point % 7:
            handler.reset()
            return True
        data = image.blobs.get(handler.path.rpartition("/")[2], image.manifest)
        handler.send_response_only(200)
        handler.send_header("Content-Type", mt.OCI_MANIFEST)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) * point // 100])
        handler.close_connection = True
        return True

    fake_registry.fault = fault
    pull(store, settings, f"{fake_registry.host}/app:1")
    assert contents(store, image) == FILES
    for digest in image.blobs:
        assert fake_registry.count("GET", digest) == 2


def test_a_blob_that_is_gone(fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage) -> None:
    fake_registry.add("app", "1", image)
    del fake_registry.blobs["app"][image.layers[2].digest]
    with pytest.raises(errors.NotFound, match=f"cannot fetch blob {image.layers[2].digest[:19]} of app"):
        pull(store, settings, f"{fake_registry.host}/app:1")
    assert list(references.all(store)) == []
    assert os.listdir(store.ingest) == []


# --- several at once -----------------------------------------------------------------------------------------------------------------

PULL = """
import sys
from estiba.config.settings import load
from estiba.engine.pull import pull
from estiba.store.layout import Store
settings = load()
sys.stdin.read(1)
print(pull(Store.open(settings), settings, sys.argv[1]).id)
"""


def test_processes_at_once_fetch_each_blob_once(
    fake_registry: FakeRegistry, environment: dict[str, str], store: Store, image: TestImage
) -> None:
    fake_registry.add("app", "1", image)
    name = f"{fake_registry.host}/app:1"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PULL, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    answers = [process.communicate(timeout=120) for process in processes]
    assert [(process.returncode, out.strip()) for process, (out, _) in zip(processes, answers, strict=True)] == [
        (0, image.config.digest)
    ] * 8, answers
    assert {digest: fake_registry.count("GET", digest) for digest in image.blobs} == dict.fromkeys(image.blobs, 1)
    assert not [name for name in os.listdir(store.locks) if name.startswith("blob-")]
