"""The modules that a guest cannot do without where its kernel has them as modules: file systems, and parts of disks."""

from __future__ import annotations

import os
from collections.abc import Callable

#: Names in modules.dep (depmod(8)), without folder and suffix.
WANTED = ("overlay", "erofs", "loop")
#: Where Debian's package user-mode-linux has its modules.
FOLDER = "/usr/lib/uml/modules"

Module = tuple[str, bytes]


def wanted_modules(listing: str, read: Callable[[str], bytes | None]) -> list[Module]:
    """Returns the wanted modules and what they need, as (name, content) in the order in which they must be loaded.

    `listing` is the text of modules.dep: lines ``module: dependencies``; `read` gives a module's content, None where it is not there. What
    the listing does not name is built in.
    """
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in listing.splitlines())}
    order: list[str] = []
    for path, needed in needs.items():
        if _name(path) in WANTED:
            # depmod lists what a module needs so that the last one is loaded first.
            order += [each for each in (*reversed(needed), path) if each not in order]
    found = [(_name(path), read(path)) for path in order]
    return [(name, content) for name, content in found if content is not None]


def installed_modules(release: str) -> list[Module]:
    """The modules of a User-Mode Linux that a package installed, by its release; none where there are none."""
    folder = f"{FOLDER}/{release}"
    listing = _read(f"{folder}/modules.dep")
    return wanted_modules(listing.decode("utf-8", "replace"), lambda path: _read(f"{folder}/{path}")) if listing else []


def _name(path: str) -> str:
    return os.path.basename(path).partition(".")[0].replace("-", "_")


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
