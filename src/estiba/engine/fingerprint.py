"""Names of files in the cache that fit one machine only. On the start path of `run` on QEMU."""

from __future__ import annotations

import os
from _blake2 import blake2b  # without hashlib, which takes milliseconds

from estiba.plan.helper import helper_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings


def fingerprint(settings: Settings, *parts: object) -> str:
    """A name for what tells machines apart, the helper among it, which nobody else can make: an image says the path of a kernel, the files
    of its layer, and the folders of volumes.
    """
    helper = os.stat(helper_path(settings))
    text = repr((helper.st_ino, helper.st_mtime_ns, *parts))
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
