"""The library's face: every name is there, and type checkers see the same ones."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import estiba

SOURCE = Path(str(estiba.__file__))


@pytest.mark.parametrize("name", [name for name in estiba.__all__ if name[0] != "_"])
def test_name_is_what_its_module_has(name: str) -> None:
    module, member = estiba._FACE[name]
    assert getattr(estiba, name) is getattr(importlib.import_module(module), member)
    assert getattr(estiba, name).__doc__


def test_type_checkers_see_the_same_names() -> None:
    seen = {
        alias.asname: (node.module, alias.name)
        for block in ast.parse(SOURCE.read_text()).body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == estiba._FACE
    assert set(dir(estiba)) == {*seen, "__version__"}


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = estiba.nope
