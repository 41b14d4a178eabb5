"""Content descriptors (image-spec, descriptor.md)."""

from __future__ import annotations

from estiba.errors import DataLoss, InvalidArgument
from estiba.oci.digest import Digest, parse_digest
from estiba.oci.platform import Platform
from estiba.oci.strict_json import get_dict, get_int, get_str, get_str_list, get_str_map

#: A media type is at most this long and of these characters (RFC 6838, section 4.2).
_MEDIA_TYPE_MAX = 255
_MEDIA_TYPE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&-^_.+/")


class Descriptor:
    """What a document says of another piece of content. Immutable by convention.

    `media_type`; `digest`; `size` in bytes; `platform` in an index, else None; `annotations`; `urls` (never fetched);
    `artifact_type`, empty where there is none.
    """

    __slots__ = ("annotations", "artifact_type", "digest", "media_type", "platform", "size", "urls")

    def __init__(
        self,
        media_type: str,
        digest: Digest,
        size: int,
        *,
        platform: Platform | None = None,
        annotations: dict[str, str] | None = None,
        urls: list[str] | None = None,
        artifact_type: str = "",
    ) -> None:
        self.media_type = media_type
        self.digest = digest
        self.size = size
        self.platform = platform
        self.annotations = annotations or {}
        self.urls = urls or []
        self.artifact_type = artifact_type

    @classmethod
    def from_json(cls, obj: object, what: str) -> Descriptor:
        """Checks and converts a parsed descriptor; `what` names it in messages. Raises DataLoss."""
        digest_text = get_str(obj, "digest", what)
        try:
            digest = parse_digest(digest_text)
        except InvalidArgument as error:
            raise DataLoss(f"cannot read {what}: {error.message.partition(': ')[2]} ({digest_text[:150]!r})") from None
        return cls(
            check_media_type(get_str(obj, "mediaType", what), what),
            digest,
            get_int(obj, "size", what),
            platform=_platform(obj, what),
            annotations=get_str_map(obj, "annotations", what, {}),
            urls=get_str_list(obj, "urls", what, []),
            artifact_type=get_str(obj, "artifactType", what, ""),
        )

    def to_json(self) -> dict[str, object]:
        """The descriptor as a JSON object, members in the order of the specification."""
        result: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.urls:
            result["urls"] = self.urls
        if self.annotations:
            result["annotations"] = self.annotations
        if self.artifact_type:
            result["artifactType"] = self.artifact_type
        if self.platform is not None:
            platform = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                platform["variant"] = self.platform.variant
            result["platform"] = platform
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descriptor) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Descriptor({self.media_type!r}, {self.digest!r}, {self.size})"


def check_media_type(media_type: str, what: str) -> str:
    """`media_type` when it has the form of one. Raises DataLoss."""
    if len(media_type) > _MEDIA_TYPE_MAX or not _MEDIA_TYPE.issuperset(media_type):
        raise DataLoss(f"cannot read {what}: {media_type[:100]!r} is not a media type")
    return media_type


def _platform(obj: object, what: str) -> Platform | None:
    raw = get_dict(obj, "platform", what, {})
    if not raw:
        return None
    return Platform(get_str(raw, "os", what, ""), get_str(raw, "architecture", what, ""), get_str(raw, "variant", what, ""))
