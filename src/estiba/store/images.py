"""Images: a manifest, a configuration and layers that are all in the store, by name or by id. On the start path."""

from __future__ import annotations

from estiba.errors import Conflict, DataLoss, InvalidArgument, NotFound, ResourceExhausted
from estiba.oci.digest import ImageID, hex_of, is_hex, sha256_digest
from estiba.oci.image_config import ImageConfig, parse_image_config
from estiba.oci.platform import Platform, host_platform, matches
from estiba.oci.reference import Reference, dangling, parse_reference
from estiba.store import references
from estiba.store.blobs import put_known_blob, read_blob
from estiba.store.references import Target, TargetImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.oci.digest import DiffID, Digest
    from estiba.oci.manifest import Manifest
    from estiba.store.layout import Store


class Image:
    """An image of the store.

    `id`, the digest of its configuration; `manifest_digest`; `reference`, the name by which it was found; `target`, what that
    name stands for; `platform`. `config`, `layers` (DiffIDs, lowest first) and `manifest` are read when they are asked for first.
    """

    __slots__ = ("_config", "_manifest", "id", "manifest_digest", "platform", "reference", "store", "target")

    def __init__(self, store: Store, reference: Reference, target: Target, entry: TargetImage, config: ImageConfig | None = None) -> None:
        self.store = store
        self.reference = reference
        self.target = target
        self.id = entry.config
        self.manifest_digest = entry.manifest
        self.platform = entry.platform
        self._config = config
        self._manifest: Manifest | None = None

    @property
    def config(self) -> ImageConfig:
        """The configuration. Raises NotFound, DataLoss."""
        if self._config is None:
            data = read_blob(self.store, _as_digest(self.id))
            self._config = parse_image_config(data, what=f"the configuration of image {short_id(self.id)}")
        return self._config

    @property
    def layers(self) -> list[DiffID]:
        """The layers, lowest first."""
        return self.config.diff_ids

    @property
    def manifest(self) -> Manifest:
        """The manifest. Raises NotFound, DataLoss."""
        if self._manifest is None:
            self._manifest = read_manifest(self.store, self.manifest_digest)
        return self._manifest


def read_manifest(store: Store, digest: Digest) -> Manifest:
    """The manifest of an image, not of an index. Raises NotFound, DataLoss."""
    from estiba.oci.manifest import Manifest, parse_manifest

    found = parse_manifest(read_blob(store, digest), what=f"manifest {digest}")
    if not isinstance(found, Manifest):
        raise DataLoss(f"cannot use manifest {digest}: it is an index")
    return found


def short_id(image_id: ImageID | Digest) -> str:
    """The first twelve digits of an id, as lists show it."""
    return hex_of(image_id)[:12]


def find(store: Store, name: str, platform: Platform | None = None) -> Image:
    """The image that `name` means: a reference, ``repository@digest``, an id or the beginning of one.

    With `platform`, the best match for it among the images of the name; without, this machine's, or the only one there is.
    Raises NotFound, Conflict when the beginning of an id fits several images, InvalidArgument.
    """
    return _by_name(store, name, platform) or _by_id(store, name, platform)


def _by_name(store: Store, name: str, platform: Platform | None) -> Image | None:
    """The image of a reference; None when `name` can only be an id, and when there is no such name but might be such an id."""
    id_text = name.removeprefix("sha256:")
    if name != id_text or (len(id_text) == 64 and is_hex(id_text)):
        return None
    try:
        reference = parse_reference(name, store.default_registry)
    except InvalidArgument:
        if is_hex(name):
            return None
        raise
    target = references.get(store, reference)
    if target is None and reference.digest is not None:
        reference, target = _by_digest(store, reference) or (reference, None)
    if target is not None:
        return _choose(store, reference, target, platform)
    if is_hex(name):
        return None
    shown = name[:200]
    raise NotFound(f"cannot find image {shown!r}: the store does not hold it", hint=f"get it with: estiba pull {shown}")


def _choose(store: Store, reference: Reference, target: Target, platform: Platform | None) -> Image:
    wanted = platform or host_platform()
    fitting = [entry for entry in target.images if matches(wanted, entry.platform)]
    # A variant as near as possible to the wanted one; v10 does not exist, so the text orders them.
    fitting.sort(key=lambda entry: entry.platform.variant, reverse=True)
    if fitting:
        return Image(store, reference, target, fitting[0])
    if platform is None and target.images:
        return Image(store, reference, target, target.images[0])
    listed = ", ".join(sorted(entry.platform.text for entry in target.images)) or "none"
    raise NotFound(
        f"cannot find image {reference.familiar!r} for {wanted.text}: the store holds it for: {listed}",
        hint=f"get it with: estiba pull --platform {wanted.text} {reference.familiar}",
    )


def _by_digest(store: Store, wanted: Reference) -> tuple[Reference, Target] | None:
    """A tag of the same repository that stands for the digest (``alpine@sha256:...`` after ``pull alpine``)."""
    prefix = wanted.name.replace("/", "+")[:100]
    for name in references.names(store):
        if name.startswith(prefix):
            reference, target = references.read_named(store, name) or (wanted, None)
            if target is None or reference.name != wanted.name:
                continue
            if wanted.digest in (target.digest, *(entry.manifest for entry in target.images)):
                return reference, target
    return None


