"""What entries mean: names, duplicates, whiteouts, links (bad inputs 24, 32, 33)."""

from __future__ import annotations

import pytest

from estiba.store.layers import tar, tree
from estiba.store.layers.pax import Malformed
from estiba.store.layers.tar import Entry
from estiba.store.layers.tree import Tree, clean


class Log:
    """Notes what the tree wants done."""

    def __init__(self) -> None:
        self.done: list[tuple[str, bytes]] = []

    def make_directory(self, path: bytes) -> None:
        self.done.append(("mkdir", path))

    def erase(self, path: bytes, *, is_directory: bool) -> None:
        self.done.append(("rmdir" if is_directory else "unlink", path))

    def keep(self, path: bytes, member: int) -> None:
        self.done.append((f"keep {member}", path))


KINDS = {"f": tar.FILE, "d": tar.DIRECTORY, "l": tar.SYMLINK, "h": tar.HARD_LINK, "c": tar.CHARACTER, "p": tar.FIFO}


def enter(*members: str) -> tuple[Tree, list[tuple[str, bytes]], list[tuple[bytes, int]]]:
    """`f a/b`, `l a -> b`, `h a -> b`."""
    log = Log()
    result = Tree(log)
    answers = []
    for number, text in enumerate(members, 1):
        kind, _, rest = text.partition(" ")
        name, _, link = rest.partition(" -> ")
        answers.append(result.enter(Entry(name.encode(), KINDS[kind], 0o644, 0, 0, 5 if kind == "f" else 0, 0, link.encode(), 0), number))
    return result, log.done, answers


def kinds(result: Tree) -> dict[str, int]:
    return {path.decode(): value & 7 for path, value in result.entries.items() if path}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"a/b", b"a/b"), (b"/etc/passwd", b"etc/passwd"), (b"///a", b"a"), (b"./a", b"a"), (b"./", b""), (b".", b""), (b"a/./b//c/", b"a/b/c"),
        (b"a/.hidden", b"a/.hidden"), (b"..a/b..", b"..a/b.."), (b"a/...", b"a/..."),
    ],
)  # fmt: skip
def test_names_are_cleaned(name: bytes, path: bytes) -> None:
    assert clean(name) == path


@pytest.mark.parametrize("name", [b"../x", b"a/../../x", b"..", b"/..", b"./..", b"a/..", b"a\0b", b"x" * 4096, b"x/" * 2048 + b"x", b"y" * 256])
def test_names_are_refused(name: bytes) -> None:
    with pytest.raises(Malformed):
        clean(name)
        Tree(Log()).enter(Entry(name, tar.FILE, 0, 0, 0, 0, 0, b"", 0), 1)


def test_parents_that_no_member_names_are_made_once() -> None:
    result, done, _ = enter("f a/b/c", "f a/b/d", "d a/b")
    assert done == [("mkdir", b"a"), ("mkdir", b"a/b")]
    assert result.implied == {b"a"}, "a/b got a member of its own later"


def test_names_through_a_link_of_the_same_layer_are_resolved_inside_the_layer() -> None:
    _, done, answers = enter("d usr/lib", "l lib -> usr/lib", "f lib/x", "l out -> /../../../etc", "f out/passwd", "l up -> a/../../usr", "f up/y")
    assert [path for path, _ in answers if path not in {b"lib", b"out", b"up"}] == [b"usr/lib", b"usr/lib/x", b"etc/passwd", b"usr/y"]
    assert ("mkdir", b"etc") in done


def test_a_loop_of_links_is_refused() -> None:
    with pytest.raises(Malformed, match="too many symbolic links"):
        enter("l a -> b", "l b -> a", "f a/x")


def test_a_file_is_no_folder() -> None:
    with pytest.raises(Malformed, match="'a' is not a directory"):
        enter("f a", "f a/b")


def test_the_last_entry_of_a_name_wins() -> None:
    result, done, _ = enter("f a", "f a")
    assert done == [("keep 1", b"a")]
    assert result.entries[b"a"] >> 3 == 2
    result, done, _ = enter("f a", "d a", "f a/b")
    assert done == [("keep 1", b"a")]
    assert kinds(result) == {"a": tree.DIRECTORY, "a/b": tree.FILE}
    result, done, _ = enter("d a", "d a/d", "f a/d/x", "l a/l -> x", "f a")
    assert done == [("unlink", b"a/l"), ("keep 3", b"a/d/x"), ("rmdir", b"a/d"), ("rmdir", b"a")]
    assert kinds(result) == {"a": tree.FILE}


