"""Image manifests and indexes (image-spec, manifest.md and image-index.md; Docker image manifest v2 schema 2).

`parse_manifest` reads both, strictly: one document is one or the other (CVE-2021-41190), it is what the registry said it is,
and it holds only what can be stored: layers that are plain, gzip or zstd tars, at most `LAYERS_MAX` of them.
"""

from __future__ import annotations

from estiba import errors
from estiba.errors import DataLoss, NotFound
from estiba.oci import media_types as mt
from estiba.oci.descriptor import Descriptor, check_media_type
from estiba.oci.platform import Platform, best, matches
from estiba.oci.strict_json import LIMIT, as_dict, dumps, get_dict, get_int, get_list, get_str, get_str_map, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: The kernel's limit on lower directories of one overlay (OVL_MAX_STACK).
LAYERS_MAX = 500
#: An index may point to an index, and that one to a last one.
INDEX_DEPTH_MAX = 3


class Manifest:
    """An image manifest: `config` and `layers` (lowest first) are descriptors; `annotations`; `media_type`; `raw` bytes."""

    __slots__ = ("annotations", "config", "layers", "media_type", "raw")

    def __init__(
        self, media_type: str, config: Descriptor, layers: list[Descriptor], annotations: dict[str, str], raw: bytes
    ) -> None:
        self.media_type = media_type
        self.config = config
        self.layers = layers
        self.annotations = annotations
        self.raw = raw

    @staticmethod
    def build(
        config: Descriptor,
        layers: Sequence[Descriptor],
        media_type: str = mt.OCI_MANIFEST,
        annotations: dict[str, str] | None = None,
    ) -> bytes:
        """The bytes of a new manifest of `media_type` (OCI or Docker v2 schema 2). Equal input gives equal bytes."""
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        if annotations:
            document["annotations"] = annotations
        return dumps(document)


class Index:
    """An image index or manifest list: `manifests` are descriptors; `annotations`; `media_type`; `raw` bytes."""

    __slots__ = ("annotations", "manifests", "media_type", "raw")

    def __init__(self, media_type: str, manifests: list[Descriptor], annotations: dict[str, str], raw: bytes) -> None:
        self.media_type = media_type
        self.manifests = manifests
        self.annotations = annotations
        self.raw = raw

    @staticmethod
    def build(
        manifests: Sequence[Descriptor], media_type: str = mt.OCI_INDEX, annotations: dict[str, str] | None = None
    ) -> bytes:
        """The bytes of a new index."""
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [manifest.to_json() for manifest in manifests],
        }
        if annotations:
            document["annotations"] = annotations
        return dumps(document)

    @property
    def images(self) -> list[Descriptor]:
        """The entries that are images or indexes of them: without attestations, whose platform is unknown/unknown."""
        return [m for m in self.manifests if m.platform is None or m.platform.text != "unknown/unknown"]


def parse_manifest(data: bytes, media_type: str = "", *, what: str = "the manifest") -> Manifest | Index:
    """Reads a manifest or an index.

    Parameters: `data`, as fetched; `media_type`, what the registry's Content-Type or the descriptor that led here says,
    empty when nothing does; `what`, its name in messages. Raises DataLoss for a malformed or ambiguous document,
    NotImplemented for a well-formed one of a kind that is not supported.
    """
    said = media_type.partition(";")[0].strip()
    if len(data) > LIMIT:
        raise DataLoss(f"cannot read {what}: it has {len(data)} bytes, more than the limit of {LIMIT} (4 MiB)")
    if said in mt.SCHEMA1:
        raise _schema1(what)
    document = as_dict(loads(data, what=what), what)
    own = check_media_type(get_str(document, "mediaType", what, ""), what)
    version = get_int(document, "schemaVersion", what)
    if version == 1 or own in mt.SCHEMA1 or "fsLayers" in document:
        raise _schema1(what)
    if version != 2:
        raise errors.NotImplemented(f"cannot use {what}: its schema version is {version}, not 2")
    if own and said and own != said:
        raise DataLoss(f"cannot use {what}: it says its media type is {own}, but it was offered as {said}")
    return _parse(document, own or said, data, what)