def _by_id(store: Store, name: str, platform: Platform | None) -> Image:
    prefix = name.removeprefix("sha256:")
    if not is_hex(prefix) or len(prefix) > 64:
        raise InvalidArgument(f"cannot find image {name[:200]!r}: an image id has up to 64 hexadecimal digits")
    found: dict[ImageID, Image] = {}
    for reference, target in references.all(store, mentioning=prefix.encode()):
        for entry in target.images:
            by_manifest = len(prefix) == 64 and prefix in (hex_of(target.digest), hex_of(entry.manifest))
            fits = hex_of(entry.config).startswith(prefix) or by_manifest
            if fits and (platform is None or matches(platform, entry.platform)):
                known = found.get(entry.config)
                if known is None or known.reference.is_dangling:
                    found[entry.config] = Image(store, reference, target, entry)
    if not found:
        raise NotFound(f"cannot find image {name[:200]!r}: no image of the store has this id")
    if len(found) > 1 and len(prefix) < 64:
        listed = ", ".join(f"{short_id(image.id)} ({image.reference.familiar})" for image in list(found.values())[:10])
        raise Conflict(f"cannot find image {name!r}: the id is ambiguous, it fits {listed}", hint="give more digits")
    images = list(found.values())
    host = host_platform()
    return next((image for image in images if matches(host, image.platform)), images[0])


def list_images(store: Store) -> list[Image]:
    """Every image once per name and platform, by name; a dangling one only when it has no name."""
    named: list[Image] = []
    nameless: list[Image] = []
    for reference, target in references.all(store):
        images = [Image(store, reference, target, entry) for entry in target.images]
        (nameless if reference.is_dangling else named).extend(images)
    known = {image.id for image in named}
    for image in nameless:
        if image.id not in known:
            known.add(image.id)
            named.append(image)
    return named


def names_of(store: Store, image_id: ImageID) -> list[Reference]:
    """The references that lead to an image, dangling ones included."""
    found = references.all(store, mentioning=image_id.encode())
    return [reference for reference, target in found if any(entry.config == image_id for entry in target.images)]


def add(
    store: Store,
    manifest: bytes,
    media_type: str,
    config: bytes,
    reference: Reference | None,
    *,
    index: bytes | None = None,
    index_media_type: str = "",
) -> Image:
    """Makes an image of blobs whose layers are in the store already, and lets `reference` stand for it.

    Parameters: the fetched bytes of `manifest` (of `media_type`) and `config`; `reference`, None for an image without a name;
    `index`, the index through which the manifest was found, if any. Whoever stores the layers first holds `Store.using` until
    this returns. Raises DataLoss when the parts do not fit together, ResourceExhausted, PermissionDenied.
    """
    from estiba.oci.manifest import Manifest, check_diff_ids, parse_manifest

    parsed = parse_manifest(manifest, media_type)
    if not isinstance(parsed, Manifest):
        raise InvalidArgument("cannot add image: an index was given as its manifest")
    image_config = parse_image_config(config)
    check_diff_ids(parsed, image_config.diff_ids)
    manifest_digest, config_digest = _digest_like(manifest), parsed.config.digest
    entry = TargetImage(image_config.platform, manifest_digest, ImageID(config_digest))
    target = Target(parsed.media_type, manifest_digest, len(manifest), [entry])
    with store.using():
        put_known_blob(store, config_digest, config)
        put_known_blob(store, manifest_digest, manifest)
        if index is not None:
            target = Target(index_media_type, _digest_like(index), len(index), [entry])
            put_known_blob(store, target.digest, index)
        name = reference or dangling(manifest_digest)
        references.put(store, name, target)
    return Image(store, name, target, entry, image_config)


def tag(store: Store, image: Image, reference: Reference) -> None:
    """Lets a further name stand for what the image's own name stands for."""
    with store.using():
        references.put(store, reference, image.target)


class Removed:
    """What `remove` did: names `untagged`, image ids `deleted` (their blobs and layers go with the next collection)."""

    __slots__ = ("deleted", "untagged")

    def __init__(self, untagged: list[Reference], deleted: list[ImageID]) -> None:
        self.untagged = untagged
        self.deleted = deleted


def remove(store: Store, name: str, *, force: bool = False) -> Removed:
    """Removes a name, and the images with their last one, as ``docker rmi``.

    By id, all names of the image go; several are a Conflict without `force`. An image that a container stands on is a Conflict
    without `force`; with it the names go and the image stays, dangling. Raises NotFound, Conflict.
    """
    from estiba.store.roots import containers

    image = _by_name(store, name, None)
    by_id = image is None
    image = image or _by_id(store, name, None)
    going = [r for r in names_of(store, image.id) if not r.is_dangling] if by_id else [image.reference]
    if len(going) > 1 and not force:
        listed = ", ".join(reference.familiar for reference in going[:10])
        raise Conflict(
            f"cannot remove image {short_id(image.id)}: it has several names: {listed}",
            hint="remove the names one by one, or use --force",
        )
    lost = [entry.config for entry in image.target.images if not _names_left(store, entry.config, going)]
    user = next((state for state in containers(store) if state.image in lost), None)
    if user is not None and not force:
        raise Conflict(
            f"cannot remove image {name[:200]!r}: container {user.id[:12]} stands on it",
            hint="'estiba system prune' removes containers that have ended; --force takes the name alone",
        )
    with store.using():
        if user is not None:
            references.keep_dangling(store, image.target)
            lost = []
        untagged = [reference for reference in going if references.delete(store, reference)]
        for image_id in lost:
            for reference in names_of(store, image_id):
                references.delete(store, reference)
    try:
        references.write_index(store)
    except ResourceExhausted:
        # Removal must work on a full disk: the collection that follows frees space and writes index.json.
        return Removed(untagged, lost)
    return Removed(untagged, lost)


def _names_left(store: Store, image_id: ImageID, going: list[Reference]) -> bool:
    return any(not reference.is_dangling and reference not in going for reference in names_of(store, image_id))


def _digest_like(data: bytes) -> Digest:
    return sha256_digest(data)


def _as_digest(image_id: ImageID) -> Digest:
    return image_id  # type: ignore[return-value]  # an image's id is its configuration's digest
