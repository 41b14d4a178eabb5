"""The root file system that the benchmarks run: the tests' Alpine, or what stands in for it."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from tests.support.images import VERSIONS, alpine_file, busybox_root

if TYPE_CHECKING:
    from pathlib import Path


def alpine_tar(folder: Path) -> Path:
    return alpine_file(VERSIONS[-1], platform.machine()) or busybox_root(folder, VERSIONS[-1])
