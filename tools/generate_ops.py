#!/usr/bin/env python3
"""Writes helper/src/ops.h and src/estiba/plan/ops.py from helper/ops.toml, the single source of the plan's vocabulary.

Without an argument it writes both files; with --check it exits 1 when a committed file differs from what it would write.
"""

from __future__ import annotations

import keyword
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent
SOURCE = TOP / "helper" / "ops.toml"
C_FILE = TOP / "helper" / "src" / "ops.h"
PYTHON_FILE = TOP / "src" / "estiba" / "plan" / "ops.py"

SIDES = ("guest", "host", "container", "after", "unpack", "files")
PYTHON_TYPES = {"u": "int", "q": "int", "s": "str | bytes", "b": "bytes", "l": "Sequence[str | bytes]"}

# C's key words, and the macros of stdio.h, among the names that arguments may have.
C_RESERVED = ("default", "register", "static", "volatile", "union", "struct", "int", "long", "stdin", "stdout", "stderr")

Op = dict[str, Any]


def load() -> tuple[int, list[Op]]:
    """The protocol's version and its operations, checked: codes and names are unique, types and sides are known."""
    with SOURCE.open("rb") as file:
        data = tomllib.load(file)
    ops: list[Op] = data["op"]
    names = [op["name"] for op in ops]
    codes = [op["code"] for op in ops]
    if len(set(names)) != len(names) or len(set(codes)) != len(codes):
        raise SystemExit("ops.toml: a name or a code is used twice")
    for op in ops:
        if op["side"] not in SIDES:
            raise SystemExit(f"ops.toml: {op['name']}: unknown side {op['side']}")
        if not 0 < op["code"] < 0x10000:
            raise SystemExit(f"ops.toml: {op['name']}: a code is 1 to 65535")
        for name, kind in op["args"]:
            if kind not in PYTHON_TYPES:
                raise SystemExit(f"ops.toml: {op['name']}.{name}: unknown type {kind}")
    return data["version"], sorted(ops, key=lambda op: int(op["code"]))


def c_source(version: int, ops: list[Op]) -> str:
    """The C header: codes, one struct of arguments per operation, and the schema for the decoder."""
    most = max(len(op["args"]) for op in ops)
    lines = [
        "/* Made by tools/generate_ops.py from helper/ops.toml. Edit that file, not this one. */",
        "#ifndef ESTIBA_OPS_H",
        "#define ESTIBA_OPS_H",
        "",
        "#include <stdint.h>",
        "",
        f"#define PROTOCOL_VERSION {version}",
        f"#define MAX_ARGUMENTS {most}",
        "",
        "enum side {" + ", ".join(f"SIDE_{side.upper()}" for side in SIDES) + "};",
        "",
        "enum {",
    ]
    lines += [f"    OP_{op['name'].upper()} = {op['code']}," for op in ops]
    lines += [
        "};",
        "",
        "/* One argument. Strings end with a NUL that `size` does not count; a list's `data` is its encoded strings. */",
        "union value {",
        "    uint32_t u;",
        "    uint64_t q;",
        "    struct { const char *data; uint32_t size; } s, b;",
        "    struct { const char *data; uint32_t count; } l;",
        "};",
        "",
        "union arguments {",
        "    union value all[MAX_ARGUMENTS];",
    ]
    for op in ops:
        if op["args"]:
            members = ", ".join(c_name(name) for name, _ in op["args"])
            lines.append(f"    struct {{ union value {members}; }} {c_name(op['name'])};")
    lines += [
        "};",
        "",
        "struct schema { uint16_t code; uint8_t side; const char *name; const char *types; };",
        "",
        "#ifdef OPS_TABLE /* only the decoder holds the table */",
        "static const struct schema schemas[] = {",
    ]
    for op in ops:
        types = "".join(kind for _, kind in op["args"])
        lines.append(f'    {{{op["code"]}, SIDE_{op["side"].upper()}, "{op["name"]}", "{types}"}},')
    lines += ["};", "#endif", "", "#endif", ""]
    return "\n".join(lines)


def c_name(name: str) -> str:
    return name + "_" if name in C_RESERVED else name


def python_source(version: int, ops: list[Op]) -> str:
    """The Python module: one constructor per operation, and SCHEMA and NAMES for encode and describe."""
    lines = [
        '"""The operations of a plan, made by tools/generate_ops.py from helper/ops.toml. Edit that file, not this one."""',
        "",
        "# ruff: noqa: A002 - the arguments have the names and the order of the wire",
        "",
        "from __future__ import annotations",
        "",
        "TYPE_CHECKING = False",
        "if TYPE_CHECKING:",
        "    from collections.abc import Sequence",
        "",
        "    Value = int | str | bytes | Sequence[str | bytes]",
        "    Op = tuple[Value, ...]",
        "",
        f"VERSION = {version}",
        "",
        "# code -> name, side, types of the arguments (u: 32 bit, q: 64 bit, s: string, b: bytes, l: list), their names",
        "SCHEMA: dict[int, tuple[str, str, str, tuple[str, ...]]] = {",
    ]
    for op in ops:
        types = "".join(kind for _, kind in op["args"])
        names = "".join(f'"{name}", ' for name, _ in op["args"]).rstrip()
        names = names if len(op["args"]) == 1 else names.rstrip(",")
        line = f'    {op["code"]}: ("{op["name"]}", "{op["side"]}", "{types}", ({names})),'
        if len(line) > 130:
            names = textwrap.fill(f"({names}),", 130, initial_indent=" " * 8, subsequent_indent=" " * 9)
            line = f'    {op["code"]}: (\n        "{op["name"]}", "{op["side"]}", "{types}",\n{names}\n    ),'
        lines.append(line)
    lines += ["}", "", "NAMES: dict[int, str] = {code: entry[0] for code, entry in SCHEMA.items()}"]
    for op in ops:
        parameters = ", ".join(f"{python_name(name)}: {PYTHON_TYPES[kind]}" for name, kind in op["args"])
        values = "".join(f", {python_name(name)}" for name, _ in op["args"]) or ","
        head = f"def {python_name(op['name'])}({parameters}) -> Op:"
        if len(head) > 130:
            head = f"def {python_name(op['name'])}(\n    " + parameters.replace(", ", ",\n    ") + ",\n) -> Op:"
        lines += ["", "", head, *docstring(op["doc"])]
        lines.append(textwrap.fill(f"return ({op['code']}{values})", 130, initial_indent=" " * 4, subsequent_indent=" " * 8))
    return "\n".join([*lines, ""])


def docstring(text: str) -> list[str]:
    """`text` as a docstring of lines of at most 120 columns."""
    text = text.replace("\\", "\\\\")
    text = text[0].upper() + text[1:]
    if len(text) <= 110:
        return [f'    """{text}"""']
    wrapped = textwrap.wrap(text, 112)
    return [f'    """{wrapped[0]}', *(f"    {line}" for line in wrapped[1:]), '    """']


def python_name(name: str) -> str:
    return name + "_" if keyword.iskeyword(name) else name


def main(arguments: list[str]) -> int:
    version, ops = load()
    status = 0
    for path, text in ((C_FILE, c_source(version, ops)), (PYTHON_FILE, python_source(version, ops))):
        if arguments == ["--check"]:
            if not path.exists() or path.read_text() != text:
                print(f"{path.relative_to(TOP)} is not what helper/ops.toml makes; run tools/generate_ops.py", file=sys.stderr)
                status = 1
        elif not path.exists() or path.read_text() != text:
            path.write_text(text)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
