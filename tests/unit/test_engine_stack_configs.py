"""The configuration of a stack of images."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiba.engine.stack_configs import aligned_history, merge_env, stack_configs, unique_layers
from estiba.errors import InvalidArgument
from estiba.oci.digest import DiffID
from estiba.oci.image_config import ImageConfig, parse_image_config


def layer(letter: str) -> DiffID:
    return DiffID("sha256:" + letter * 64)


def image(layers: str = "", *, architecture: str = "amd64", variant: str = "", history: Any = None, **config: Any) -> ImageConfig:
    document: dict[str, Any] = {"architecture": architecture, "os": "linux", "config": config}
    document |= {"variant": variant} if variant else {}
    document["created"] = config.pop("created", None)
    document["rootfs"] = {"type": "layers", "diff_ids": [layer(letter) for letter in layers]}
    document["history"] = [{"created_by": letter} for letter in layers] if history is None else history
    return parse_image_config(json.dumps(document).encode())


def letters(config: ImageConfig) -> str:
    return "".join(diff_id[-1] for diff_id in config.diff_ids)


def test_layers_command_and_user_of_the_last() -> None:
    stacked = stack_configs([image("ab", Cmd=["one"], User="1", WorkingDir="/a"), image("cd", Entrypoint=["two"])])
    assert letters(stacked) == "abcd"
    assert (stacked.entrypoint, stacked.cmd, stacked.user, stacked.working_dir) == (["two"], [], "", "")


def test_an_image_without_a_command_leaves_the_one_below() -> None:
    stacked = stack_configs([image("a", Cmd=["app"], User="7"), image("b", Env=["X=1"])])
    assert (stacked.cmd, stacked.user, stacked.env) == (["app"], "7", ["X=1"])


def test_union_of_ports_volumes_labels() -> None:
    one = image("a", ExposedPorts={"80/tcp": {}}, Volumes={"/a": {}}, Labels={"k": "1", "l": "1"})
    two = image("b", ExposedPorts={"81/tcp": {}}, Volumes={"/b": {}}, Labels={"k": "2"})
    stacked = stack_configs([one, two])
    assert stacked.exposed_ports == ["80/tcp", "81/tcp"]
    assert stacked.volumes == ["/a", "/b"]
    assert stacked.labels == {"k": "2", "l": "1"}


def test_environment() -> None:
    assert merge_env([["PATH=/bin:/a", "A=1", "B=1"], ["B=2", "PATH=/tools:/bin", "C="]]) == [
        "PATH=/tools:/bin:/a", "A=1", "B=2", "C=",
    ]  # fmt: skip


def test_layers_that_are_there_twice_stay_on_top() -> None:
    stacked = stack_configs([image("eab"), image("ec")])
    assert letters(stacked) == "abec"
    marks = [(entry["created_by"], entry.get("empty_layer", False)) for entry in stacked.history]
    assert marks == [("e", True), ("a", False), ("b", False), ("e", False), ("c", False)]


Tree = dict[str, str]


def seen(stack: list[Tree]) -> Tree:
    """What an overlay shows: a path maps to a content, or is taken away ("")."""
    view: Tree = {}
    for tree in stack:
        view.update(tree)
    return {path: content for path, content in view.items() if content}


@given(st.lists(st.sampled_from("abcd"), max_size=8), st.data())
def test_leaving_out_the_lower_one_changes_nothing(stack: list[str], data: st.DataObject) -> None:
    trees = {each: data.draw(st.dictionaries(st.sampled_from("pqrs"), st.sampled_from(["", "1", "2"]))) for each in "abcd"}
    unique = unique_layers([DiffID(each) for each in stack])
    assert len(unique) == len(set(unique))
    assert seen([trees[each] for each in stack]) == seen([trees[each] for each in unique])


@pytest.mark.parametrize(
    "history",
    [None, [], [{}], [{"empty_layer": True}], [{"created_by": str(n)} for n in range(9)], "nonsense"],
)
def test_every_layer_has_an_entry(history: Any) -> None:
    stacked = stack_configs([image("ab", history=history), image("c")])
    assert sum(not entry.get("empty_layer") for entry in stacked.history) == 3
    assert stacked.history[-1]["created_by"] == "c"
    assert aligned_history(stacked) == stacked.history


def test_created_is_the_latest_and_the_result_is_the_same_each_time() -> None:
    one, two = image("a", created="2020-01-01T00:00:00Z"), image("b", created="2019-01-01T00:00:00Z")
    assert stack_configs([one, two]).created == "2020-01-01T00:00:00Z"
    assert stack_configs([one, two]).raw == stack_configs([one, two]).raw
    assert stack_configs([image("a"), image("b")]).created is None


def test_platforms() -> None:
    assert stack_configs([image("a"), image("b", variant="v3")]).variant == "v3"
    with pytest.raises(InvalidArgument, match="platforms differ"):
        stack_configs([image("a"), image("b", architecture="arm64")])


def test_limits() -> None:
    with pytest.raises(InvalidArgument):
        stack_configs([])
    many = [parse_image_config(json.dumps(_numbered(start)).encode()) for start in (0, 400)]
    with pytest.raises(InvalidArgument, match="800 layers"):
        stack_configs(many)


def _numbered(start: int) -> dict[str, Any]:
    diff_ids = [f"sha256:{number:064x}" for number in range(start, start + 400)]
    return {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
