"""No file of the package imports another in a circle, imports inside of functions included: a file can be read with those below it."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest

from tests.lint.repository import SRC, files, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def imports(node: ast.AST, known: frozenset[str]) -> Iterator[str]:
    """The modules that the code imports when it runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom) and child.module:
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                yield inner if inner in known else child.module
        yield from imports(child, known)


def check(sources: dict[str, str]) -> None:
    known = frozenset(sources)
    graph = {
        name: {each for each in imports(ast.parse(source), known) if each in known and each != name} for name, source in sources.items()
    }
    TopologicalSorter(graph).prepare()


def test_no_circle() -> None:
    check({name_of(path): text(path) for path in files("src/estiba/*.py")})


@pytest.mark.parametrize("source", ["from a import b", "def f():\n    from a.b import c"])
def test_a_circle_is_found(source: str) -> None:
    sources = {"a": "", "a.b": "from a import c", "a.c": source}
    with pytest.raises(CycleError):
        check(sources)
    check({**sources, "a.c": f"if TYPE_CHECKING:\n    {source.splitlines()[-1].strip()}"})