def _parse(document: dict[str, object], media_type: str, data: bytes, what: str) -> Manifest | Index:
    is_index, is_manifest = "manifests" in document, "layers" in document or "config" in document
    if is_index and is_manifest:
        raise DataLoss(f"cannot use {what}: ambiguous, it holds manifests and layers in one document")
    if not media_type:
        media_type = mt.OCI_INDEX if is_index else mt.OCI_MANIFEST
    if media_type not in mt.INDEXES and media_type not in mt.MANIFESTS:
        raise errors.NotImplemented(
            f"cannot use {what}: unknown media type {media_type[:200]!r}",
            hint="supported are OCI images and Docker image manifests of version 2, schema 2",
        )
    if (media_type in mt.INDEXES) != is_index:
        kind = "an index without manifests" if media_type in mt.INDEXES else "a manifest without layers"
        raise DataLoss(f"cannot use {what}: its media type is {media_type}, but it is {kind}")
    annotations = get_str_map(document, "annotations", what, {})
    if is_index:
        entries = get_list(document, "manifests", what)
        manifests = [Descriptor.from_json(m, f"entry {n} of {what}") for n, m in enumerate(entries)]
        return Index(media_type, manifests, annotations, data)
    config = Descriptor.from_json(get_dict(document, "config", what), f"the config descriptor of {what}")
    _check_config(document, config, what)
    return Manifest(media_type, config, _layers(document, what), annotations, data)


def _schema1(what: str) -> errors.NotImplemented:
    return errors.NotImplemented(
        f"cannot use {what}: it is a Docker image manifest of schema 1, a format that was given up in 2017",
        hint="push the image again with a current tool, which writes schema 2 or OCI",
    )


def _check_config(document: dict[str, object], config: Descriptor, what: str) -> None:
    if config.media_type in mt.CONFIGS:
        return
    kind = get_str(document, "artifactType", what, "") or config.media_type
    raise errors.NotImplemented(f"cannot use {what}: it is not a container image but an artifact of type {kind[:200]!r}")


def _layers(document: dict[str, object], what: str) -> list[Descriptor]:
    entries = get_list(document, "layers", what)
    if len(entries) > LAYERS_MAX:
        raise DataLoss(
            f"cannot use {what}: it has {len(entries)} layers, the limit is {LAYERS_MAX} (lower directories of an overlay)"
        )
    layers: list[Descriptor] = []
    for number, entry in enumerate(entries):
        layer = Descriptor.from_json(entry, f"layer {number} of {what}")
        _check_layer_type(layer, f"layer {number} of {what}")
        layers.append(layer)
    return layers


def _check_layer_type(layer: Descriptor, what: str) -> None:
    kind = layer.media_type
    if mt.is_encrypted(kind):
        raise errors.NotImplemented(f"cannot use {what}: it is encrypted ({kind})")
    if mt.is_foreign(kind):
        raise errors.NotImplemented(
            f"cannot use {what}: it is a foreign layer ({kind}), which registries do not hold; its URLs are not fetched"
        )
    if kind not in mt.LAYERS:
        raise errors.NotImplemented(f"cannot use {what}: unknown media type {kind!r}")


def check_diff_ids(manifest: Manifest, diff_ids: Sequence[str], *, what: str = "the image") -> None:
    """Refuses an image whose configuration counts other layers than its manifest. Raises DataLoss."""
    if len(diff_ids) != len(manifest.layers):
        raise DataLoss(
            f"cannot use {what}: its manifest has {len(manifest.layers)} layers, its configuration {len(diff_ids)} diff_ids"
        )


def choose_manifest(
    document: Manifest | Index,
    wanted: Platform,
    fetch: Callable[[Descriptor], bytes],
    *,
    what: str = "the image",
) -> Manifest:
    """The image manifest for `wanted`: `document` itself, or what its entries lead to.

    `fetch` returns the verified bytes of an entry. Raises NotFound with the platforms there are, and DataLoss when indexes
    are nested deeper than `INDEX_DEPTH_MAX`.
    """
    for _ in range(INDEX_DEPTH_MAX):
        if isinstance(document, Manifest):
            return document
        entry = best(wanted, document.images)
        if entry is None:
            raise no_platform(wanted, [m.platform for m in document.images if m.platform], what)
        document = parse_manifest(fetch(entry), entry.media_type, what=f"the manifest of {what} for {wanted.text}")
    if isinstance(document, Manifest):
        return document
    raise DataLoss(f"cannot use {what}: indexes within indexes, the nesting limit is {INDEX_DEPTH_MAX}")


def no_platform(wanted: Platform, offered: Sequence[Platform], what: str) -> NotFound:
    """The error of an image that is not there for `wanted`; lists what is `offered`."""
    listed = ", ".join(sorted({platform.text for platform in offered})) or "none that has a name"
    close = next((p.text for p in offered if matches(p, wanted) or p.os == wanted.os), "")
    return NotFound(
        f"cannot use {what}: there is none for {wanted.text}; there is: {listed}",
        hint=f"choose one with --platform, for example --platform {close}" if close else None,
    )
