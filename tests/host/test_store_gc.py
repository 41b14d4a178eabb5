"""Collection, check and usage, on real layers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.errors import DataLoss, EstibaError, NotFound, ResourceExhausted
from estiba.oci.digest import hex_of, parse_digest
from estiba.store import images, references
from estiba.store.blobs import all_blobs, put_blob
from estiba.store.check import check
from estiba.store.gc import all_layers, collect, sweep
from estiba.store.layers import has_layer, verify_layer
from estiba.store.layout import Store
from estiba.store.publish import Ingest
from estiba.store.usage import disk_usage, image_size
from tests.support.made_layers import real_image
from tests.support.soak import times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.config.settings import Settings
    from estiba.oci.digest import DiffID
    from estiba.oci.reference import Reference
    from estiba.store.images import Image
    from estiba.store.references import Target

BASE = {"etc/base": b"base" * 1000}
ONE = {"one": b"1" * 5000}
TWO = {"two": b"2" * 7000}
CONTAINER = "c" * 64


def container(store: Store, image: Image) -> None:
    folder = Path(store.containers, CONTAINER)
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"image": image.id, "layers": image.layers}))


def content(store: Store) -> list[str]:
    """All that the store holds, by path."""
    return sorted(str(path.relative_to(store.root)) for path in Path(store.root).rglob("*") if path.is_file() and "locks" not in path.parts)


# --- collection -----------------------------------------------------------------------------------------------------


def test_only_what_nothing_leads_to_goes(store: Store, settings: Settings) -> None:
    kept = real_image(store, settings, "kept", BASE, ONE)
    before = content(store)
    gone = real_image(store, settings, "gone", BASE, TWO)
    images.remove(store, "gone")
    freed = collect(store)
    assert freed.layers == [gone.layers[1]]
    assert len(freed.blobs) == 2
    assert freed.size >= 7000
    assert list(all_layers(store)) == sorted(kept.layers)
    assert content(store) == before
    assert os.listdir(store.trash) == os.listdir(store.ingest) == []
    again = collect(store)
    assert (again.layers, again.blobs, again.size) == ([], [], 0)


def test_an_empty_store(store: Store, settings: Settings) -> None:
    before = content(store)
    real_image(store, settings, "a", BASE)
    images.remove(store, "a")
    collect(store)
    assert content(store) == before
    assert all(not os.listdir(f"{store.files}/{shelf}") for shelf in os.listdir(store.files))


def test_containers_keep_what_they_stand_on(store: Store, settings: Settings) -> None:
    image = real_image(store, settings, "a", BASE, ONE)
    container(store, image)
    images.remove(store, "a", force=True)
    for name in references.names(store):
        os.unlink(f"{store.refs}/{name}")
    assert collect(store).layers == []
    shutil.rmtree(Path(store.containers, CONTAINER))
    assert set(collect(store).layers) == set(image.layers)


def test_dangling_images_are_kept(store: Store, settings: Settings) -> None:
    image = real_image(store, settings, None, BASE)
    assert collect(store).layers == []
    assert images.find(store, image.id).layers == image.layers


@pytest.mark.parametrize("victim", ["reference", "config", "manifest", "state"])
def test_what_cannot_be_read_stops_everything(store: Store, settings: Settings, victim: str) -> None:
    image = real_image(store, settings, "a", BASE)
    loose = put_blob(store, b"loose")
    container(store, image)
    path = {
        "reference": f"{store.refs}/{references.names(store)[0]}",
        "config": store.blob_path(parse_digest(image.id)),
        "manifest": store.blob_path(image.manifest_digest),
        "state": f"{store.containers}/{CONTAINER}/state.json",
    }[victim]
    Path(path).write_bytes(b"{")
    with pytest.raises(DataLoss):
        collect(store)
    assert loose in list(all_blobs(store))
    assert has_layer(store, image.layers[0])


def test_a_running_pull_keeps_its_layers(store: Store, settings: Settings) -> None:
    """Between storing a layer and naming it there is only the lock."""
    with store.using():
        loose = put_blob(store, b"loose")
        assert collect(store, wait=False).blobs == []
        assert loose in list(all_blobs(store))
    assert collect(store, wait=False).blobs == [loose]
    assert settings.root == store.root


def test_leftovers_of_the_dead_are_swept_and_work_of_the_living_is_not(store: Store) -> None:
    Path(store.ingest, "file-dead").write_bytes(b"x")
    Path(store.ingest, "layer-dead", "fs").mkdir(parents=True)
    Path(store.ingest, "link").symlink_to("/etc/passwd")
    os.mkfifo(Path(store.ingest, "fifo"))
    Path(store.trash, "tree").mkdir()
    with Ingest(store, "x") as alive:
        sweep(store)
        assert os.listdir(store.ingest) == [os.path.basename(alive.path)]
    assert os.listdir(store.trash) == []
    assert Path("/etc/passwd").exists()


def test_time_says_nothing_about_life(store: Store) -> None:
    with Ingest(store, "x") as alive:
        os.utime(alive.path, (0, 0))
        Path(store.ingest, "file-dead").touch()
        os.utime(Path(store.ingest, "file-dead"), (2**33, 2**33))
        sweep(store)
        assert os.listdir(store.ingest) == [os.path.basename(alive.path)]


# --- check ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(store: Store, settings: Settings) -> list[Image]:
    return [
        real_image(store, settings, "a", BASE, ONE),
        real_image(store, settings, "b", BASE, TWO),
        real_image(store, settings, "c", {"alone": b"3" * 100}),
    ]


def test_a_whole_store_is_clean(store: Store, three: list[Image]) -> None:
    said: list[str] = []
    report = check(store, progress=said.append)
    assert report.problems == []
    assert report.clean
    assert (report.references, report.blobs, report.layers) == (3, 6, 4)
    assert len(said) == 13
    assert len(three) == 3


def damage_file(store: Store, diff_id: DiffID, name: str) -> None:
    """Changes one byte and nothing else: size and times stay."""
    path = f"{store.layers}/{hex_of(diff_id)}/fs/{name}"
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.write(b"!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_damaged_layer_names_all_images_on_it(store: Store, three: list[Image]) -> None:
    damage_file(store, three[0].layers[0], "etc/base")
    before = content(store)
    report = check(store)
    assert [(p.kind, p.name, sorted(p.images)) for p in report.problems] == [("layer", three[0].layers[0], ["a:latest", "b:latest"])]
    assert not report.clean
    assert content(store) == before


def damages(store: Store, image: Image) -> dict[str, str]:
    layer = f"{store.layers}/{hex_of(image.layers[-1])}"
    return {
        "config": store.blob_path(parse_digest(image.id)),
        "manifest": store.blob_path(image.manifest_digest),
        "layer file": f"{layer}/fs/alone",
        "layer split": f"{layer}/split",
        "layer description": f"{layer}/layer.json",
    }


DAMAGED = ["config", "manifest", "layer file", "layer split", "layer description"]


@pytest.mark.parametrize("how", ["flip", "empty", "missing"])
@pytest.mark.parametrize("victim", DAMAGED)
def test_repair_removes_only_what_is_damaged(store: Store, three: list[Image], victim: str, how: str) -> None:
    path = Path(damages(store, three[2])[victim])
    if how == "flip":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    report = check(store)
    assert report.problems, "the damage was not found"
    assert not report.clean
    assert {name for problem in report.problems for name in problem.images} == {"c:latest"}
    report = check(store, repair=True)
    assert report.clean, [(p.kind, p.name, p.cause, p.repaired) for p in report.problems]
    assert [i.reference.familiar for i in images.list_images(store)] == ["a:latest", "b:latest"]
    collect(store)
    assert check(store).problems == []
    assert [verify_layer(store, layer) for layer in all_layers(store)] == [[]] * 3


def test_repair_fetches_again(store: Store, settings: Settings, three: list[Image]) -> None:
    damage_file(store, three[0].layers[0], "etc/base")
    asked: list[str] = []

    def fetch(reference: Reference, target: Target) -> bool:
        asked.append(reference.familiar)
        assert target.images
        real_image(store, settings, reference.familiar, BASE, ONE if reference.repository.endswith("/a") else TWO)
        return True

    report = check(store, repair=True, fetch=fetch)
    assert report.clean
    assert asked == ["a:latest"], "one fetch brought what both images miss"
    assert "fetched again" in report.problems[0].repaired
    assert len(images.list_images(store)) == 3
    assert check(store).problems == []


def test_a_fetch_that_fails_costs_only_its_own_image(store: Store, three: list[Image]) -> None:
    damage_file(store, three[2].layers[0], "alone")

    def fetch(reference: Reference, target: Target) -> bool:
        raise NotFound(f"cannot pull {reference.familiar}: gone")

    report = check(store, repair=True, fetch=fetch)
    assert report.clean
    assert "c:latest removed (cannot pull c:latest: gone)" in report.problems[0].repaired
    assert len(images.list_images(store)) == len(three) - 1


def test_a_layer_under_a_container_stays(store: Store, settings: Settings, three: list[Image]) -> None:
    container(store, three[2])
    damage_file(store, three[2].layers[0], "alone")
    report = check(store, repair=True)
    assert not report.clean
    assert "container cccccccccccc stands on it" in report.problems[0].cause
    assert has_layer(store, three[2].layers[0])
    other = real_image(store, settings, "d", {"alone": b"3" * 100, "more": b"x"})
    assert verify_layer(store, other.layers[0]) == [], "a new layer was linked to the damaged file"


def test_other_damage(store: Store, three: list[Image]) -> None:
    Path(store.refs, "docker.io+library+b:latest").write_bytes(b"{")
    Path(store.blobs, "sha256", "README").write_bytes(b"x")
    os.mkfifo(Path(store.blobs, "sha256", "0" * 64))
    Path(store.images, "index.json").write_bytes(b"")
    Path(store.cache).rmdir()
    found = check(store)
    assert sorted(p.kind for p in found.problems) == ["blob", "blob", "folder", "index", "reference"]
    report = check(store, repair=True)
    assert report.clean
    assert [i.reference.familiar for i in images.list_images(store)] == ["a:latest", "c:latest"]
    assert check(store).problems == []
    assert len(three) == 3


def test_missing_objects_are_named(store: Store, three: list[Image]) -> None:
    shutil.rmtree(f"{store.layers}/{hex_of(three[0].layers[0])}")
    report = check(store)
    assert [(p.kind, p.cause, sorted(p.images)) for p in report.problems] == [("layer", "it is missing", ["a:latest", "b:latest"])]


@pytest.mark.soak
@pytest.mark.parametrize("victim", ["reference", "blob", "layer"])
def test_every_flipped_byte_is_found(store: Store, three: list[Image], victim: str) -> None:
    """Of a reference and of a manifest every seventh, in `make soak` each one; of a tree's file every 33rd."""
    path = {
        "reference": Path(store.refs, "docker.io+library+c:latest"),
        "blob": Path(store.blob_path(three[2].manifest_digest)),
        "layer": Path(damages(store, three[2])["layer file"]),
    }[victim]
    good, status = path.read_bytes(), path.stat()
    missed = []
    for position in range(0, len(good), 33 if victim == "layer" else len(times(7, 1))):
        data = bytearray(good)
        data[position] ^= 0x01
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        if not check(store).problems:
            missed.append((position, bytes(data[position : position + 10])))
    path.write_bytes(good)
    assert missed == []


