"""`system check` on real images from a real registry: damage is named, repair fetches it again, and nothing else is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from estiba.config.settings import Settings
from estiba.engine.check import check
from estiba.engine.import_ import import_
from estiba.engine.pull import pull
from estiba.engine.push import push
from estiba.engine.rmi import rmi
from estiba.engine.tag import tag
from estiba.store import references
from estiba.store.images import Image, find, list_images
from estiba.store.layers import open_tar
from estiba.store.layout import Store
from tests.support.registries import DockerRegistry


@pytest.fixture
def pulled(
    store: Store, settings: Settings, alpine_tars: dict[str, Path], plain_registry: DockerRegistry, docker_config: Path, tmp_path: Path
) -> Image:
    """One image from a registry, beside one that was imported."""
    versions = iter(alpine_tars.values())
    with open(next(versions), "rb") as stream:
        import_(store, settings, stream, reference="local")
    name = f"{plain_registry.host}/check/{tmp_path.name.replace('_', '-').lower().strip('-')}:1"
    with open(next(versions), "rb") as stream:
        import_(store, settings, stream, reference=name)
    push(store, settings, name)
    rmi(store, name)
    return pull(store, settings, name)


def names(store: Store) -> list[str]:
    return sorted(image.reference.familiar for image in list_images(store))


def a_file_of(store: Store, image: Image) -> Path:
    return Path(store.layers, image.layers[0].partition(":")[2], "fs/etc/passwd")


def flip(path: Path) -> None:
    """Changes a byte and nothing else that stat(2) tells."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def drop_layer(store: Store, image: Image) -> None:
    os.rename(Path(store.layers, image.layers[0].partition(":")[2]), Path(store.trash, "x"))


DAMAGE: dict[str, Callable[[Store, Image], None]] = {
    "a file's content": lambda store, image: flip(a_file_of(store, image)),
    "a file's mode": lambda store, image: a_file_of(store, image).chmod(0o777),
    "a file is gone": lambda store, image: a_file_of(store, image).unlink(),
    "the split file": lambda store, image: flip(Path(store.layers, image.layers[0].partition(":")[2], "split")),
    "the manifest": lambda store, image: flip(Path(store.blob_path(image.manifest_digest))),
    "the configuration": lambda store, image: Path(store.blob_path(image.manifest.config.digest)).unlink(),
}


def test_a_whole_store(store: Store, settings: Settings, pulled: Image) -> None:
    report = check(store, settings)
    assert (report.clean, report.problems) == (True, [])
    assert report.lines() == ["read 2 references, 4 blobs, 2 layers: nothing is damaged"]


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_repaired_from_the_registry(store: Store, settings: Settings, pulled: Image, kind: str) -> None:
    before, name = names(store), pulled.reference.familiar
    pulled.config  # noqa: B018 - read before the damage
    DAMAGE[kind](store, pulled)
    report = check(store, settings)
    assert not report.clean
    assert [name] == sorted({touched for problem in report.problems for touched in problem.images})
    assert report.lines()[-1] == "repair them with: estiba system check --repair"
    assert not check(store, settings).clean  # a check changes nothing

    repaired = check(store, settings, repair=True)
    assert repaired.clean, repaired.lines()
    assert check(store, settings).lines() == ["read 2 references, 4 blobs, 2 layers: nothing is damaged"]
    assert names(store) == before
    image = find(store, name)
    assert (image.id, image.manifest_digest) == (pulled.id, pulled.manifest_digest)
    for _ in open_tar(store, image.layers[0]):
        pass


def test_another_name_is_fetched_from_where_the_layers_came_from(store: Store, settings: Settings, pulled: Image) -> None:
    tag(store, pulled.reference.familiar, "mine:1")
    rmi(store, pulled.reference.familiar)
    DAMAGE["a file's content"](store, pulled)
    assert check(store, settings, repair=True).clean
    assert (names(store), find(store, "mine:1").id) == (["local:latest", "mine:1"], pulled.id)
    assert len(references.names(store)) == 2


def test_what_cannot_be_fetched_loses_its_name_and_only_that(store: Store, settings: Settings, pulled: Image) -> None:
    local = find(store, "local")
    DAMAGE["a file's content"](store, local)
    report = check(store, settings, repair=True)
    assert any("local:latest removed" in line for line in report.lines())
    assert names(store) == [pulled.reference.familiar]
    assert check(store, settings).clean


def test_json(store: Store, settings: Settings, pulled: Image) -> None:
    drop_layer(store, find(store, "local"))
    found = check(store, settings).to_json()
    assert found["clean"] is False
    problems = found["problems"]
    assert isinstance(problems, list)
    (problem,) = problems
    assert (problem["kind"], problem["images"], problem["repaired"]) == ("layer", ["local:latest"], "")
