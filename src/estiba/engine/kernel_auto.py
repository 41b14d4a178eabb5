"""`kernel import --auto`: a kernel that this machine or its package manager offers, once it has run a container."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

from estiba.config.settings import Settings
from estiba.engine.kernel_import import add_kernel, read_kernel
from estiba.engine.kernel_trial import try_kernel
from estiba.engine.kernels import REPOSITORY
from estiba.engine.new_image import new_name
from estiba.engine.progress import Progress
from estiba.errors import EstibaError, NotFound
from estiba.machine.kernel_file import UML
from estiba.store.images import Image
from estiba.store.layout import Store

#: Where packages put User-Mode Linux.
PROGRAMS = ("/usr/bin/linux.uml", "/usr/bin/linux", "/usr/local/bin/linux.uml", "/usr/local/bin/linux")
PACKAGE = "user-mode-linux"
_DOWNLOAD_SECONDS = 300


def import_auto(store: Store, settings: Settings, progress: Progress) -> Image:
    """Imports the first kernel that runs a container here. Raises NotFound, with what was tried and why it did not do."""
    tried = []
    for path in _candidates(progress):
        try:
            kernel = read_kernel(path)
            if kernel.kind != UML:
                continue
            trouble = try_kernel(settings, path)
        except EstibaError as error:
            trouble = error.message
        else:
            if not trouble:
                name = new_name(store, f"{REPOSITORY}:{kernel.kind}-{kernel.release}", "name a kernel")
                return add_kernel(store, settings, kernel, path, name)
        tried.append(f"{path}: {trouble}")
        progress.note(tried[-1])
    raise NotFound(
        "cannot import a kernel: " + (f"none of {len(tried)} runs here ({tried[-1]})" if tried else "this machine offers none"),
        hint="estiba kernel import FILE takes User-Mode Linux from anywhere",
    )


def _candidates(progress: Progress) -> Iterator[str]:
    """Programs that are here, then what the package manager has."""
    yield from (path for path in PROGRAMS if os.path.isfile(path))
    if shutil.which("apt-get") is None:
        return
    with tempfile.TemporaryDirectory(prefix="estiba-kernel-") as folder:
        progress.note(f"asking apt-get for {PACKAGE}")
        os.chmod(folder, 0o755)  # noqa: S103 - apt's own user downloads into it
        try:
            subprocess.run(["apt-get", "-q", "download", PACKAGE], cwd=folder, capture_output=True, check=False, timeout=_DOWNLOAD_SECONDS)
        except subprocess.TimeoutExpired:
            return
        yield from (f"{folder}/{name}" for name in sorted(os.listdir(folder)) if name.endswith(".deb"))
