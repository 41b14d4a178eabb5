"""How often tests that throw dice are repeated: a few times in `make test`, as often as they are meant to in `make soak`."""

from __future__ import annotations

import os


def times(few: int, many: int) -> range:
    """The rounds of a test, for `pytest.mark.parametrize`."""
    return range(many if os.environ.get("ESTIBA_SOAK") else few)
