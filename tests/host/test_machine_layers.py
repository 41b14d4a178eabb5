"""Images of more layers than a machine has disks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine import guest_disks
from estiba.store.images import find
from estiba.store.layout import Store
from tests.support.kernels import EVERY_RUNG
from tests.support.made_layers import real_image

if TYPE_CHECKING:
    from tests.support.command import Command

MANY = 127


@pytest.mark.parametrize(("count", "most"), [(15, 15), (16, 15), (17, 15), (MANY, 15), (5, 5), (6, 5), (81, 5), (MANY, 5)])
def test_layers_and_disks(store: Store, settings: object, count: int, most: int) -> None:
    image = real_image(store, load(root=store.root), "many", *({f"file{number}": b"x" * number} for number in range(count)))
    disks = guest_disks.layer_disks(store, load(root=store.root), image.layers, most)
    assert len(disks) <= most
    assert sum(len(disk.offsets) for disk in disks) == count
    flat = [(disk.path, offset) for disk in disks for offset in disk.offsets]
    for diff_id, (path, offset) in zip(image.layers, flat, strict=True):
        whole = Path(guest_disks.layer_image(store, load(root=store.root), diff_id)).read_bytes()
        with open(path, "rb") as file:
            file.seek(offset)
            assert file.read(len(whole)) == whole


def test_images_on_one_base_share_packs(store: Store) -> None:
    settings = load(root=store.root)
    base = [{f"file{number}": b"x" * number} for number in range(40)]
    for name in ("one", "two"):
        real_image(store, settings, name, *base, {name: b""})
    packs = [
        {disk.path for disk in guest_disks.layer_disks(store, settings, find(store, name).layers, 15) if len(disk.offsets) > 1}
        for name in ("one", "two")
    ]
    assert packs[0] & packs[1]
    assert sum(name.startswith("pack-") for _, _, names in os.walk(store.layers) for name in names) == len(packs[0] | packs[1])


@EVERY_RUNG
def test_guest_of_many_layers(estiba: Command, environment: dict[str, str], rung: tuple[str, ...], alpine_tar: Path) -> None:
    store = Store.open(load(environ=environment))
    real_image(store, load(environ=environment), "many", *({f"file{number}": b"%d" % number, "top": b"%d" % number} for number in range(MANY)))
    estiba("import", str(alpine_tar), "alpine")
    script = f"cat /top; echo; ls / | grep -c file; cat /file0 /file{MANY - 1}; echo; head -n 1 /etc/alpine-release"
    words = ("run", "--rm", *rung, "--with", "many", "alpine", "sh", "-c", script)
    assert estiba(*words).stdout.split()[:3] == [str(MANY - 1), str(MANY), f"0{MANY - 1}"]
