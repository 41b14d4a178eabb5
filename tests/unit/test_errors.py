"""`OnFailure`, by which everything that was begun is taken back."""

from __future__ import annotations

import pytest

from estiba.errors import OnFailure


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_was_begun_is_undone_by_whatever_ends_it(error: type[BaseException]) -> None:
    undone: list[tuple[str, bool]] = []

    def undo(name: str, *, force: bool) -> None:
        undone.append((name, force))

    with pytest.raises(error), OnFailure(undo, "box", force=True):
        raise error
    assert undone == [("box", True)]


def test_what_was_done_stays() -> None:
    undone: list[int] = []
    with OnFailure(undone.append, 1):
        assert undone == []
    assert undone == []
