"""Blobs, references and images."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.errors import Conflict, DataLoss, EstibaError, InvalidArgument, NotFound
from estiba.oci import media_types as mt
from estiba.oci.digest import hex_of, parse_digest, sha256_digest
from estiba.oci.platform import host_platform, parse_platform
from estiba.oci.reference import parse_reference
from estiba.store import images, references
from estiba.store.blobs import BlobWriter, all_blobs, blob_chunks, blob_size, delete_blob, has_blob, put_blob, read_blob
from estiba.store.references import Target
from tests.support.made_images import add_image, add_indexed, diff_id, documents

if TYPE_CHECKING:
    from estiba.store.layout import Store

HOST = host_platform().text


# --- blobs ----------------------------------------------------------------------------------------------------------


def test_blob(store: Store) -> None:
    digest = put_blob(store, b"content")
    assert put_blob(store, b"content") == digest
    assert read_blob(store, digest, verify=True) == b"content"
    assert blob_size(store, digest) == 7
    assert list(all_blobs(store)) == [digest]
    assert b"".join(blob_chunks(store, digest)) == b"content"
    assert delete_blob(store, digest)
    assert not has_blob(store, digest)
    with pytest.raises(NotFound):
        read_blob(store, digest)


def test_empty_blob(store: Store) -> None:
    digest = put_blob(store, b"")
    assert read_blob(store, digest) == b""
    assert list(blob_chunks(store, digest)) == []


def test_sha512_blob(store: Store) -> None:
    import hashlib

    digest = parse_digest("sha512:" + hashlib.sha512(b"x").hexdigest())
    with BlobWriter(store, digest) as writer:
        writer.write(b"x")
        writer.commit()
    assert read_blob(store, digest, verify=True) == b"x"
    assert list(all_blobs(store)) == [digest]


def test_large_blob_in_chunks(store: Store) -> None:
    data = os.urandom(3 * 1024 * 1024 + 5)
    digest = put_blob(store, data)
    assert b"".join(blob_chunks(store, digest)) == data
    assert read_blob(store, digest, limit=len(data)) == data
    with pytest.raises(DataLoss, match="more than"):
        read_blob(store, digest, limit=len(data) - 1)


@pytest.mark.parametrize(
    ("size", "content", "why"),
    [(4, b"abc", "3 bytes instead of 4"), (2, b"abc", "more than the 2 bytes"), (3, b"abd", "the content's digest is"), (None, b"", "the content's digest is")],
)  # fmt: skip
def test_wrong_bytes_are_never_published(store: Store, size: int | None, content: bytes, why: str) -> None:
    digest = sha256_digest(b"abc")
    with pytest.raises(DataLoss) as caught, BlobWriter(store, digest, size) as writer:
        writer.write(content)
        writer.commit()
    assert why in caught.value.message
    assert not has_blob(store, digest)
    assert os.listdir(store.ingest) == []


def test_a_damaged_blob_is_noticed(store: Store) -> None:
    digest = put_blob(store, b"content")
    path = Path(store.blob_path(digest))
    path.chmod(0o644)
    path.write_bytes(b"c0ntent")
    with pytest.raises(DataLoss, match="damaged"):
        read_blob(store, digest, verify=True)
    given: list[bytes] = []
    with pytest.raises(DataLoss, match="damaged"):
        given.extend(blob_chunks(store, digest))
    assert given == []


@pytest.mark.parametrize("trap", ["fifo", "link", "folder"])
def test_what_is_no_file_is_not_opened(store: Store, trap: str) -> None:
    digest = put_blob(store, b"content")
    path = Path(store.blob_path(digest))
    path.rename(path.with_name("elsewhere"))
    if trap == "fifo":
        os.mkfifo(path)
    elif trap == "link":
        path.symlink_to("elsewhere")
    else:
        path.mkdir()
    with pytest.raises(DataLoss):
        read_blob(store, digest)
    assert not has_blob(store, digest)


# --- references -----------------------------------------------------------------------------------------------------


def target(name: str) -> Target:
    return Target(mt.OCI_MANIFEST, sha256_digest(name.encode()), len(name), [])


@pytest.mark.parametrize(
    "name",
    ["alpine", "a/b/c:d", "localhost:5000/x", "[::1]:5000/x:t", "alpine@sha256:" + "a" * 64, "r.io/" + "a" * 255 + ":" + "t" * 128, "HOST/a",
     "r.io/" + "a" * 100 + "@sha512:" + "a" * 128],
)  # fmt: skip
def test_reference_round_trip(store: Store, name: str) -> None:
    reference = parse_reference(name)
    assert references.get(store, reference) is None
    references.put(store, reference, target("x"))
    found = references.get(store, reference)
    assert found is not None
    assert found.digest == target("x").digest
    assert [r for r, _ in references.all(store)] == [reference]
    assert references.delete(store, reference)
    assert not references.delete(store, reference)
    assert references.get(store, reference) is None


def test_long_names_with_one_beginning_are_kept_apart(store: Store) -> None:
    first, second = (parse_reference("r.io/" + "a" * 250 + end) for end in ("b", "c"))
    references.put(store, first, target("1"))
    references.put(store, second, target("2"))
    assert [references.get(store, r).digest for r in (first, second)] == [target("1").digest, target("2").digest]  # type: ignore[union-attr]


def test_a_moved_name_leaves_a_dangling_image(store: Store) -> None:
    old = add_image(store, "app", "one")
    new = add_image(store, "app", "two")
    assert {(i.reference.familiar_name, i.id) for i in images.list_images(store)} == {("<none>", old.id), ("app", new.id)}
    assert images.find(store, old.id).layers == [diff_id("one")]
    images.tag(store, images.find(store, old.id), parse_reference("again"))
    assert {i.reference.familiar_name for i in images.list_images(store)} == {"app", "again"}


def test_replace_takes_a_platform_from_a_name(store: Store) -> None:
    first, second = add_indexed(store, "app", [HOST, "linux/s390x"], [HOST, "linux/s390x"])
    reference, before = parse_reference("app"), second.target
    assert references.replace(store, reference, Target(before.media_type, before.digest, before.size, first.target.images[:1]))
    assert [image.id for image in images.list_images(store)] == [first.id]
    assert not references.replace(store, parse_reference("other"), before)
    assert not references.replace(store, reference, target("another"))


def test_index_json_is_what_other_tools_expect(store: Store) -> None:
    image = add_image(store, "app:1", "one")
    index = json.loads(Path(store.images, "index.json").read_bytes())
    assert index["schemaVersion"] == 2
    entry = index["manifests"][0]
    assert (entry["mediaType"], entry["digest"]) == (mt.OCI_MANIFEST, image.manifest_digest)
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "docker.io/library/app:1"


def test_skopeo_reads_the_store(store: Store) -> None:
    add_image(store, "app:1", "one", platform=HOST)
    source = f"oci:{store.images}:docker.io/library/app:1"
    done = subprocess.run(["skopeo", "inspect", "--config", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["config"]["Cmd"] == ["sh"]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"{}", b'{"reference":"docker.io/library/b:latest","mediaType":"x","digest":"bad","size":1,"images":[]}', b"\xff"]
)
def test_a_damaged_reference_hides_no_other(store: Store, damage: bytes) -> None:
    add_image(store, "a", "one")
    add_image(store, "b", "two")
    add_image(store, "c", "three")
    Path(store.refs, "docker.io+library+b:latest").write_bytes(damage)
    assert [i.reference.familiar_name for i in images.list_images(store)] == ["a", "c"]
    assert images.find(store, "c").layers == [diff_id("three")]
    assert images.remove(store, "a").deleted
    with pytest.raises(DataLoss, match="docker.io\\+library\\+b"):
        images.find(store, "b")
    told: list[str] = []
    list(references.all(store, damaged=lambda name, _: told.append(name)))
    assert told == ["docker.io+library+b:latest"]


def test_a_renamed_reference_file_is_damage(store: Store) -> None:
    add_image(store, "a", "one")
    Path(store.refs, "docker.io+library+a:latest").rename(Path(store.refs, "docker.io+library+b:latest"))
    with pytest.raises(EstibaError):
        images.find(store, "b")
    assert images.list_images(store) == []


# --- images ---------------------------------------------------------------------------------------------------------


def test_find_by_everything(store: Store) -> None:
    image = add_image(store, "r.io/a/b:1", "one", "two")
    for name in ("r.io/a/b:1", image.id, hex_of(image.id), hex_of(image.id)[:12], hex_of(image.id)[:3], f"r.io/a/b@{image.manifest_digest}",
                 f"r.io/a/b:1@{image.manifest_digest}", image.manifest_digest, "sha256:" + hex_of(image.id)[:8]):  # fmt: skip
        found = images.find(store, name)
        assert (found.id, found.layers, found.manifest_digest) == (image.id, [diff_id("one"), diff_id("two")], image.manifest_digest), name
        assert found.reference.familiar == "r.io/a/b:1"
        assert [str(layer.digest) for layer in found.manifest.layers] == found.layers
        assert found.config.cmd == ["sh"]


@pytest.mark.parametrize(
    "name", ["none", "r.io/a/b:2", "deadbeef", "sha256:" + "0" * 64, "0" * 64, "r.io/a/b@sha256:" + "0" * 64, "r.io/a/c:1"]
)
def test_not_found(store: Store, name: str) -> None:
    add_image(store, "r.io/a/b:1", "one")
    with pytest.raises(NotFound, match="cannot find image"):
        images.find(store, name)


@pytest.mark.parametrize("name", ["", "A B", "../x", "sha256:xyz", "sha256:" + "0" * 65, "a@sha256:0"])
def test_malformed_names(store: Store, name: str) -> None:
    with pytest.raises(InvalidArgument):
        images.find(store, name)


def test_ambiguous_ids_list_the_candidates(store: Store) -> None:
    made = [add_image(store, f"app:{n}", "one", cmd=str(n)) for n in range(40)]
    first: dict[str, str] = {}
    clash = next(hex_of(i.id)[0] for i in made if first.setdefault(hex_of(i.id)[0], i.id) != i.id)
    with pytest.raises(Conflict, match="ambiguous") as caught:
        images.find(store, clash)
    assert caught.value.message.count("app:") >= 2


def test_a_name_of_hexadecimal_digits_is_a_name_first(store: Store) -> None:
    image = add_image(store, "cafe", "one")
    assert images.find(store, "cafe").id == image.id
    assert images.remove(store, "cafe").untagged == [parse_reference("cafe")]


def test_platforms_of_one_index(store: Store) -> None:
    other = "linux/s390x"
    add_indexed(store, "app", [HOST, other, "linux/riscv64"], [other])
    assert images.find(store, "app").platform.text == other
    (mine,) = add_indexed(store, "app", [HOST, other, "linux/riscv64"], [HOST])
    assert images.find(store, "app").id == mine.id
    assert images.find(store, "app", parse_platform(other)).platform.text == other
    assert len(images.list_images(store)) == 2
    with pytest.raises(NotFound, match="for linux/riscv64: the store holds it for") as caught:
        images.find(store, "app", parse_platform("linux/riscv64"))
    assert "--platform linux/riscv64" in str(caught.value.hint)
    removed = images.remove(store, "app")
    assert len(removed.deleted) == 2
    assert images.list_images(store) == []


def test_add_refuses_what_does_not_fit(store: Store) -> None:
    manifest, config = documents("one", "two")
    _, other_config = documents("one")
    with pytest.raises(DataLoss, match="2 layers, its configuration 1 diff_ids"):
        images.add(store, manifest, mt.OCI_MANIFEST, other_config, None)
    with pytest.raises(DataLoss, match="offered as"):
        images.add(store, manifest, mt.DOCKER_MANIFEST, config, None)
    swapped = config.replace(b"sh", b"no")
    with pytest.raises(DataLoss, match="size mismatch|digest"):
        images.add(store, manifest, mt.OCI_MANIFEST, swapped, None)
    assert images.list_images(store) == []


def container(store: Store, image: images.Image, container_id: str = "c" * 64) -> None:
    folder = Path(store.containers, container_id)
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"image": image.id, "layers": image.layers}))


def test_remove_by_name_and_id(store: Store) -> None:
    image = add_image(store, "a", "one")
    images.tag(store, image, parse_reference("b"))
    assert images.remove(store, "a").deleted == []
    assert images.find(store, "b").id == image.id
    images.tag(store, image, parse_reference("c"))
    with pytest.raises(Conflict, match="several names: b:latest, c:latest"):
        images.remove(store, image.id)
    removed = images.remove(store, image.id, force=True)
    assert [r.familiar for r in removed.untagged] == ["b:latest", "c:latest"]
    assert removed.deleted == [image.id]
    assert references.names(store) == []


def test_remove_of_an_image_in_use(store: Store) -> None:
    image = add_image(store, "a", "one")
    container(store, image)
    with pytest.raises(Conflict, match="container cccccccccccc stands on it"):
        images.remove(store, "a")
    removed = images.remove(store, "a", force=True)
    assert ([r.familiar for r in removed.untagged], removed.deleted) == (["a:latest"], [])
    assert images.list_images(store)[0].reference.is_dangling
    shutil.rmtree(Path(store.containers, "c" * 64))
    assert images.remove(store, hex_of(image.id)[:12]).deleted == [image.id]
    assert images.list_images(store) == []


def test_removing_a_second_name_of_an_image_in_use(store: Store) -> None:
    image = add_image(store, "a", "one")
    images.tag(store, image, parse_reference("b"))
    container(store, image)
    assert images.remove(store, "b").deleted == []


def test_removed_dangling_image_goes_with_all_its_references(store: Store) -> None:
    old = add_image(store, "a", "one")
    add_image(store, "a", "two")
    assert images.remove(store, old.id).deleted == [old.id]
    assert len(references.names(store)) == 1


def test_start_reads_few_files(store: Store) -> None:
    """Ten thousand names: the cost of one is one open, whatever there is beside it."""
    image = add_image(store, "app", "one")
    text = Path(store.refs, "docker.io+library+app:latest").read_text()
    for number in range(10_000):
        Path(store.refs, f"docker.io+library+app:{number}").write_text(text.replace("app:latest", f"app:{number}"))
    code = (
        "import sys\nfrom estiba.store.layout import Store\nfrom estiba.store import images\n"
        f"store = Store({store.root!r}, '/nonexistent')\nopened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(args[0]) if event in ('open', 'os.listdir', 'os.scandir') else None)\n"
        "image = images.find(store, 'app:7777')\nimage.layers\n"
        f"print(image.id, len([p for p in opened if str(p).startswith({store.root!r})]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{image.id} 2\n"
