"""`save` and `load`: our archives in skopeo's eyes, skopeo's in ours, and the archives that must be refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from estiba.config.settings import Settings
from estiba.engine.images import images
from estiba.engine.import_ import import_
from estiba.engine.load import Loaded, load
from estiba.engine.save import save
from estiba.engine.tag import tag
from estiba.errors import DataLoss, EstibaError, InvalidArgument, NotFound
from estiba.store.images import Image, find
from estiba.store.layers import has_layer
from estiba.store.layout import Store

WHEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture
def other(tmp_path: Path, settings: Settings) -> tuple[Store, Settings]:
    """A second, empty store."""
    elsewhere = settings.replace(root=str(tmp_path / "other"))
    return Store.open(elsewhere), elsewhere


@pytest.fixture
def base(store: Store, settings: Settings, alpine_tar: Path) -> Image:
    with open(alpine_tar, "rb") as stream:
        return import_(store, settings, stream, reference="base:1", changes=["CMD /bin/sh"], created=WHEN)


def saved(store: Store, path: Path, *names: str) -> Path:
    with open(path, "wb") as out:
        save(store, names, out)
    return path


def skopeo(*words: str) -> str:
    return subprocess.run(["skopeo", *words], capture_output=True, text=True, check=True).stdout


def lines(loaded: list[Loaded]) -> list[str]:
    return [each.line for each in loaded]


# --- what we write ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["oci-archive:{}:docker.io/library/base:1", "docker-archive:{}:base:1"])
def test_skopeo_reads_ours(store: Store, tmp_path: Path, base: Image, transport: str) -> None:
    source = transport.format(saved(store, tmp_path / "a.tar", "base:1"))
    assert json.loads(skopeo("inspect", source))["Layers"] == base.layers
    assert skopeo("inspect", "--config", "--raw", source).strip().encode() == base.config.raw
    skopeo("copy", "--quiet", source, f"dir:{tmp_path}/copy")  # reads and verifies every blob
    assert (tmp_path / "copy" / base.layers[0].partition(":")[2]).exists()


def test_the_archive_is_a_complete_layout(store: Store, tmp_path: Path, base: Image) -> None:
    tag(store, "base:1", "example.com:5000/second/name:2")
    with tarfile.open(saved(store, tmp_path / "a.tar", "base:1", "example.com:5000/second/name:2")) as archive:
        content = {info.name: archive.extractfile(info).read() for info in archive if info.isfile()}  # type: ignore[union-attr]
    blobs = {name: data for name, data in content.items() if name.startswith("blobs/")}
    for name, data in blobs.items():
        assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]
    index = json.loads(content["index.json"])
    names = [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]]
    assert names == ["docker.io/library/base:1", "example.com:5000/second/name:2"]
    (item,) = json.loads(content["manifest.json"])
    assert item["RepoTags"] == ["base:1", "example.com:5000/second/name:2"]
    assert set(blobs) == {item["Config"], *item["Layers"], *(f"blobs/sha256/{e['digest'][7:]}" for e in index["manifests"])}
    assert json.loads(content["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads(content["repositories"])["base"] == {"1": base.layers[0][7:]}


def test_the_same_images_make_the_same_bytes(store: Store, tmp_path: Path, base: Image) -> None:
    assert saved(store, tmp_path / "a", "base:1").read_bytes() == saved(store, tmp_path / "b", "base:1").read_bytes()


def test_a_repository_means_all_its_tags_and_an_id_none(store: Store, tmp_path: Path, other: tuple[Store, Settings], base: Image) -> None:
    tag(store, "base:1", "base:2")
    assert lines(load(*other, str(saved(store, tmp_path / "a", "base")))) == ["Loaded image: base:1", "Loaded image: base:2"]
    assert lines(load(*other, str(saved(store, tmp_path / "b", base.id)))) == [f"Loaded image ID: {base.id}"]
    with pytest.raises(NotFound):
        saved(store, tmp_path / "c", "base:3")


def test_a_terminal_is_refused(store: Store, base: Image) -> None:
    leader, follower = os.openpty()
    try:
        with open(follower, "wb", buffering=0) as terminal, pytest.raises(InvalidArgument, match="terminal"):
            save(store, ["base:1"], terminal)
    finally:
        os.close(leader)


# --- what we read -----------------------------------------------------------------------------------------------------


def test_round_trip(store: Store, tmp_path: Path, other: tuple[Store, Settings], base: Image) -> None:
    (loaded,) = load(*other, str(saved(store, tmp_path / "a.tar", "base:1")))
    assert (loaded.line, loaded.image.id, loaded.image.layers) == ("Loaded image: base:1", base.id, base.layers)
    assert saved(other[0], tmp_path / "b.tar", "base:1").read_bytes() == (tmp_path / "a.tar").read_bytes()


@pytest.mark.parametrize(
    ("destination", "flags", "path", "line"),
    [
        ("docker-archive:{}/x:some/name:2", [], "x", "Loaded image: some/name:2"),
        ("oci-archive:{}/x:some/name:2", [], "x", "Loaded image: some/name:2"),
        ("oci-archive:{}/x:word", [], "x", "Loaded image: word:latest"),
        ("oci:{}/x:some/name:2", ["--dest-compress-format=zstd"], "x", "Loaded image: some/name:2"),
        ("oci:{}/x:some/name:2", ["--dest-oci-accept-uncompressed-layers"], "x", "Loaded image: some/name:2"),
    ],
)
def test_skopeos_archives(
    store: Store, tmp_path: Path, other: tuple[Store, Settings], base: Image, destination: str, flags: list[str], path: str, line: str
) -> None:
    source = f"docker-archive:{saved(store, tmp_path / 'a.tar', 'base:1')}:base:1"
    skopeo("copy", "--quiet", *flags, source, destination.format(tmp_path))
    (loaded,) = load(*other, str(tmp_path / path))
    assert (loaded.line, loaded.image.layers) == (line, base.layers)
    assert has_layer(other[0], base.layers[0])


def test_gzip_and_pipe(store: Store, tmp_path: Path, other: tuple[Store, Settings], base: Image) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(saved(store, tmp_path / "a.tar", "base:1").read_bytes(), 1))
    with subprocess.Popen(["cat", str(tmp_path / "a.gz")], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        assert lines(load(*other, cast("BinaryIO", cat.stdout))) == ["Loaded image: base:1"]
    assert os.listdir(other[0].ingest) == []


def test_platform(store: Store, tmp_path: Path, other: tuple[Store, Settings], base: Image) -> None:
    archive = str(saved(store, tmp_path / "a.tar", "base:1"))
    with pytest.raises(NotFound, match="no image for linux/s390x"):
        load(*other, archive, platform="linux/s390x")
    assert lines(load(*other, archive, platform=base.platform.text)) == ["Loaded image: base:1"]


# --- archives made by hand ---------------------------------------------------------------------------------------------

LAYER = io.BytesIO()
with tarfile.open(fileobj=LAYER, mode="w") as _file:
    _file.addfile(tarfile.TarInfo("etc"))
DIFF_ID = "sha256:" + hashlib.sha256(LAYER.getvalue()).hexdigest()
CONFIG: dict[str, Any] = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]}}

Files = dict[str, bytes | str | None]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def docker_files(config: dict[str, Any] | None = None, **item: Any) -> Files:
    data = json.dumps(config or CONFIG).encode()
    entry = {"Config": sha(data) + ".json", "RepoTags": ["made:1"], "Layers": ["l/layer.tar"], **item}
    return {sha(data) + ".json": data, "l/layer.tar": LAYER.getvalue(), "manifest.json": json.dumps([entry]).encode()}


def written(path: Path, files: Files) -> str:
    """A tar of files; a string is the target of a symbolic link, None a FIFO."""
    with tarfile.open(path, "w") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
                continue
            info.type = tarfile.FIFOTYPE if content is None else tarfile.SYMTYPE
            info.linkname = content or ""
            file.addfile(info)
    return str(path)


DOCKER_DAMAGE: list[tuple[Files, str]] = [
    (docker_files(Config="../../x"), r"'\.\./\.\./x' lies outside"),
    (docker_files(Layers=["/etc/passwd"]), "'/etc/passwd' lies outside"),
    (docker_files(Layers=["l/gone.tar"]), r"'l/gone\.tar' is missing"),
    (docker_files(Layers=[]), "0 layers, but 1 diff_ids"),
    (docker_files(Layers=["l/layer.tar", "l/layer.tar"]), "2 layers, but 1 diff_ids"),
    (docker_files(RepoTags=["UPPER:1"]), "invalid reference"),
    (docker_files(RepoTags="made:1"), "RepoTags"),
    ({**docker_files(), "l/layer.tar": "../../../etc/passwd"}, r"'l/layer\.tar' is a link"),
    ({**docker_files(), "l/layer.tar": None}, r"'l/layer\.tar' is a device or FIFO"),
    ({**docker_files(), "../evil": b"x"}, r"'\.\./evil' lies outside"),
    ({**docker_files(), "l/layer.tar": LAYER.getvalue() + bytes(512)}, "has the digest|is not the layer"),
    ({**docker_files(), "manifest.json": b"{}"}, "not a list"),
    ({**docker_files(), "manifest.json": b'[{"Config": "a", "Config": "b"}]'}, "duplicate"),
    ({**docker_files(), sha(json.dumps(CONFIG).encode()) + ".json": b"{}"}, "not what its name says"),
    ({"other": b"x"}, "neither manifest.json nor index.json"),
]


@pytest.mark.parametrize(("files", "message"), DOCKER_DAMAGE)
def test_docker_archives_that_are_refused(store: Store, settings: Settings, tmp_path: Path, files: Files, message: str) -> None:
    with pytest.raises(EstibaError, match=message):
        load(store, settings, written(tmp_path / "a.tar", files))
    assert (images(store), os.listdir(store.layers), os.listdir(store.ingest)) == ([], [], [])


def test_the_docker_archive_that_is_not(store: Store, settings: Settings, tmp_path: Path) -> None:
    assert lines(load(store, settings, written(tmp_path / "a.tar", docker_files()))) == ["Loaded image: made:1"]
    nameless = load(store, settings, written(tmp_path / "b.tar", docker_files(RepoTags=None)))
    assert lines(nameless) == [f"Loaded image ID: {nameless[0].image.id}"]


def test_a_shared_layer_as_docker_before_25_wrote_it(store: Store, settings: Settings, tmp_path: Path) -> None:
    """The second image's layer.tar is a link to the first one's."""
    files = docker_files()
    second = json.dumps({**CONFIG, "created": "2020-01-01T00:00:00Z"}).encode()
    entries = json.loads(files["manifest.json"] or b"")
    entries.append({"Config": sha(second) + ".json", "RepoTags": ["made:2"], "Layers": ["m/layer.tar"]})
    files |= {sha(second) + ".json": second, "m/layer.tar": "../l/layer.tar", "manifest.json": json.dumps(entries).encode()}
    assert lines(load(store, settings, written(tmp_path / "a.tar", files))) == ["Loaded image: made:1", "Loaded image: made:2"]


def test_a_compressed_layer_in_a_docker_archive(store: Store, settings: Settings, tmp_path: Path) -> None:
    files = {**docker_files(), "l/layer.tar": gzip.compress(LAYER.getvalue())}
    (loaded,) = load(store, settings, written(tmp_path / "a.tar", files))
    assert loaded.image.manifest.layers[0].digest == DIFF_ID


Layout = dict[str, bytes]


def layout(**changes: Any) -> Layout:
    """The files of a layout with one image; `changes` go into the manifest's layer descriptor."""
    config = json.dumps(CONFIG).encode()
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": DIFF_ID, "size": len(LAYER.getvalue()), **changes}
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{sha(config)}", "size": len(config)},
        "layers": [layer],
    }).encode()  # fmt: skip
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": f"sha256:{sha(manifest)}", "size": len(manifest),
        "annotations": {"org.opencontainers.image.ref.name": "made:1"},
    }  # fmt: skip
    index = {"schemaVersion": 2, "manifests": [entry]}
    return {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode(),
        f"blobs/sha256/{sha(config)}": config, f"blobs/sha256/{sha(manifest)}": manifest,
        f"blobs/sha256/{DIFF_ID[7:]}": LAYER.getvalue(),
    }  # fmt: skip