# --- usage ----------------------------------------------------------------------------------------------------------


def test_usage_counts_what_is_shared(store: Store, settings: Settings, three: list[Image]) -> None:
    same_file = real_image(store, settings, "d", {**ONE, "extra": b"e" * 10})
    container(store, three[2])
    usage = disk_usage(store)
    sizes = {u.image.reference.familiar: (u.size, u.shared, u.unique, u.containers) for u in usage.images}
    assert sizes["a:latest"] == (9000, 4000, 5000, 0)
    assert sizes["b:latest"] == (11000, 4000, 7000, 0)
    assert sizes["c:latest"] == (100, 0, 100, 1)
    assert usage.saved_by_layers == 4000
    assert usage.saved_by_files == 5000
    assert image_size(store, same_file) == 5010
    assert usage.total == 4000 + 5000 + 7000 + 100 + 10 + usage.blobs
    assert usage.reclaimable == 4000 + 5000 + 7000 + 10


# --- crashes --------------------------------------------------------------------------------------------------------

WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from estiba.config.settings import load
from estiba.store import images, references
from estiba.store.layout import Store
from estiba.store.gc import collect
from estiba.oci.reference import parse_reference
from tests.support.made_layers import real_image
settings = load()
store = Store.open(settings)
number = int(sys.argv[2])
for turn in range(1000):
    name = f"app:{number}-{turn % 3}"
    image = real_image(store, settings, name, {"base": b"b" * 100}, {"own": b"%d %d" % (number, turn)})
    images.tag(store, image, parse_reference(f"tagged:{number}"))
    print("added", name, image.id, flush=True)
    if turn % 4 == 3:
        images.remove(store, name, force=True)
        print("removed", name, image.id, flush=True)
        collect(store, wait=False)
