"""All modules of the package in one file, `_bin/modules.<interpreter>`: its writer, for the build, and the finder that reads it at a start.

A start imports some seventy modules, and half of its imports' time went into finding, checking and opening a file for each
(docs/dev/decisions/029-modules-in-one-file.md). The first `INDEX` bytes are a marshalled dictionary of names of modules, each with one
number (`_entry`): where its code is, how long, and whether it is a package; behind them lies the marshalled code of each module. This
module cannot be brought by itself: its code is in the index, under the empty name. An interpreter for which there is no such file takes
the sources.
"""

from __future__ import annotations

import _imp
import gc
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from types import ModuleType

INDEX = 1 << 16  # bytes; launcher.c reads as many
_LARGEST = (1 << 24) - 1


class Modules:
    """A meta path finder and loader of the modules in the index (importlib.abc, which is heavy itself)."""

    def __init__(self, file: int, index: dict[str, int], site: str) -> None:
        self._file, self._index, self._site = file, index, site

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        entry = self._index.get(name)
        if entry is None:
            return None
        path = f"{self._site}/{name.replace('.', '/')}"
        spec = ModuleSpec(name, self, origin=f"{path}/__init__.py" if entry & 1 else f"{path}.py")  # type: ignore[arg-type]  # not a Loader by name
        if entry & 1:
            spec.submodule_search_locations = [path]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """An ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        entry = self._index[module.__name__]
        code = marshal.loads(posix.pread(self._file, entry >> 1 & _LARGEST, INDEX + (entry >> 25)))  # noqa: S302 - the package's own code
        # By hand: for a spec that has a location importlib works out where a cached file would be.
        module.__file__ = module.__spec__.origin  # type: ignore[union-attr]  # `find_spec` made it
        _imp._fix_co_filename(code, module.__file__)  # type: ignore[attr-defined]  # noqa: SLF001 - for tracebacks
        exec(code, module.__dict__)  # noqa: S102 - as importlib does


def install(file: int, index: dict[str, int], site: str) -> None:
    """Put the finder before all others.

    Parameters: `file`, a descriptor of the file of modules; `index`, what its first bytes say; `site`, the folder of the package.
    """
    if file <= 2:  # a standard descriptor is missing, and cli/main.py fills its place
        posix.close(file)
        return
    sys.meta_path.insert(0, Modules(file, index, site))
    gc.set_threshold(20_000)  # what a start makes, it needs to its end: looking for cycles in it took a millisecond


def _entry(place: int, size: int, *, package: bool) -> int:
    """What the index says of a module: one number, for the index is read whole at every start."""
    assert size <= _LARGEST
    return place << 25 | size << 1 | package


def write(site: str) -> str:
    """Writes the file of the package `site`/estiba for this interpreter, and returns its path."""
    import __future__

    import ast
    from pathlib import Path

    index: dict[str, object] = {}
    codes = []
    place = 0
    for path in sorted(Path(site, "estiba").rglob("*.py")):
        name = path.relative_to(site).as_posix()
        tree = ast.parse(path.read_bytes(), name)
        _shorten(tree)
        code = compile(tree, name, "exec", __future__.annotations.compiler_flag, dont_inherit=True)
        codes.append(marshal.dumps(code))
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        index[module] = _entry(place, len(codes[-1]), package=path.name == "__init__.py")
        place += len(codes[-1])
        if name == "estiba/modules.py":
            index[""] = code
    first = marshal.dumps(index)
    assert len(first) <= INDEX
    target = Path(site, "estiba", "_bin", f"modules.{sys.implementation.cache_tag}")
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(first.ljust(INDEX, b"\0") + b"".join(codes))
    return str(target)


def _shorten(tree: ast.Module) -> None:
    """Takes away what a program that runs does not need of its source: docstrings, and annotations of functions."""
    import ast

    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.copy_location(ast.Pass(), node.body[0])
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
