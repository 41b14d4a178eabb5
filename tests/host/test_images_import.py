"""`import`: a real root file system, each compression, from file and pipe; what is refused leaves nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from estiba.config.settings import Settings
from estiba.engine.images import images
from estiba.engine.import_ import import_
from estiba.errors import DataLoss, EstibaError, InvalidArgument, ResourceExhausted
from estiba.store.images import Image
from estiba.store.layers import has_layer, open_tar
from estiba.store.layout import Store

WHEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def import_file(store: Store, settings: Settings, path: Path, reference: str | None = "base:1", **options: object) -> Image:
    with open(path, "rb") as stream:
        return import_(store, settings, stream, reference=reference, created=WHEN, **options)  # type: ignore[arg-type]


def small_tar(name: str = "etc/motd", content: bytes = b"hello\n") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as file:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        file.addfile(info, io.BytesIO(content))
    return target.getvalue()


def nothing_is_left(store: Store) -> bool:
    return images(store, all=True) == [] and os.listdir(store.layers) == [] and os.listdir(store.ingest) == []


def test_the_layer_is_the_tar_bit_for_bit(store: Store, settings: Settings, alpine_tar: Path) -> None:
    plain = gzip.decompress(alpine_tar.read_bytes())
    image = import_file(store, settings, alpine_tar)
    assert image.layers == ["sha256:" + hashlib.sha256(plain).hexdigest()]
    assert b"".join(open_tar(store, image.layers[0])) == plain
    assert image.manifest.layers[0].size == len(plain)


def test_the_same_tar_makes_the_same_image(store: Store, settings: Settings, alpine_tar: Path) -> None:
    one = import_file(store, settings, alpine_tar, "one", changes=["CMD /bin/sh", "ENV A=1"], message="first")
    two = import_file(store, settings, alpine_tar, "two", changes=["CMD /bin/sh", "ENV A=1"], message="first")
    assert (one.id, one.manifest_digest) == (two.id, two.manifest_digest)
    assert import_file(store, settings, alpine_tar, "three", changes=["CMD /bin/ls"]).id != one.id


@pytest.mark.parametrize("program", ["gzip -c", "xz -c1", "bzip2 -c", "zstd -c", "cat"])
def test_compressions(store: Store, settings: Settings, tmp_path: Path, program: str) -> None:
    plain = small_tar()
    packed = subprocess.run(program.split(), input=plain, capture_output=True, check=True).stdout
    (tmp_path / "root.tar").write_bytes(packed)
    image = import_file(store, settings, tmp_path / "root.tar")
    assert image.layers == ["sha256:" + hashlib.sha256(plain).hexdigest()]


def test_from_a_pipe(store: Store, settings: Settings) -> None:
    reading, writing = os.pipe()
    os.write(writing, gzip.compress(small_tar()))
    os.close(writing)
    with open(reading, "rb") as stream:
        image = import_(store, settings, stream, created=WHEN)
    assert image.reference.is_dangling
    assert image.config.history == [{"created": "2024-05-06T07:08:09Z", "comment": "Imported from -"}]


def test_configuration(store: Store, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(small_tar())
    changes = ['ENTRYPOINT ["/init"]', "WORKDIR /srv", "USER 7", "LABEL a=b", "EXPOSE 80", "VOLUME /data", "STOPSIGNAL SIGINT"]
    image = import_file(store, settings, tmp_path / "root.tar", changes=changes, message="mine", platform="linux/arm64")
    config = image.config
    assert (config.entrypoint, config.working_dir, config.user, config.stop_signal) == (["/init"], "/srv", "7", "SIGINT")
    assert (config.labels, config.exposed_ports, config.volumes) == ({"a": "b"}, ["80/tcp"], ["/data"])
    assert (config.architecture, config.created, config.history[0]["comment"]) == ("arm64", "2024-05-06T07:08:09Z", "mine")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"no tar at all" * 100, DataLoss),
        (small_tar()[:600], DataLoss),
        (gzip.compress(small_tar(), mtime=0)[:-20], DataLoss),
        (gzip.compress(small_tar(), mtime=0) + b"rubbish", DataLoss),
        (small_tar("../outside"), DataLoss),
        (small_tar(content=bytes(3 << 20)), ResourceExhausted),
    ],
)
def test_what_is_refused_leaves_nothing(store: Store, settings: Settings, tmp_path: Path, data: bytes, error: type[EstibaError]) -> None:
    (tmp_path / "root.tar").write_bytes(data)
    tight = settings.replace(unpack_max_bytes=2 << 20)
    with pytest.raises(error):
        import_file(store, tight, tmp_path / "root.tar")
    assert nothing_is_left(store)
    (tmp_path / "good.tar").write_bytes(small_tar())
    assert has_layer(store, import_file(store, tight, tmp_path / "good.tar").layers[0])


@pytest.mark.parametrize(("reference", "changes"), [("UPPER", []), ("a@sha256:" + "0" * 64, []), ("ok", ["RUN x"]), ("a:b:c", [])])
def test_wrong_arguments_are_told_before_the_tar_is_read(store: Store, settings: Settings, reference: str, changes: list[str]) -> None:
    with open("/dev/null", "rb") as stream, pytest.raises(InvalidArgument):
        import_(store, settings, stream, reference=reference, changes=changes)
    assert nothing_is_left(store)