def put(folder: Path, files: Layout) -> str:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return str(folder)


def blob_replaced(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "blobs/sha256" / DIFF_ID[7:]).write_bytes(content)


def blob_as_fifo(folder: Path) -> None:
    (folder / "blobs/sha256" / DIFF_ID[7:]).unlink()
    os.mkfifo(folder / "blobs/sha256" / DIFF_ID[7:])


def index_as_link(folder: Path) -> None:
    (folder / "index.json").rename(folder / "real.json")
    (folder / "index.json").symlink_to("real.json")


@pytest.mark.parametrize(
    ("files", "change", "message"),
    [
        (layout(), blob_replaced(LAYER.getvalue()[:-512] + b"x" * 512), "not what its name says"),
        (layout(), blob_replaced(LAYER.getvalue() + bytes(512)), "bytes, its descriptor says"),
        (layout(size=1), lambda _: None, "bytes, its descriptor says 1"),
        (layout(), blob_as_fifo, "not a regular file"),
        (layout(), index_as_link, "not a regular file"),
        (layout(), lambda folder: (folder / "blobs/sha256" / DIFF_ID[7:]).unlink(), "is missing"),
        (layout(digest="sha256:../../../etc/passwd"), lambda _: None, "malformed digest"),
        (layout(mediaType="application/x-unknown"), lambda _: None, "unknown media type"),
        (layout(), lambda folder: (folder / "oci-layout").write_bytes(b'{"imageLayoutVersion": "9"}'), "version is '9'"),
        (layout(), lambda folder: (folder / "index.json").write_bytes(b'{"schemaVersion": 2, "manifests": [], "layers": []}'), "ambiguous"),
    ],
)
def test_layouts_that_are_refused(
    store: Store, settings: Settings, tmp_path: Path, files: Layout, change: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "layout"
    put(folder, files)
    change(folder)
    with pytest.raises(EstibaError, match=message):
        load(store, settings, str(folder))
    assert (images(store), os.listdir(store.layers), os.listdir(store.ingest)) == ([], [], [])


def test_the_layout_that_is_not(store: Store, settings: Settings, tmp_path: Path) -> None:
    assert lines(load(store, settings, put(tmp_path / "layout", layout()))) == ["Loaded image: made:1"]


def test_a_damaged_layer_is_refused_also_when_the_store_has_it(store: Store, settings: Settings, tmp_path: Path) -> None:
    load(store, settings, put(tmp_path / "good", layout()))
    put(tmp_path / "bad", layout())
    blob_replaced(bytes(len(LAYER.getvalue())))(tmp_path / "bad")
    with pytest.raises(DataLoss, match="not what its name says"):
        load(store, settings, str(tmp_path / "bad"))


def test_an_index_with_platforms_that_the_layout_lacks(store: Store, settings: Settings, tmp_path: Path) -> None:
    files = layout()
    (entry,) = json.loads(files["index.json"])["manifests"]
    absent = {**entry, "digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "arm64"}}
    inner = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [absent, {**entry, "platform": {"os": "linux", "architecture": "amd64"}}],
    }).encode()  # fmt: skip
    outer = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": f"sha256:{sha(inner)}", "size": len(inner)}
    outer["annotations"] = {"io.containerd.image.name": "docker.io/library/many:1"}
    files |= {f"blobs/sha256/{sha(inner)}": inner, "index.json": json.dumps({"schemaVersion": 2, "manifests": [outer]}).encode()}
    assert lines(load(store, settings, put(tmp_path / "layout", files))) == ["Loaded image: many:1"]
    assert find(store, "many:1").target.digest == f"sha256:{sha(inner)}"
