"""References: one small JSON file per name in ``images/refs``; a name among ten thousand costs one open. On the start path.

    {"reference": "docker.io/library/alpine:3.20", "mediaType": ..., "digest": ..., "size": ...,
     "images": [{"platform": "linux/amd64", "manifest": "sha256:...", "config": "sha256:..."}]}

`digest` is what the name stands for at the registry, an index or a manifest; `images` are those of it that the store holds.
The file name is the canonical reference with ``/`` written as ``+``, which no reference holds.
"""

from __future__ import annotations

import os
import stat

from estiba.errors import DataLoss, InvalidArgument
from estiba.oci.digest import hex_of, parse_digest
from estiba.oci.platform import Platform
from estiba.oci.reference import Reference, dangling, parse_canonical
from estiba.oci.strict_json import as_dict, dumps, get_int, get_list, get_str, loads
from estiba.store.blobs import read_all
from estiba.store.publish import Ingest, failure, remove_file, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from estiba.oci.digest import Digest, ImageID
    from estiba.store.layout import Store

#: A reference's file is smaller; what is larger is not ours.
_LIMIT = 256 * 1024
#: NAME_MAX of Linux file systems is 255 bytes; longer names are cut and made unique by a digest.
_NAME_MAX = 200


class TargetImage:
    """One image of a reference: `platform`, `manifest` digest, `config` digest (the image id)."""

    __slots__ = ("config", "manifest", "platform")

    def __init__(self, platform: Platform, manifest: Digest, config: ImageID) -> None:
        self.platform = platform
        self.manifest = manifest
        self.config = config


class Target:
    """What a reference stands for: `media_type`, `digest` and `size` of index or manifest; `images` that are here."""

    __slots__ = ("digest", "images", "media_type", "size")

    def __init__(self, media_type: str, digest: Digest, size: int, images: list[TargetImage]) -> None:
        self.media_type = media_type
        self.digest = digest
        self.size = size
        self.images = images


def get(store: Store, reference: Reference) -> Target | None:
    """What `reference` stands for, None when the store does not know it. Raises DataLoss."""
    path = _path(store, reference)
    data = _read(path)
    if data is None:
        return None
    found, target = _parse(data, path)
    return target if found == reference.canonical else None


def put(store: Store, reference: Reference, target: Target) -> None:
    """Lets `reference` stand for `target`, and index.json say so. An image that it stood for before keeps a dangling reference.

    Images of other platforms are kept when the index is the same. On a full disk both stay as they were: the new index.json is
    written before the reference is published. Raises ResourceExhausted, PermissionDenied.
    """
    index = store.images + "/index.json"
    with store.lock("index", what="the store's index.json"), store.lock("reference", what="the store's references"):
        changes = _changes(store, reference, target)
        with Ingest(store, index) as file:
            file.write(index_document(store, changes))
            for name, new in changes:
                put_exactly(store, name, new)
            file.publish(index, durable=False)


def _changes(store: Store, reference: Reference, target: Target) -> list[tuple[Reference, Target]]:
    """What has to be written so that `reference` stands for `target`, in this order."""
    before = get(store, reference)
    if before is None:
        return [(reference, target)]
    if before.digest == target.digest:
        images = _merged(before.images, target.images)
        return [(reference, Target(target.media_type, target.digest, target.size, images))]
    return [(dangling(before.digest), before), (reference, target)]


def replace(store: Store, reference: Reference, target: Target) -> bool:
    """Lets `reference` stand for exactly `target`, provided that it stands for the same index or manifest; returns whether it does.

    For taking one platform from a name: `put` would keep the images that `target` leaves out.
    """
    with store.lock("reference", what="the store's references"):
        before = get(store, reference)
        if before is None or before.digest != target.digest:
            return False
        put_exactly(store, reference, target)
        return True


def put_exactly(store: Store, reference: Reference, target: Target) -> None:
    """Lets `reference` stand for `target`, whatever it stood for before."""
    write_file(store, _path(store, reference), encode(reference, target))


def keep_dangling(store: Store, target: Target) -> None:
    """Gives what a name stood for a reference without a name, so that it stays until it is removed."""
    put_exactly(store, dangling(target.digest), target)


def delete(store: Store, reference: Reference) -> bool:
    """Forgets a reference; returns whether it was there."""
    with store.lock("reference", what="the store's references"):
        return remove_file(_path(store, reference))


def all(  # noqa: A001 - references.all reads as it should
    store: Store, *, mentioning: bytes = b"", damaged: Callable[[str, DataLoss], None] | None = None
) -> Iterator[tuple[Reference, Target]]:
    """Every reference, in the order of their file names.

    `mentioning` leaves out files without these bytes before they are parsed. A file that cannot be read is left out, so that it
    hides no other, and reported to `damaged` with its name; `estiba system check` finds it.
    """
    for name in names(store):
        try:
            found = read_named(store, name, mentioning)
        except DataLoss as error:
            if damaged is not None:
                damaged(name, error)
            continue
        if found is not None:
            yield found


