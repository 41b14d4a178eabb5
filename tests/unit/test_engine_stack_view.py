"""What one image of a stack hides from another: overlayfs's rules, by hand and against a model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from estiba.engine.stack_view import Entry, View

Layer = list[tuple[str, str]]


def view(*images: Layer) -> View:
    result = View([f"image{number}" for number in range(len(images))])
    for number, layer in enumerate(images):
        result.add_layer(number, iter([Entry(path, kind, f"{path}{number}".encode()) for path, kind in layer]))
    return result


def hidden(*images: Layer) -> list[tuple[str, str, str, str]]:
    return sorted((each.path, each.kind, each.by, each.of) for each in view(*images).hidden)


def test_replaced() -> None:
    assert hidden([("/a", "file")], [("/a", "file")]) == [("/a", "replaced", "image1", "image0")]


def test_an_equal_file_hides_nothing() -> None:
    result = View(["x", "y"])
    for number in range(2):
        result.add_layer(number, iter([Entry("/a", "file", b"same")]))
    assert result.hidden == []


def test_removed_by_a_whiteout() -> None:
    lower = [("/d", "directory"), ("/d/a", "file"), ("/d/b", "file")]
    assert hidden(lower, [("/d", "whiteout")]) == [("/d/a", "removed", "image1", "image0"), ("/d/b", "removed", "image1", "image0")]
    assert hidden(lower, [("/d", "directory"), ("/d/a", "whiteout")]) == [("/d/a", "removed", "image1", "image0")]


def test_removed_by_an_opaque_directory() -> None:
    lower, upper = [("/d", "directory"), ("/d/a", "file")], [("/d", "opaque"), ("/d/c", "file")]
    assert hidden(lower, upper) == [("/d/a", "removed", "image1", "image0")]
    assert view(lower, upper).paths == ["/d", "/d/c"]


def test_covered_when_a_directory_becomes_a_link() -> None:
    lower = [("/lib", "directory"), ("/lib/x", "file")]
    assert hidden(lower, [("/lib", "file")]) == [("/lib/x", "covered", "image1", "image0")]


def test_a_link_that_becomes_a_directory_is_replaced() -> None:
    assert hidden([("/bin", "file")], [("/bin", "directory"), ("/bin/sh", "file")]) == [("/bin", "replaced", "image1", "image0")]


def test_directories_are_merged() -> None:
    lower, upper = [("/d", "directory"), ("/d/a", "file")], [("/d", "directory"), ("/d/b", "file")]
    assert hidden(lower, upper) == []
    assert view(lower, upper).paths == ["/d", "/d/a", "/d/b"]


def test_what_an_image_hides_of_itself_is_left_out() -> None:
    result = View(["x"])
    for content in (b"1", b"2"):
        result.add_layer(0, iter([Entry("/a", "file", content)]))
    assert result.hidden == []


def test_the_third_image_is_told_from_the_second() -> None:
    assert hidden([("/a", "file")], [("/a", "file")], [("/a", "whiteout")]) == [
        ("/a", "removed", "image2", "image1"), ("/a", "replaced", "image1", "image0"),
    ]  # fmt: skip


@given(st.lists(st.dictionaries(st.sampled_from(["/a", "/b", "/c"]), st.sampled_from(["file", "whiteout"])), min_size=1, max_size=5))
def test_flat_stacks_agree_with_a_dictionary(layers: list[dict[str, str]]) -> None:
    model: dict[str, int] = {}
    lost = 0
    for number, layer in enumerate(layers):
        for path, kind in layer.items():
            lost += path in model
            model.pop(path, None)
            if kind == "file":
                model[path] = number
    result = view(*(sorted(layer.items()) for layer in layers))
    assert result.paths == sorted(model)
    assert len(result.hidden) == lost
