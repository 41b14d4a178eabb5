"""`import`: an image of one layer from the tar of a root file system."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO

from estiba.config.settings import Settings
from estiba.engine import event_log
from estiba.engine.archives import CHUNK, stream_name
from estiba.engine.changes import apply_changes
from estiba.engine.compression import inflate
from estiba.engine.new_image import add_image, add_layer, encode, new_config, new_name
from estiba.engine.progress import Progress
from estiba.engine.units import format_time
from estiba.oci.platform import host_platform, parse_platform
from estiba.store.images import Image
from estiba.store.layout import Store


def import_(
    store: Store,
    settings: Settings,
    source: BinaryIO,
    *,
    reference: str | None = None,
    changes: Sequence[str] = (),
    message: str = "",
    platform: str | None = None,
    created: datetime | None = None,
    progress: Progress | None = None,
) -> Image:
    """Makes an image of a root file system.

    Parameters: `source`, a tar that is plain or compressed by gzip, bzip2, xz or zstd; `reference`, the image's name, None for
    none; `changes`, Dockerfile instructions (`estiba.engine.changes`); `message`, the comment of its history; `platform`, this
    machine's when None; `created`, now when None: with a fixed time equal tars make equal image ids.
    Raises InvalidArgument, DataLoss, NotImplemented, ResourceExhausted, PermissionDenied.
    """
    name = new_name(store, reference, "import as") if reference else None
    wanted = parse_platform(platform) if platform else host_platform()
    process: dict[str, Any] = {}
    apply_changes(process, changes)
    what = stream_name(source)
    with store.using():
        layer = add_layer(store, settings, inflate(_chunks(source), what, settings.unpack_max_bytes), progress)
        moment = format_time(created or datetime.now(UTC))
        comment = message or f"Imported from {'-' if what == 'standard input' else os.path.basename(what)}"
        document = new_config(wanted, moment, [layer], process)
        document["history"] = [{"created": moment, "comment": comment}]
        image = add_image(store, encode(document), [layer], name)
    event_log.image(store, "import", str(image.id), str(image.id))
    if name is not None:
        event_log.image(store, "tag", str(image.id), name.familiar)
    return image


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk
