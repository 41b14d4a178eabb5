"""Digests and the identities made of them (image-spec, descriptor.md, "Digests").

A digest is checked by `parse_digest` before it becomes a path, a URL or a log line; the types below keep apart what is
equal in form: the digest of a blob, of an uncompressed layer, of an image's configuration. On the start path.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NewType

    Digest = NewType("Digest", str)
    #: The digest of a layer's uncompressed tar (image-spec, config.md, "Layer DiffID").
    DiffID = NewType("DiffID", str)
    #: The digest of the DiffIDs stacked so far (image-spec, config.md, "Layer ChainID").
    ChainID = NewType("ChainID", str)
    #: The digest of an image's configuration (image-spec, config.md, "ImageID").
    ImageID = NewType("ImageID", str)
    #: 64 hexadecimal digits, drawn at random.
    ContainerID = NewType("ContainerID", str)
else:
    Digest = DiffID = ChainID = ImageID = ContainerID = str

#: Registered algorithms (descriptor.md) and the length of their hexadecimal part.
ALGORITHMS = {"sha256": 64, "sha512": 128}
_HEX = frozenset("0123456789abcdef")


def is_hex(text: str) -> bool:
    """Whether `text` is one or more lower-case hexadecimal digits (ASCII)."""
    return bool(text) and _HEX.issuperset(text)


def parse_digest(text: str) -> Digest:
    """Checks `text` against ``sha256:<64 hex>`` or ``sha512:<128 hex>``, lower case, nothing around it.

    Raises InvalidArgument.
    """
    algorithm, colon, encoded = text.partition(":")
    length = ALGORITHMS.get(algorithm)
    if not colon or length is None:
        raise InvalidArgument(
            f"cannot use digest {text[:200]!r}: malformed digest, the algorithm is not sha256 or sha512",
            hint="a digest reads sha256: and 64 hexadecimal digits",
        )
    if len(encoded) != length or not _HEX.issuperset(encoded):
        raise InvalidArgument(
            f"cannot use digest {text[:200]!r}: malformed digest, {algorithm} takes {length} lower-case hexadecimal digits",
        )
    return Digest(text)


def parse_diff_id(text: str) -> DiffID:
    """`parse_digest` for the digest of an uncompressed layer."""
    return DiffID(parse_digest(text))


def hex_of(digest: Digest | DiffID | ChainID | ImageID) -> str:
    """The hexadecimal part of a digest that was parsed."""
    return digest.partition(":")[2]


def algorithm_of(digest: Digest | DiffID | ChainID | ImageID) -> str:
    """The algorithm of a digest that was parsed: ``sha256`` or ``sha512``."""
    return digest.partition(":")[0]


def sha256_digest(data: bytes) -> Digest:
    """The digest of `data`."""
    import hashlib

    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_matches(digest: Digest, data: bytes) -> bool:
    """Whether `data` is what `digest` says, in the digest's own algorithm."""
    import hashlib

    return hashlib.new(algorithm_of(digest), data).hexdigest() == hex_of(digest)


def chain_ids(diff_ids: Iterable[DiffID]) -> list[ChainID]:
    """The ChainID of every layer of a stack, lowest first (image-spec, config.md, "Layer ChainID")."""
    chain: list[ChainID] = []
    for diff_id in diff_ids:
        above = f"{chain[-1]} {diff_id}".encode() if chain else b""
        chain.append(ChainID(sha256_digest(above)) if chain else ChainID(diff_id))
    return chain
