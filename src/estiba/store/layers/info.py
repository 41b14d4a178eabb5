"""The file `layer.json` of a layer: what is known of it beside its content."""

from __future__ import annotations

from estiba.errors import DataLoss, NotFound
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID, hex_of, parse_digest
from estiba.oci.strict_json import dumps, get_bool, get_dict, get_int, get_list, get_str, loads
from estiba.store.publish import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.oci.digest import Digest
    from estiba.store.layout import Store

_MAX_BLOBS = 64


class LayerBlob:
    """A compressed form of the layer that has been seen: `digest`, `size`, `media_type`, and `source` (`host/repository`, or empty)."""

    __slots__ = ("digest", "media_type", "size", "source")

    def __init__(self, digest: Digest, size: int, media_type: str, source: str) -> None:
        self.digest = digest
        self.size = size
        self.media_type = media_type
        self.source = source

    @classmethod
    def from_json(cls, value: object, what: str) -> LayerBlob:
        """Checks and converts a parsed object; `what` names the document. Raises DataLoss, InvalidArgument (the digest)."""
        digest = parse_digest(get_str(value, "digest", what))
        return cls(digest, get_int(value, "size", what), get_str(value, "mediaType", what), get_str(value, "source", what))

    def to_json(self) -> dict[str, object]:
        """The members of layer.json."""
        return {"digest": self.digest, "size": self.size, "mediaType": self.media_type, "source": self.source}


class LayerInfo:
    """What is known of an unpacked layer.

    `size` bytes of its files, `files` their number, `shared_bytes` of them in files that the store had already when it was unpacked,
    `tar_size` bytes of its tar; `blobs` its compressed forms; `not_made` what the tar holds but the tree does not (kind -> number and first
    path); `squashed` whether all owners became 0:0; `highest_uid` and `highest_gid` with the path that has it; `kept` the members whose
    content is in `kept/`.
    """

    __slots__ = (
        "blobs", "diff_id", "files", "highest_gid", "highest_uid", "kept", "not_made", "shared_bytes", "size", "squashed", "tar_size",
    )  # fmt: skip

    def __init__(self, diff_id: DiffID) -> None:
        self.diff_id = diff_id
        self.size = 0
        self.files = 0
        self.shared_bytes = 0
        self.tar_size = 0
        self.blobs: list[LayerBlob] = []
        self.not_made: dict[str, tuple[int, str]] = {}
        self.squashed = False
        self.highest_uid: tuple[int, str] = (0, "")
        self.highest_gid: tuple[int, str] = (0, "")
        self.kept: frozenset[int] = frozenset()

    def to_json(self) -> bytes:
        """The content of layer.json."""
        return dumps({
            "diffID": self.diff_id,
            "size": self.size,
            "files": self.files,
            "sharedBytes": self.shared_bytes,
            "tarSize": self.tar_size,
            "blobs": [blob.to_json() for blob in self.blobs],
            "notMade": {kind: list(value) for kind, value in self.not_made.items()},
            "squashed": self.squashed,
            "highestUID": list(self.highest_uid),
            "highestGID": list(self.highest_gid),
            "kept": sorted(self.kept),
        }) + b"\n"  # fmt: skip


def parse_info(data: bytes, diff_id: DiffID, what: str) -> LayerInfo:
    """Reads layer.json. Raises DataLoss when it is damaged or another layer's."""
    document = loads(data, what=what)
    if get_str(document, "diffID", what) != diff_id:
        raise DataLoss(f"cannot read {what}: it is of another layer")
    info = LayerInfo(diff_id)
    info.size = get_int(document, "size", what)
    info.files = get_int(document, "files", what)
    info.shared_bytes = get_int(document, "sharedBytes", what)
    info.tar_size = get_int(document, "tarSize", what)
    info.blobs = [LayerBlob.from_json(blob, what) for blob in get_list(document, "blobs", what)]
    for kind, value in get_dict(document, "notMade", what).items():
        info.not_made[kind] = _pair(value, what)
    info.squashed = get_bool(document, "squashed", what)
    info.highest_uid = _pair(get_list(document, "highestUID", what), what)
    info.highest_gid = _pair(get_list(document, "highestGID", what), what)
    kept = [member for member in get_list(document, "kept", what) if type(member) is int]
    info.kept = frozenset(kept)
    return info


def _pair(value: object, what: str) -> tuple[int, str]:
    if not (isinstance(value, list) and len(value) == 2 and type(value[0]) is int and isinstance(value[1], str)):
        raise DataLoss(f"cannot read {what}: not a number and a path")
    return value[0], value[1]


def layer_folder(store: Store, diff_id: DiffID) -> str:
    """Where a layer is or would be."""
    return f"{store.layers}/{hex_of(diff_id)}"


def layer_path_name(diff_id: DiffID) -> str:
    """The tree's path beneath the layers folder, for the plan."""
    return f"{hex_of(diff_id)}/fs"


def short(diff_id: str) -> str:
    """A digest for messages."""
    return diff_id[:19]


def layer_info(store: Store, diff_id: DiffID) -> LayerInfo:
    """Reads what is known of a layer. Raises NotFound when it is not in the store, DataLoss when layer.json is damaged."""
    path = layer_folder(store, diff_id) + "/layer.json"
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 22)
    except FileNotFoundError:
        raise NotFound(f"cannot read layer {short(diff_id)}: it is not in the store") from None
    return parse_info(data, diff_id, f"layer {short(diff_id)}")


def add_blob(store: Store, diff_id: DiffID, descriptor: Descriptor, source: str = "") -> None:
    """Remembers a compressed form of a layer and where it was seen (`host/repository`), the newest first. Raises NotFound, DataLoss."""
    with store.lock("layer", hex_of(diff_id)):
        info = layer_info(store, diff_id)
        same = [b for b in info.blobs if b.digest == descriptor.digest and b.source == source]
        if same and info.blobs[0] is same[0]:
            return
        new = LayerBlob(descriptor.digest, descriptor.size, descriptor.media_type, source)
        info.blobs = [new, *(b for b in info.blobs if b not in same)][:_MAX_BLOBS]
        write_file(store, layer_folder(store, diff_id) + "/layer.json", info.to_json())
