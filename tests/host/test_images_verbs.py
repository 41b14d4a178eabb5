"""images, tag, rmi, history, inspect, tree, df, prune on real images."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from estiba.config.settings import Settings
from estiba.engine.df import df
from estiba.engine.history import history
from estiba.engine.images import images
from estiba.engine.import_ import import_
from estiba.engine.inspect import inspect
from estiba.engine.prune import prune
from estiba.engine.rmi import rmi
from estiba.engine.stack import stack
from estiba.engine.tag import tag
from estiba.engine.tree import tree
from estiba.errors import Conflict, InvalidArgument, NotFound
from estiba.oci.platform import parse_platform
from estiba.oci.reference import parse_reference
from estiba.store import references
from estiba.store.images import Image, find
from estiba.store.layers import has_layer
from estiba.store.layout import Store

NOW = datetime.now(UTC)
Importer = Callable[..., Image]


@pytest.fixture
def imported(store: Store, settings: Settings, alpine_tars: dict[str, Path]) -> Importer:
    def make(name: str | None, version: int = 0, *, age: timedelta = timedelta(days=1), changes: tuple[str, ...] = ()) -> Image:
        with open(list(alpine_tars.values())[version], "rb") as stream:
            return import_(store, settings, stream, reference=name, changes=changes, created=NOW - age)

    return make


@pytest.fixture
def two(imported: Importer) -> tuple[Image, Image]:
    """An old image with labels, and a newer one without."""
    old = imported("local/old:1", 0, age=timedelta(days=40), changes=("LABEL kind=base level=1",))
    return old, imported("local/deep/new:2", 1, age=timedelta(hours=5))


def names(store: Store, *filters: str, reference: str | None = None) -> list[str]:
    return [f"{row.Repository}:{row.Tag}" for row in images(store, filters=filters, reference=reference)]


# --- images -----------------------------------------------------------------------------------------------------------


def test_rows(store: Store, two: tuple[Image, Image]) -> None:
    new, old = images(store)
    assert (old.ID, old.Repository, old.Tag, old.CreatedSince) == (two[0].id, "local/old", "1", "5 weeks ago")
    assert (new.CreatedSince, new.Digest) == ("5 hours ago", two[1].target.digest)
    assert (old.Size[-2:], old.size > 10**6) == ("MB", True)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["label=kind"], ["local/old:1"]),
        (["label=kind=base", "label=level=1"], ["local/old:1"]),
        (["label=kind=base", "label=level=2"], []),
        (["label!=kind"], ["local/deep/new:2"]),
        (["before=local/deep/new:2"], ["local/old:1"]),
        (["since=local/old:1"], ["local/deep/new:2"]),
        (["until=24h"], ["local/old:1"]),
        (["until=1h"], ["local/deep/new:2", "local/old:1"]),
        (["reference=local/*"], ["local/old:1"]),
        (["reference=local/*/*"], ["local/deep/new:2"]),
        (["reference=local/old:2"], []),
        (["reference=local/old", "reference=local/deep/new:*"], ["local/deep/new:2", "local/old:1"]),
        (["dangling=false"], ["local/deep/new:2", "local/old:1"]),
        (["dangling=true"], []),
    ],
)
def test_filters(store: Store, two: tuple[Image, Image], filters: list[str], expected: list[str]) -> None:
    assert names(store, *filters) == expected


@pytest.mark.parametrize("wrong", ["nonsense", "colour=red", "dangling=maybe", "until=soon", "before!=local/old:1"])
def test_wrong_filters(store: Store, two: tuple[Image, Image], wrong: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot use --filter"):
        images(store, filters=[wrong])
    with pytest.raises(NotFound):
        images(store, filters=["before=local/none"])


def test_reference_argument(store: Store, two: tuple[Image, Image]) -> None:
    assert names(store, reference="local/old") == ["local/old:1"]
    assert names(store, reference="local/old:2") == []


def test_an_image_that_lost_its_name_is_dangling(store: Store, imported: Importer) -> None:
    first = imported("name", 0)
    imported("name", 1)
    assert names(store, "dangling=true") == ["<none>:<none>"]
    assert first.id == images(store, filters=["dangling=true"])[0].ID


def test_a_damaged_image_hides_no_other(store: Store, two: tuple[Image, Image]) -> None:
    os.truncate(store.blob_path(two[0].id), 10)  # type: ignore[arg-type]
    rows = {row.Repository: row for row in images(store)}
    assert (rows["local/old"].CreatedSince, rows["local/old"].size) == ("N/A", 0)
    assert rows["local/deep/new"].size > 0
    assert names(store, "label!=kind") == ["local/deep/new:2"]
    assert [image.title for image in tree(store).images if image.layers] == ["local/deep/new:2"]


@pytest.mark.parametrize("created", ["0000", "9999-12-31T23:59:59Z", None, 5])
def test_times_that_are_none(store: Store, settings: Settings, tmp_path: Path, created: object) -> None:
    from estiba.engine.load import load
    from tests.host.test_images_archives import CONFIG, docker_files, written

    load(store, settings, written(tmp_path / "a.tar", docker_files({**CONFIG, "created": created})))
    (row,) = images(store)
    assert (row.CreatedSince, row.CreatedAt) == ("N/A", "N/A")


# --- tag, rmi ---------------------------------------------------------------------------------------------------------


def test_tag_by_name_and_by_id(store: Store, two: tuple[Image, Image]) -> None:
    assert tag(store, "local/old:1", "other").familiar == "other:latest"
    assert tag(store, two[0].id[7:19], "third:x").familiar == "third:x"
    assert find(store, "other").id == find(store, "third:x").id == two[0].id
    with pytest.raises(NotFound):
        tag(store, "none", "x")
    with pytest.raises(InvalidArgument, match="a name with a digest"):
        tag(store, "other", f"x@{two[0].manifest_digest}")


def test_rmi_of_a_name_keeps_the_image_until_the_last(store: Store, two: tuple[Image, Image]) -> None:
    tag(store, "local/old:1", "other")
    assert [each.line for each in rmi(store, "other")] == ["Untagged: other:latest"]
    layer = two[0].layers[0]
    assert [each.line for each in rmi(store, "local/old:1")] == [
        "Untagged: local/old:1", f"Deleted: {two[0].id}", f"Deleted: {layer}",
    ]  # fmt: skip
    assert not has_layer(store, layer)
    assert has_layer(store, two[1].layers[0])


def test_rmi_by_id(store: Store, two: tuple[Image, Image]) -> None:
    tag(store, "local/old:1", "other")
    with pytest.raises(Conflict, match="several names"):
        rmi(store, two[0].id[7:19])
    lines = [each.line for each in rmi(store, two[0].id[7:19], force=True)]
    assert {"Untagged: local/old:1", "Untagged: other:latest", f"Deleted: {two[0].id}"} < set(lines)
    with pytest.raises(NotFound):
        rmi(store, two[0].id)


def test_rmi_without_prune_keeps_the_layer(store: Store, two: tuple[Image, Image]) -> None:
    rmi(store, "local/old:1", prune=False)
    assert has_layer(store, two[0].layers[0])


def test_rmi_of_what_a_container_uses(store: Store, two: tuple[Image, Image]) -> None:
    folder = f"{store.containers}/{'c' * 64}"
    os.mkdir(folder)
    with open(f"{folder}/state.json", "w", encoding="ascii") as file:
        json.dump({"id": "c" * 64, "image": two[0].id, "layers": two[0].layers}, file)
    with pytest.raises(Conflict, match="cccccccccccc"):
        rmi(store, "local/old:1")
    assert [each.line for each in rmi(store, "local/old:1", force=True)] == ["Untagged: local/old:1"]
    assert has_layer(store, two[0].layers[0])


def test_rmi_of_one_platform(store: Store, two: tuple[Image, Image]) -> None:
    """A name for two platforms: the index is what it stands for."""
    name, target = parse_reference("both:1"), references.get(store, two[0].reference)
    assert target
    entry = references.TargetImage(parse_platform("linux/s390x"), two[1].manifest_digest, two[1].id)
    references.put(store, name, references.Target(target.media_type, target.digest, target.size, [*target.images, entry]))
    assert [each.line for each in rmi(store, "both:1", platform="linux/s390x")] == [f"Deleted: {two[1].id}"]
    assert [image.config for image in references.get(store, name).images] == [two[0].id]  # type: ignore[union-attr]
    assert [each.line for each in rmi(store, "both:1", platform=two[0].platform.text)] == ["Untagged: both:1"]


# --- history, inspect ---------------------------------------------------------------------------------------------------


def test_history(store: Store, two: tuple[Image, Image]) -> None:
    both = stack(store, ["local/old:1", "local/deep/new:2"], "both")
    rows = history(store, "both")
    assert [row.ID for row in rows] == [both.id, "<missing>"]
    assert [row.CreatedSince for row in rows] == ["5 hours ago", "5 weeks ago"]
    assert sum(row.size for row in rows) == sum(row.size for row in images(store, reference="both"))
    assert rows[0].Comment.startswith("Imported from ")


def test_inspect(store: Store, two: tuple[Image, Image]) -> None:
    tag(store, "local/old:1", "example.com/x:9")
    found = inspect(store, "local/old:1")
    assert found["Id"] == two[0].id
    assert sorted(found["RepoTags"]) == ["example.com/x:9", "local/old:1"]  # type: ignore[call-overload]
    assert found["RepoDigests"] == [f"{name}@{two[0].target.digest}" for name in ("example.com/x", "local/old")]
    assert found["RootFS"] == {"Type": "layers", "Layers": two[0].layers}
    assert found["Config"]["Labels"] == {"kind": "base", "level": "1"}  # type: ignore[index]
    assert (found["Architecture"], found["Os"]) == (two[0].config.architecture, "linux")
    driver = found["GraphDriver"]
    assert os.path.isdir(driver["Data"]["LowerDir"])  # type: ignore[index]
    json.dumps(found)


# --- tree, df, prune ----------------------------------------------------------------------------------------------------


def test_tree(store: Store, two: tuple[Image, Image]) -> None:
    stack(store, ["local/old:1", "local/deep/new:2"], "both")
    by_title = {image.title: image for image in tree(store).images}
    both = by_title["both:latest"]
    assert [layer.also_in for layer in both.layers] == [["local/old:1"], ["local/deep/new:2"]]
    assert by_title["local/old:1"].layers[0].also_in == ["both:latest"]
    assert tree(store, ["both"]).images == [both]
    lines = tree(store, ["both"]).lines()
    assert lines[0].startswith("both:latest  ")
    assert [line[0] for line in lines[1:]] == ["├", "└"]  # the newest on top
    assert two[1].layers[0][7:19] in lines[1]
    json.dumps(tree(store).to_json())


def test_df_tells_what_sharing_saves(store: Store, imported: Importer) -> None:
    first = imported("one", 0)
    assert (df(store).saved_by_layers, df(store).saved_by_files) == (0, 0)
    imported("two", 0, changes=("ENV A=1",))
    usage = df(store)
    assert usage.saved_by_layers == next(row.size for row in images(store, reference="one"))
    assert usage.rows[0].TotalCount == "2"
    imported("three", 1)
    assert df(store).saved_by_files > 0
    assert first.layers
    assert "Sharing saves" in df(store).lines()[-1]


def test_prune_takes_what_is_dangling(store: Store, imported: Importer) -> None:
    gone = imported("name", 0)
    imported("name", 1)
    pruned = prune(store)
    assert [each.line for each in pruned.removed] == [f"Deleted: {gone.id}", f"Deleted: {gone.layers[0]}"]
    assert pruned.freed > 10**6
    assert (len(images(store, all=True)), prune(store).lines()) == (1, ["Total reclaimed space: 0B"])


def test_prune_all_with_filters(store: Store, two: tuple[Image, Image]) -> None:
    assert [each.line for each in prune(store, all=True, filters=["label!=kind", "until=24h"]).removed] == []
    assert "Untagged: local/old:1" in [each.line for each in prune(store, all=True, filters=["until=24h"]).removed]
    assert names(store) == ["local/deep/new:2"]
    prune(store, all=True)
    assert (images(store), os.listdir(store.layers)) == ([], [])


def test_prune_leaves_what_a_container_uses(store: Store, two: tuple[Image, Image]) -> None:
    os.mkdir(f"{store.containers}/{'c' * 64}")
    with open(f"{store.containers}/{'c' * 64}/state.json", "w", encoding="ascii") as file:
        json.dump({"id": "c" * 64, "image": two[0].id, "layers": two[0].layers}, file)
    prune(store, all=True)
    assert names(store) == ["local/old:1"]


def test_tree_of_an_image_without_its_layer(store: Store, two: tuple[Image, Image]) -> None:
    os.rename(f"{store.layers}/{two[0].layers[0][7:]}", f"{store.trash}/x")
    found = {image.title: image for image in tree(store).images}
    assert found["local/old:1"].layers[0].size == 0
    assert found["local/deep/new:2"].layers[0].size > 0
