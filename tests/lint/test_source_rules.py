"""Rules of this house that no linter knows, each the lesson of a class of bugs (docs/dev/security-model.md)."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.lint.repository import SRC, files, name, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Names that stand for content which an image, a layer or a volume controls.
HOSTILE_ROOTS = ("rootfs", "container_root", "layer_root", "mountpoint", "merged")
# Where text from the network, an image or the command line becomes numbers.
WIRE_ROOMS = ("estiba/oci/", "estiba/registry/", "estiba/store/layers/", "estiba/runtime/parse_", "estiba/config/")
SIGNS_OF_A_CHECK = ("DIGITS", "isdigit()", "isdecimal()", "01234567", "[0-7]", "fullmatch(", "match[")
# Functions whose text was checked by whoever made it.
CHECKED_BEFORE = {
    "_split": "the registry of a parsed reference",
    "_ranges": "lines that linux.idmap wrote",
    "_crc32": "a number of the library",
}


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def joined_into_hostile_root(tree: ast.AST) -> Iterator[ast.AST]:
    """W1: a path below a root that a container controls is resolved by the kernel, below a held descriptor."""
    for call, function in calls(tree):
        if function.endswith("path.join") and call.args and any(root in ast.unparse(call.args[0]) for root in HOSTILE_ROOTS):
            yield call


def unanchored_match(tree: ast.AST) -> Iterator[ast.AST]:
    r"""P8: `re.match(r"^[0-9a-f]{64}$", ...)` accepts a trailing newline; fullmatch does not."""
    for call, function in calls(tree):
        if function in {"re.match", "re.search"}:
            yield call


def unicode_digits(tree: ast.AST) -> Iterator[ast.AST]:
    r"""P8: `\d` matches digits of every script."""
    for call, function in calls(tree):
        if function.startswith("re.") and "ASCII" not in ast.unparse(call) and r"\d" in ast.unparse(call):
            yield call


def archives_read_by_tarfile(tree: ast.AST) -> Iterator[ast.AST]:
    """P1 to P5: tarfile skips damage in silence; it may write, never read."""
    for call, function in calls(tree):
        mode = " ".join(ast.unparse(argument) for argument in [*call.args[1:2], *(key.value for key in call.keywords if key.arg == "mode")])
        if function.startswith("tarfile.") and function.endswith(("open", "TarFile")) and not mode.startswith("'w"):
            yield call


def lenient_json(tree: ast.AST) -> Iterator[ast.AST]:
    """P6: json.loads keeps the last of two equal keys, takes NaN, and recurses without bound."""
    for call, function in calls(tree):
        if function in {"json.loads", "json.load"}:
            yield call


def code_between_fork_and_exec(tree: ast.AST) -> Iterator[ast.AST]:
    """Python never forks and continues, never enters a namespace (DESIGN 1.1)."""
    for call, function in calls(tree):
        forbidden = {"os.fork", "os.forkpty", "os.setns", "os.unshare", "os.chroot", "pty.fork", "os.system", "os.popen"}
        shell = any(key.arg in {"preexec_fn", "shell"} for key in call.keywords)
        if function in forbidden or (function.startswith("subprocess.") and shell):
            yield call


def broad_except(tree: ast.AST) -> Iterator[ast.AST]:
    """What must be undone whatever happens stands in `errors.OnFailure`; other errors are named."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) in {"BaseException", "Exception"}):
            yield node


RULES = [
    joined_into_hostile_root,
    unanchored_match,
    unicode_digits,
    archives_read_by_tarfile,
    lenient_json,
    code_between_fork_and_exec,
    broad_except,
]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(text(path))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Callable[[ast.AST], Iterator[ast.AST]]) -> None:
    broken = [
        f"{name(path)}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:100]}"
        for path in files("src/*.py")
        for node in rule(parsed(path))
    ]
    assert not broken, f"{rule.__doc__}\n  " + "\n  ".join(broken)


def bare_int(tree: ast.AST) -> Iterator[ast.AST]:
    """P8: int() takes spaces, underscores and every script's digits. Text is checked first: `text.isascii() and text.isdigit()`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.name in CHECKED_BEFORE:
            continue
        # A function that turns text into a number compares it with the digits that it takes, or with a pattern.
        checked = any(sign in ast.unparse(node) for sign in SIGNS_OF_A_CHECK)
        for call, function in calls(node):
            if function == "int" and call.args and not isinstance(call.args[0], ast.Constant) and not checked:
                yield call


def test_numbers_from_the_wire_are_checked_first() -> None:
    broken = [
        f"{name(path)}:{getattr(call, 'lineno', 0)}: {ast.unparse(call)}"
        for path in files("src/*.py")
        if str(path.relative_to(SRC)).startswith(WIRE_ROOMS)
        for call in bare_int(parsed(path))
    ]
    assert not broken, f"{bare_int.__doc__}\n  " + "\n  ".join(broken)


BAD: dict[Callable[[ast.AST], Iterator[ast.AST]], str] = {
    joined_into_hostile_root: "os.path.join(self.rootfs, x)",
    unanchored_match: "re.match('^a$', x)",
    unicode_digits: r"re.compile(r'\d+')",
    archives_read_by_tarfile: "tarfile.open(x)",
    lenient_json: "json.loads(x)",
    code_between_fork_and_exec: "subprocess.Popen(x, preexec_fn=f)",
    broad_except: "try:\n    f()\nexcept Exception:\n    pass",
    bare_int: "def f(x):\n    return int(x)",
}


@pytest.mark.parametrize("rule", BAD, ids=lambda rule: rule.__name__)
def test_rule_can_fail(rule: Callable[[ast.AST], Iterator[ast.AST]]) -> None:
    assert list(rule(ast.parse(BAD[rule])))


def test_every_folder_of_modules_is_a_package() -> None:
    """The wheel takes packages; a folder without __init__.py works in the checkout and is missing from the wheel."""
    folders = {path.parent for path in files("src/estiba/*.py")}
    assert {name(folder) for folder in folders if not (folder / "__init__.py").is_file()} == set()