def read_named(store: Store, name: str, mentioning: bytes = b"") -> tuple[Reference, Target] | None:
    """The reference in the file `name`; None when it went meanwhile or does not hold the bytes `mentioning`. Raises DataLoss."""
    path = f"{store.refs}/{name}"
    data = _read(path)
    if data is None or mentioning not in data:
        return None
    text, target = _parse(data, path)
    reference = _reference(text, path)
    if file_name(reference) != name:
        raise DataLoss(f"cannot read reference file {path}: it holds the reference {text[:200]!r}")
    return reference, target


def names(store: Store) -> list[str]:
    """The file names of all references, sorted."""
    try:
        return sorted(os.listdir(store.refs))
    except OSError as error:
        raise failure(error, f"list {store.refs}") from None


def file_name(reference: Reference) -> str:
    """The name of a reference's file: short names as they are, long ones cut and with a digest of the whole."""
    name = reference.canonical.replace("/", "+")
    if len(name) <= _NAME_MAX:
        return name
    from estiba.oci.digest import sha256_digest

    return f"{name[: _NAME_MAX - 65]}+{hex_of(sha256_digest(name.encode()))}"


def write_index(store: Store) -> None:
    """Derives index.json from the references, under the index lock.

    It is not made durable: it can be derived again.
    """
    with store.lock("index", what="the store's index.json"):
        write_file(store, store.images + "/index.json", index_document(store), durable=False)


def index_document(store: Store, changes: list[tuple[Reference, Target]] | None = None) -> bytes:
    """What index.json has to be (image-spec, image-layout.md, "index.json file"), once `changes` are written."""
    from estiba.oci.media_types import OCI_INDEX

    targets = dict(all(store))
    targets.update(changes or [])
    entries: list[object] = []
    for reference, target in sorted(targets.items(), key=lambda item: file_name(item[0])):
        entry: dict[str, object] = {"mediaType": target.media_type, "digest": target.digest, "size": target.size}
        if not reference.is_dangling:
            # The first is what OCI tools select by, the second what containerd's ctr and Docker read.
            canonical = reference.canonical
            entry["annotations"] = {"org.opencontainers.image.ref.name": canonical, "io.containerd.image.name": canonical}
        entries.append(entry)
    return dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}) + b"\n"


def is_index_right(store: Store) -> bool:
    """Whether index.json is what the references say."""
    expected = index_document(store)
    try:
        with open(store.images + "/index.json", "rb") as file:
            return file.read(len(expected) + 1) == expected
    except OSError:
        return False


def _path(store: Store, reference: Reference) -> str:
    return f"{store.refs}/{file_name(reference)}"


def _read(path: str) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataLoss(f"cannot read reference file {path}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DataLoss(f"cannot read reference file {path}: it is not a regular file")
        return read_all(descriptor, _LIMIT + 1)
    finally:
        os.close(descriptor)


def _parse(data: bytes, path: str) -> tuple[str, Target]:
    what = f"reference file {path}"
    document = as_dict(loads(data, what=what, limit=_LIMIT), what)
    try:
        images = [_parse_image(as_dict(item, what), what) for item in get_list(document, "images", what)]
        digest = parse_digest(get_str(document, "digest", what))
    except InvalidArgument as error:
        raise DataLoss(f"cannot read {what}: {error.message}") from None
    target = Target(get_str(document, "mediaType", what), digest, get_int(document, "size", what), images)
    return get_str(document, "reference", what), target


def _parse_image(item: dict[str, object], what: str) -> TargetImage:
    os_name, architecture, variant = (get_str(item, "platform", what) + "///").split("/")[:3]
    config = parse_digest(get_str(item, "config", what))
    return TargetImage(Platform(os_name, architecture, variant), parse_digest(get_str(item, "manifest", what)), _image_id(config))


def _image_id(config: Digest) -> ImageID:
    return config  # type: ignore[return-value]  # the digest of a configuration is the image's id


def _reference(text: str, path: str) -> Reference:
    try:
        return parse_canonical(text)
    except InvalidArgument as error:
        raise DataLoss(f"cannot read reference file {path}: {error.message}") from None


def encode(reference: Reference, target: Target) -> bytes:
    """The content of a reference's file."""
    images = [{"platform": i.platform.text, "manifest": i.manifest, "config": i.config} for i in target.images]
    document = {
        "reference": reference.canonical,
        "mediaType": target.media_type,
        "digest": target.digest,
        "size": target.size,
        "images": images,
    }
    return dumps(document) + b"\n"


def _merged(before: list[TargetImage], after: list[TargetImage]) -> list[TargetImage]:
    fresh = {image.manifest for image in after}
    return after + [image for image in before if image.manifest not in fresh]
