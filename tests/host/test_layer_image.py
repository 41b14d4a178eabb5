"""`estiba-init image`: a layer's tree as the image of a disk."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.engine.guest_disks import copy_sparse, layer_image
from estiba.errors import EstibaError
from estiba.oci import media_types as mt
from estiba.oci.digest import DiffID
from estiba.store import layers
from tests.support.erofs import BLOCK, Image
from tests.support.tars import END, diff_id, header, member, pax

if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.store.layout import Store

# Around the places where data no longer fits beside its inode, and where it fills blocks.
SIZES = (0, 1, 4031, 4032, 4033, 4095, 4096, 4097, 8192, 8192 + 4032, 10000, 70000)
NAME = b"n" * 255


def tricky() -> bytes:
    parts = [header(b"sizes/", kind=b"5"), header(b"many/", kind=b"5", mode=0o1777, uid=7, gid=8)]
    parts += [member(b"sizes/%d" % size, os.urandom(size)) for size in SIZES]
    parts += [member(b"many/%04d-%b" % (number, b"x" * (number % 60)), b"%d" % number) for number in range(3000)]
    parts += [pax([(b"path", b"names/" + NAME)]), member(b"n", b"long name"), member(b"names/ \xc3\xa4\xff\n", b"odd name")]
    parts += [member(b"first", b"three names", mode=0o4755, uid=1000, gid=65534)]
    parts += [header(name, kind=b"1", link=b"first") for name in (b"second", b"names/third")]
    parts += [header(b"short", kind=b"2", link=b"first")]
    for length in (3000, 4090):  # beside its inode, and not
        parts += [pax([(b"linkpath", b"/" * length)]), header(b"link%d" % length, kind=b"2")]
    parts += [header(b"fifo", kind=b"6", mode=0o622), header(b"sizes/.wh.gone"), header(b"opaque/", kind=b"5"), header(b"opaque/.wh..wh..opq")]
    parts += [pax([(b"SCHILY.xattr.user.one", b"\0value\xff"), (b"SCHILY.xattr.user." + b"k" * 200, b"v" * 3000)]), member(b"xattrs", b"content")]
    parts += [header(b"deep/" + b"d/" * 40, kind=b"5")]
    return b"".join(parts) + END


def applied(store: Store, settings: Settings, tar: bytes) -> Path:
    layers.apply_layer(store, settings, diff_id(tar), mt.OCI_LAYER, iter([tar]))
    return Path(store.layers, layers.layer_path_name(diff_id(tar)))


def check_tree(image: Path, root: Path) -> None:
    """Everything that the tree has, the image has as well, and nothing else."""
    top, met = os.fsencode(root), set()
    by_inode: dict[int, tuple[int, int]] = {}
    for path, node in Image(image).walk():
        met.add(path)
        status = os.lstat(top + path)
        assert (node.mode, node.uid, node.gid) == (status.st_mode, status.st_uid, status.st_gid), path
        assert node.mtime == (status.st_mtime_ns // 10**9, status.st_mtime_ns % 10**9), path
        if stat.S_ISREG(node.mode):
            assert node.data == Path(os.fsdecode(top + path)).read_bytes(), path
        elif stat.S_ISLNK(node.mode):
            assert node.data == os.readlink(top + path), path
        elif stat.S_ISCHR(node.mode):
            assert node.device == status.st_rdev == 0, path
        if not stat.S_ISLNK(node.mode):
            assert node.xattrs == {name: os.getxattr(top + path, name) for name in os.listxattr(top + path)}, path
        if stat.S_ISREG(node.mode):
            known, names = by_inode.setdefault(status.st_ino, (node.number, 0))
            assert known == node.number, f"{path!r} is another file"
            by_inode[status.st_ino] = (known, names + 1)
    tree = {b""} | {os.path.join(folder, name)[len(top) :] for folder, names, files in os.walk(top) for name in names + files}
    assert met == tree
    for number, names in by_inode.values():
        assert Image(image).node(number).links == names


def test_image_holds_the_tree(store: Store, settings: Settings) -> None:
    tar = tricky()
    root = applied(store, settings, tar)
    image = Path(layer_image(store, settings, diff_id(tar)))
    check_tree(image, root)
    assert Image(image).node(Image(image).root).links == sum(entry.is_dir(follow_symlinks=False) for entry in os.scandir(root)) + 2
    subprocess.run(["fsck.erofs", image], check=True, stdout=subprocess.DEVNULL)
    assert os.listdir(store.ingest) == []


def test_alpine(store: Store, settings: Settings, alpine_tar: Path) -> None:
    data = subprocess.run(["gzip", "-dc", alpine_tar], capture_output=True, check=True).stdout
    root = applied(store, settings, data)
    check_tree(Path(layer_image(store, settings, diff_id(data))), root)


def test_image_is_made_once_and_goes_with_its_layer(store: Store, settings: Settings) -> None:
    tar = member(b"file", b"content") + END
    applied(store, settings, tar)
    first = os.stat(layer_image(store, settings, diff_id(tar)))
    assert os.stat(layer_image(store, settings, diff_id(tar))).st_ino == first.st_ino
    layers.remove_layer(store, diff_id(tar))
    layers.empty_trash(store, settings)
    assert os.listdir(store.layers) == []
    assert os.listdir(store.trash) == []


def test_holes_stay_holes(store: Store, settings: Settings) -> None:
    tar = member(b"file", b"content") + END
    root = applied(store, settings, tar)
    with open(root / "sparse", "wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"data")
    image = Path(layer_image(store, settings, diff_id(tar)))
    check_tree(image, root)
    assert image.stat().st_blocks * 512 < 1 << 20 < image.stat().st_size


def test_what_cannot_be_read_is_an_error(store: Store, settings: Settings) -> None:
    tar = member(b"file", b"content") + END
    root = applied(store, settings, tar)
    folder = root
    for _ in range(600):
        folder = folder / "d"
        folder.mkdir()
    with pytest.raises(EstibaError, match="cannot make a disk of layer"):
        layer_image(store, settings, diff_id(tar))
    assert not (root.parent / "erofs").exists()
    assert os.listdir(store.ingest) == []
    shutil.rmtree(root)


def test_missing_layer_is_an_error(store: Store, settings: Settings) -> None:
    with pytest.raises(EstibaError, match="cannot make a disk of layer"):
        layer_image(store, settings, DiffID("sha256:" + "0" * 64))


def test_sparse_copy(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with open(source, "wb") as file:
        file.truncate(100 * BLOCK + 7)
        for at in (0, 50 * BLOCK + 5, 100 * BLOCK):
            file.seek(at)
            file.write(b"x" * 7)
    with open(source, "rb") as old, open(tmp_path / "copy", "wb") as new:
        copy_sparse(old.fileno(), new.fileno())
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert (tmp_path / "copy").stat().st_blocks <= source.stat().st_blocks
