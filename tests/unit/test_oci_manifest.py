"""Manifests and indexes: rows 1 to 14 of the bad inputs, and what is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from estiba import errors
from estiba.errors import DataLoss, EstibaError, NotFound
from estiba.oci import media_types as mt
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import Digest, sha256_digest
from estiba.oci.manifest import Index, Manifest, check_diff_ids, choose_manifest, parse_manifest
from estiba.oci.platform import parse_platform

D = sha256_digest(b"blob")


def descriptor(media_type: str = mt.OCI_LAYER_GZIP, **more: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": D, "size": 7, **more}


def manifest(**more: object) -> dict[str, object]:
    return {
        "schemaVersion": 2, "mediaType": mt.OCI_MANIFEST, "config": descriptor(mt.OCI_CONFIG), "layers": [descriptor()], **more,
    }  # fmt: skip


def index(*entries: dict[str, object], **more: object) -> dict[str, object]:
    return {"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": list(entries), **more}


def parse(document: object, media_type: str = "") -> Manifest | Index:
    return parse_manifest(json.dumps(document).encode(), media_type)


def test_oci_manifest() -> None:
    parsed = parse(manifest(annotations={"a": "b"}), mt.OCI_MANIFEST + "; charset=utf-8")
    assert isinstance(parsed, Manifest)
    assert parsed.config.media_type == mt.OCI_CONFIG
    assert [layer.digest for layer in parsed.layers] == [D]
    assert parsed.annotations == {"a": "b"}


def test_docker_manifest_and_list() -> None:
    parsed = parse(
        {
            "schemaVersion": 2,
            "mediaType": mt.DOCKER_MANIFEST,
            "config": descriptor(mt.DOCKER_CONFIG),
            "layers": [descriptor(mt.DOCKER_LAYER_GZIP)],
        },
        mt.DOCKER_MANIFEST,
    )
    assert isinstance(parsed, Manifest)
    entry = descriptor(mt.DOCKER_MANIFEST, platform={"os": "linux", "architecture": "arm", "variant": "v7"})
    listed = parse(index(entry, mediaType=mt.DOCKER_LIST), mt.DOCKER_LIST)
    assert isinstance(listed, Index)
    platform = listed.manifests[0].platform
    assert platform is not None
    assert platform.text == "linux/arm/v7"


def test_without_media_types_the_shape_decides() -> None:
    assert isinstance(parse({k: v for k, v in manifest().items() if k != "mediaType"}), Manifest)
    assert isinstance(parse({"schemaVersion": 2, "manifests": []}), Index)


def test_no_layers_is_a_manifest() -> None:
    parsed = parse(manifest(layers=[]))
    assert isinstance(parsed, Manifest)
    assert parsed.layers == []


def test_attestations_are_not_images() -> None:
    entries = [descriptor(mt.OCI_MANIFEST, platform={"os": o, "architecture": a}) for o, a in (("linux", "amd64"), ("unknown", "unknown"))]
    parsed = parse(index(*entries))
    assert isinstance(parsed, Index)
    assert len(parsed.manifests) == 2
    assert len(parsed.images) == 1


REFUSED: list[tuple[str, Any, str, type[EstibaError], str]] = [
    ("two in one", manifest(manifests=[]), "", DataLoss, "ambiguous"),
    ("config in index", index(config=descriptor(mt.OCI_CONFIG)), "", DataLoss, "ambiguous"),
    ("content type", manifest(), mt.DOCKER_MANIFEST, DataLoss, mt.OCI_MANIFEST + ", but it was offered as " + mt.DOCKER_MANIFEST),
    ("index as manifest", index(mediaType=mt.OCI_MANIFEST), "", DataLoss, "a manifest without layers"),
    ("manifest as index", manifest(mediaType=mt.OCI_INDEX), "", DataLoss, "an index without manifests"),
    ("many layers", manifest(layers=[descriptor()] * 10_000), "", DataLoss, "10000 layers, the limit is 500"),
    ("501 layers", manifest(layers=[descriptor()] * 501), "", DataLoss, "the limit is 500"),
    ("unknown type", manifest(mediaType="application/x"), "", errors.NotImplemented, "unknown media type 'application/x'"),
    ("html", manifest(mediaType=None), "text/html", errors.NotImplemented, "unknown media type 'text/html'"),
    ("unknown layer", manifest(layers=[descriptor("application/x-zip")]), "", errors.NotImplemented, "layer 0 of the manifest: unknown media type 'application/x-zip'"),
    ("encrypted", manifest(layers=[descriptor(), descriptor(mt.OCI_LAYER_GZIP + "+encrypted")]), "", errors.NotImplemented, "layer 1 of the manifest: it is encrypted"),
    ("foreign", manifest(layers=[descriptor(mt.DOCKER_FOREIGN_LAYER, urls=["https://x"])]), "", errors.NotImplemented, "foreign layer"),
    ("nondistributable", manifest(layers=[descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")]), "", errors.NotImplemented, "foreign layer"),
    ("artifact", manifest(config=descriptor("application/vnd.cncf.helm.config.v1+json")), "", errors.NotImplemented, "artifact of type 'application/vnd.cncf.helm"),
    ("empty artifact", manifest(config=descriptor(mt.OCI_EMPTY), artifactType="application/x-y"), "", errors.NotImplemented, "artifact of type 'application/x-y'"),
    ("schema 1", {"schemaVersion": 1, "fsLayers": [], "name": "x"}, "", errors.NotImplemented, "schema 1"),
    ("schema 1 signed", {"schemaVersion": 1}, mt.DOCKER_SCHEMA1_SIGNED, errors.NotImplemented, "schema 1"),
    ("schema 1 in disguise", manifest(fsLayers=[]), "", errors.NotImplemented, "schema 1"),
    ("schema 3", manifest(schemaVersion=3), "", errors.NotImplemented, "schema version is 3"),
    ("schema true", manifest(schemaVersion=True), "", DataLoss, "not an integer"),
    ("schema text", manifest(schemaVersion="2"), "", DataLoss, "not an integer"),
    ("no schema", {"manifests": []}, "", DataLoss, "'schemaVersion' is missing"),
    ("array", [manifest()], "", DataLoss, "an array, not an object"),
    ("null", None, "", DataLoss, "null, not an object"),
    ("no config", {"schemaVersion": 2, "layers": []}, "", DataLoss, "'config' is missing"),
    ("layers null", manifest(layers=None), "", DataLoss, "'layers' is missing"),
    ("layers object", manifest(layers={}), "", DataLoss, "not an array"),
    ("layer a string", manifest(layers=["x"]), "", DataLoss, "not an object"),
    ("size true", manifest(layers=[descriptor(size=True)]), "", DataLoss, "not an integer"),
    ("size float", manifest(layers=[descriptor(size=1e3)]), "", DataLoss, "not an integer"),
    ("size negative", manifest(layers=[descriptor(size=-1)]), "", DataLoss, "not an integer"),
    ("size 2^63", manifest(layers=[descriptor(size=2**63)]), "", DataLoss, "not an integer"),
    ("digest short", manifest(layers=[descriptor(digest="sha256:" + "a" * 63)]), "", DataLoss, "malformed digest"),
    ("digest upper", manifest(layers=[descriptor(digest="sha256:" + "A" * 64)]), "", DataLoss, "malformed digest"),
    ("digest newline", manifest(layers=[descriptor(digest="sha256:" + "a" * 64 + "\n")]), "", DataLoss, "malformed digest"),
    ("digest path", manifest(config=descriptor(mt.OCI_CONFIG, digest="sha256:../../etc/passwd")), "", DataLoss, "malformed digest"),
    ("type with newline", manifest(layers=[descriptor("a/b\n")]), "", DataLoss, "not a media type"),
    ("annotations", manifest(annotations={"a": 1}), "", DataLoss, "object of strings"),
    ("urls", manifest(layers=[descriptor(urls="x")]), "", DataLoss, "array of strings"),
    ("platform", index(descriptor(mt.OCI_MANIFEST, platform=[])), "", DataLoss, "not an object"),
    ("platform os", index(descriptor(mt.OCI_MANIFEST, platform={"os": 1})), "", DataLoss, "not a string"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "media_type", "error", "why"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(document: Any, media_type: str, error: type[EstibaError], why: str) -> None:
    with pytest.raises(error) as caught:
        parse(document, media_type)
    assert why in caught.value.message
    assert "\n" not in caught.value.message


def test_five_mebibytes_are_refused() -> None:
    with pytest.raises(DataLoss, match="4 MiB"):
        parse_manifest(b" " * (5 * 1024 * 1024), mt.OCI_MANIFEST)


def test_500_layers_are_accepted() -> None:
    parsed = parse(manifest(layers=[descriptor()] * 500))
    assert isinstance(parsed, Manifest)
    check_diff_ids(parsed, ["x"] * 500)
    with pytest.raises(DataLoss, match="500 layers, its configuration 499 diff_ids"):
        check_diff_ids(parsed, ["x"] * 499)


def test_built_manifests_read_back() -> None:
    config = Descriptor(mt.OCI_CONFIG, D, 5)
    layer = Descriptor(mt.OCI_LAYER, D, 9, annotations={"a": "b"}, urls=["https://x"], artifact_type="a/b")
    data = Manifest.build(config, [layer, layer], mt.OCI_MANIFEST, {"k": "v"})
    parsed = parse_manifest(data, mt.OCI_MANIFEST)
    assert isinstance(parsed, Manifest)
    assert (parsed.config, parsed.layers, parsed.annotations, parsed.raw) == (config, [layer, layer], {"k": "v"}, data)
    entry = Descriptor(mt.OCI_MANIFEST, D, 9, platform=parse_platform("linux/arm64"))
    parsed_index = parse_manifest(Index.build([entry], annotations={"k": "v"}), mt.OCI_INDEX)
    assert isinstance(parsed_index, Index)
    assert parsed_index.manifests == [entry]


class Registry:
    """Documents by digest."""

    def __init__(self) -> None:
        self.documents: dict[Digest, bytes] = {}
        self.fetched = 0

    def add(self, document: dict[str, object], platform: str | None) -> dict[str, object]:
        data = json.dumps(document).encode()
        digest = sha256_digest(data)
        self.documents[digest] = data
        parts = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False)) if platform else None
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(data), "platform": parts}

    def fetch(self, entry: Descriptor) -> bytes:
        self.fetched += 1
        return self.documents[entry.digest]


def test_choose_by_platform() -> None:
    registry = Registry()
    amd = registry.add(manifest(annotations={"for": "amd64"}), "linux/amd64")
    arm = registry.add(manifest(annotations={"for": "arm64"}), "linux/arm64/v8")
    top = parse(index(amd, arm))
    chosen = choose_manifest(top, parse_platform("linux/aarch64"), registry.fetch)
    assert chosen.annotations == {"for": "arm64"}


def test_no_entry_for_the_platform() -> None:
    registry = Registry()
    top = parse(index(registry.add(manifest(), "linux/arm64"), registry.add(manifest(), "linux/s390x")))
    with pytest.raises(NotFound) as caught:
        choose_manifest(top, parse_platform("linux/amd64"), registry.fetch)
    assert "linux/arm64/v8, linux/s390x" in caught.value.message
    assert "--platform" in str(caught.value.hint)


@pytest.mark.parametrize(("levels", "accepted"), [(1, True), (2, True), (3, True), (4, False), (100, False)])
def test_nesting(levels: int, accepted: bool) -> None:
    registry = Registry()
    document = manifest()
    for _ in range(levels):
        document = index(registry.add(document, "linux/amd64"))
    if accepted:
        assert choose_manifest(parse(document), parse_platform("linux/amd64"), registry.fetch).layers
    else:
        with pytest.raises(DataLoss, match="nesting limit is 3"):
            choose_manifest(parse(document), parse_platform("linux/amd64"), registry.fetch)
        assert registry.fetched <= 3


def test_an_index_that_points_to_itself() -> None:
    """No digest can; a fetch that does not check could, and must end."""
    data = json.dumps(index(descriptor(mt.OCI_INDEX, platform={"os": "linux", "architecture": "amd64"}))).encode()
    with pytest.raises(DataLoss, match="nesting limit"):
        choose_manifest(parse_manifest(data), parse_platform("linux/amd64"), lambda _: data)
