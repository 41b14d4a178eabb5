"""Make the image of the pull benchmark and push it: 4 layers, about 20,000 files, 130 MB; and one that shares 80 % of it.

    python bench/make_image.py 127.0.0.1:5000/bench/first:1 127.0.0.1:5000/bench/second:1

The bytes are the same on every machine. The second image has its files in other layers (so no DiffID is equal), and a fifth of
them with other content: what an engine shares between the two it shares by file.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from estiba.config.settings import load
from estiba.oci import media_types
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import Digest
from estiba.oci.manifest import Manifest
from estiba.oci.reference import parse_reference
from estiba.oci.strict_json import dumps
from estiba.registry.client import Registry
from estiba.registry.credentials import Credentials

FILES = 20_000
BYTES = 130_000_000
LAYERS = 4
_POOL = 16 << 20
_MTIME = 1_700_000_000


@dataclass(frozen=True)
class Layer:
    """A layer: the digest of its tar, and its gzip as it is pushed."""

    diff_id: str
    blob: bytes


def pool() -> bytes:
    """Text-like bytes that gzip halves about three times, and noise, in stretches of 4 KiB."""
    numbers = random.Random(20_000)
    words = [numbers.randbytes(numbers.randint(2, 9)).hex().encode() for _ in range(4000)]
    stretches = []
    for index in range(_POOL // 4096):
        if index % 8 == 0:
            stretches.append(numbers.randbytes(4096))
        else:
            stretches.append(b" ".join(numbers.choices(words, k=500))[:4096].ljust(4096))
    return b"".join(stretches)


def files(count: int, size: int, changed: float = 0.0) -> Iterator[tuple[str, int, int]]:
    """(path, offset into the pool, size) of every file; `changed` is the share of files with content of another place."""
    numbers = random.Random(1)
    for index in range(count):
        # Sizes as in a distribution: many small, few large; the mean is size / count.
        length = int(numbers.paretovariate(1.3) * size / count * 0.26) + 1
        length = min(length, 1 << 20)
        offset = numbers.randrange(_POOL - length)
        if numbers.random() < changed:
            offset = (offset + 1) % (_POOL - length)
        yield f"usr/share/part{index % 97:02d}/group{index % 13:02d}/file-{index:05d}", offset, length


def make_layers(content: bytes, entries: Sequence[tuple[str, int, int]], layers: int, shift: int) -> Iterator[Layer]:
    """Deal the files out to the layers; `shift` turns who gets which."""
    for number in range(layers):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            folders: set[str] = set()
            for index, (path, offset, length) in enumerate(entries):
                if (index // 50 + shift) % layers != number:
                    continue
                add_folders(archive, path, folders)
                member = tarfile.TarInfo(path)
                member.size, member.mtime, member.mode = length, _MTIME, 0o644
                archive.addfile(member, io.BytesIO(content[offset : offset + length]))
        data = buffer.getvalue()
        yield Layer("sha256:" + hashlib.sha256(data).hexdigest(), gzip.compress(data, 6, mtime=0))


def add_folders(archive: tarfile.TarFile, path: str, done: set[str]) -> None:
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        folder = "/".join(parts[:depth])
        if folder not in done:
            done.add(folder)
            member = tarfile.TarInfo(folder)
            member.type, member.mtime, member.mode = tarfile.DIRTYPE, _MTIME, 0o755
            archive.addfile(member)


def push(name: str, layers: Sequence[Layer], media_type: str = media_types.DOCKER_MANIFEST) -> Digest:
    """Push an image made of `layers`; returns its manifest's digest."""
    reference = parse_reference(name)
    docker = media_type == media_types.DOCKER_MANIFEST
    layer_type = media_types.DOCKER_LAYER_GZIP if docker else media_types.OCI_LAYER_GZIP
    config = dumps({
        "architecture": "amd64",
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": "2023-11-14T22:13:20Z", "created_by": "bench"} for _ in layers],
    })
    with Registry(reference.registry, load(), Credentials().get) as registry:
        descriptors = [upload(registry, reference.repository, layer_type, layer.blob) for layer in layers]
        config_type = media_types.DOCKER_CONFIG if docker else media_types.OCI_CONFIG
        head = upload(registry, reference.repository, config_type, config)
        manifest = Manifest.build(head, descriptors, media_type)
        return registry.put_manifest(reference.repository, reference.tag or "latest", media_type, manifest)


def upload(registry: Registry, repository: str, media_type: str, data: bytes) -> Descriptor:
    digest = Digest("sha256:" + hashlib.sha256(data).hexdigest())
    if not registry.has_blob(repository, digest):
        registry.upload_blob(repository, digest, len(data), io.BytesIO(data))
    return Descriptor(media_type, digest, len(data))


def main() -> None:
    """Make and push both images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("first", help="reference of the first image")
    parser.add_argument("second", nargs="?", help="reference of the image that shares 80 % of the files")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--bytes", type=int, default=BYTES)
    parser.add_argument("--layers", type=int, default=LAYERS)
    chosen = parser.parse_args()
    content = pool()
    images = [(chosen.first, 0.0, 0)] + ([(chosen.second, 0.2, 1)] if chosen.second else [])
    for name, changed, shift in images:
        entries = list(files(chosen.files, chosen.bytes, changed))
        layers = list(make_layers(content, entries, chosen.layers, shift))
        digest = push(name, layers)
        total = sum(length for _, _, length in entries)
        packed = sum(len(layer.blob) for layer in layers)
        print(f"{name}@{digest}: {len(entries)} files, {total} bytes, {packed} bytes compressed in {len(layers)} layers")


if __name__ == "__main__":
    main()
