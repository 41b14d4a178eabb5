"""Removes the cgroups that other engines leave below a parent that we named for them."""

from __future__ import annotations

import os


def remove(parent: str) -> None:
    """Removes every cgroup called `parent` and what is below it, in every hierarchy; all of them are ours by that name."""
    # Not by a pattern: others' groups come and go meanwhile, which a walk passes over.
    for above, names, _ in os.walk("/sys/fs/cgroup"):
        if parent in names:
            for folder, _, _ in os.walk(f"{above}/{parent}", topdown=False):
                os.rmdir(folder)
