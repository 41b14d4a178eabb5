"""Removes the cgroups that other engines leave below a parent that we named for them."""

from __future__ import annotations

import os
from pathlib import Path


def remove(parent: str) -> None:
    """Removes every cgroup called `parent` and what is below it, in every hierarchy; all of them are ours by that name."""
    for top in Path("/sys/fs/cgroup").glob(f"**/{parent}"):
        for folder, _, _ in os.walk(top, topdown=False):
            os.rmdir(folder)