"""


def acknowledged(said: str) -> dict[str, str]:
    """What the worker was told is done: name -> image id. The last line may be cut off, and the step after it half done."""
    state: dict[str, str] = {}
    for line in said.splitlines(keepends=True):
        if line.endswith("\n"):
            verb, name, image = line.split()
            if verb == "added":
                state[name] = image
            else:
                state.pop(name, None)
    return state


def whole(store: Store) -> None:
    """No image misses anything, whatever was interrupted."""
    for image in images.list_images(store):
        assert image.manifest.layers
        for layer in image.layers:
            assert has_layer(store, layer), (image.reference.familiar, layer)


@pytest.mark.parametrize("round_", range(12))
def test_kill_at_a_random_moment(environment: dict[str, str], store: Store, settings: Settings, round_: int) -> None:
    """What was said to be done is done, nothing is half there, and the next collection leaves nothing over."""
    top = str(Path(__file__).parents[2])
    lines = 1 + round_ * 2
    with subprocess.Popen([sys.executable, "-c", WORKER, top, "0"], env=environment, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        said = "".join(worker.stdout.readline() for _ in range(lines))
        # A moment that differs: after the last line the worker is somewhere in its next step.
        for _ in range(round_ * 40_000):
            pass
        worker.kill()
        said += worker.stdout.read()
    whole(store)
    for name, image in acknowledged(said).items():
        if name not in in_doubt(said):
            assert images.find(store, name).id == image
    # The helper outlives its killed parent by the moment it takes to notice; until then its folder is in use.
    while os.listdir(store.ingest):
        collect(store)
    collect(store)
    assert os.listdir(store.trash) == []
    assert {problem.kind for problem in check(store).problems} <= {"index"}
    real_image(store, settings, "after", BASE)
    assert check(store).problems == []


def in_doubt(said: str) -> set[str]:
    """The names that the step after the last acknowledged one removes or replaces: half of it may be done."""
    done = [line.split() for line in said.splitlines(keepends=True) if line.endswith("\n")]
    added = [name for verb, name, _ in done if verb == "added"]
    return {added[-1], f"app:0-{len(added) % 3}"}


def test_two_processes_add_and_remove_at_once(environment: dict[str, str], store: Store) -> None:
    """Names of one image set by two processes, while both collect: nothing that is named is ever missing."""
    top = str(Path(__file__).parents[2])
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, top, str(number)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for number in range(2)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            for _ in range(20):
                assert worker.stdout.readline(), worker.stderr.read() if worker.stderr else ""
                whole_or_gone(store)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    whole(store)
    collect(store)
    assert {p.kind for p in check(store).problems} <= {"index"}


def whole_or_gone(store: Store) -> None:
    """A reader without locks sees whole images, or one that has just been removed: then its name is gone too."""
    for image in images.list_images(store):
        try:
            complete = bool(image.manifest.layers) and all(has_layer(store, layer) for layer in image.layers)
        except EstibaError:
            complete = False
        if not complete:
            target = references.get(store, image.reference)
            assert target is None or all(entry.config != image.id for entry in target.images)


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, settings: Settings) -> Iterator[tuple[Settings, str]]:
    """Settings whose store is on a tmpfs of its own, and where that is mounted."""
    point = str(tmp_path / "disk")
    os.mkdir(point)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", point], check=True)
    try:
        yield settings.replace(root=f"{point}/root"), point
    finally:
        subprocess.run(["umount", point], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system of a given size takes root")
def test_a_full_disk_at_every_step(small_disk: tuple[Settings, str]) -> None:
    """The free space is stepped so that adding an image fails at another place each time; what was there stays whole."""
    settings, point = small_disk
    store = Store.open(settings)
    real_image(store, settings, "kept", BASE)
    failed = 0
    for free in range(0, 160 * 1024, 4096):
        filler = fill(point, free)
        try:
            real_image(store, settings, "more", BASE, {"large": os.urandom(60_000)})
        except ResourceExhausted as error:
            failed += 1
            assert error.message.startswith("cannot ")
            assert [i.reference.familiar for i in images.list_images(store)] == ["kept:latest"]
        else:
            images.remove(store, "more")
        os.unlink(filler)
        collect(store)
        assert check(store).problems == []
        assert os.listdir(store.ingest) == []
    assert 3 < failed < 40
    real_image(store, settings, "more", BASE, ONE)
    assert check(store).problems == []


def fill(point: str, free: int) -> str:
    """A file that leaves `free` bytes of the file system."""
    path = f"{point}/filler"
    status = os.statvfs(point)
    with open(path, "wb") as file:
        file.write(b"\0" * max(status.f_bavail * status.f_frsize - free, 0))
    return path