def test_a_directory_twice_is_one() -> None:
    _, done, answers = enter("d a", "f a/b", "d a")
    assert done == []
    assert answers[2] == (b"a", tree.SAME_DIRECTORY)


def test_a_link_that_is_replaced_leads_nowhere_any_more() -> None:
    _, _, answers = enter("d real", "l a -> real", "f a/x", "d a", "f a/y")
    assert [answers[2][0], answers[4][0]] == [b"real/x", b"a/y"]


def test_whiteouts() -> None:
    result, _, answers = enter("f etc/.wh.passwd", "f var/.wh..wh..opq")
    assert answers[0] == (b"etc/passwd", tree.WHITEOUT)
    assert result.opaque == {b"var"}
    assert kinds(result) == {"etc": tree.DIRECTORY, "etc/passwd": tree.WHITEOUT, "var": tree.DIRECTORY}


@pytest.mark.parametrize("order", [("f .wh.a", "f a"), ("f a", "f .wh.a")])
def test_a_file_wins_beside_its_own_whiteout(order: tuple[str, str]) -> None:
    result, _, _ = enter(*order)
    assert kinds(result) == {"a": tree.FILE}


@pytest.mark.parametrize("order", [("f .wh.a", "d a"), ("d a", "f .wh.a"), ("f .wh.a", "f a/b"), ("f a/b", "f .wh.a")])
def test_a_directory_beside_its_own_whiteout_hides_the_one_below(order: tuple[str, str]) -> None:
    result, _, _ = enter(*order)
    assert kinds(result)["a"] == tree.DIRECTORY
    assert result.opaque == {b"a"}


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh..", ".wh.a/b"])
def test_whiteouts_of_nothing_are_refused(name: str) -> None:
    with pytest.raises(Malformed):
        enter(f"f {name}")


def test_bookkeeping_of_aufs_is_not_made() -> None:
    _, _, answers = enter("d .wh..wh.plnk", "f .wh..wh.aufs")
    assert [kind for _, kind in answers] == [tree.NOTHING, tree.NOTHING]


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        (["h a -> missing"], "no earlier entry"),
        (["h a -> b", "f b"], "no earlier entry"),
        (["d b", "h a -> b"], "not a file"),
        (["f .wh.b", "h a -> b"], "not a file"),
        (["h a -> ../../etc/passwd"], "'..'"),
        (["f a", "h a -> a"], "to itself"),
        (["f d/x", "h d -> d/x"], "which it replaces"),
        (["l out -> /etc", "h a -> out/passwd"], "is not a directory"),
    ],
)
def test_hard_links_are_refused(members: list[str], cause: str) -> None:
    with pytest.raises(Malformed, match=cause):
        enter(*members)


def test_hard_links() -> None:
    result, _, answers = enter("d usr", "l lib -> usr", "f usr/x", "h a -> /lib/x", "l s -> x", "h t -> s", "c dev", "h dev2 -> dev")
    assert answers[3] == (b"a", tree.LINK)
    assert kinds(result)["t"] == tree.SYMLINK
    assert answers[7] == (b"dev2", tree.DEVICE), "what is not made has no second name either"
    _, done, _ = enter("f a", "h b -> a", "f b")
    assert done == [("unlink", b"b")], "the content is a's: nothing to keep"


def test_the_root() -> None:
    result, _, answers = enter("d ./", "d .")
    assert answers == [(b"", tree.SAME_DIRECTORY)] * 2
    assert result.implied == set()
    for kind in "fpc":
        with pytest.raises(Malformed):
            enter(f"{kind} ./")
    with pytest.raises(Malformed):
        enter("l . -> /etc")


def test_replacing_directories_is_bounded() -> None:
    """Each costs a walk over all names: an archive could ask for millions."""
    with pytest.raises(Malformed, match="more than 100"):
        enter(*[line for number in range(101) for line in (f"d {number}", f"f {number}")])
