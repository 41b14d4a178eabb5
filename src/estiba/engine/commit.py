"""`commit`: an image whose top layer is what a container has changed. The work is as much as there are changes.

A running container stands still while its changes are read, unless that is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Self

from estiba.config.settings import Settings
from estiba.engine import containers, event_log
from estiba.engine.commit_config import committed
from estiba.engine.containers import Container
from estiba.engine.files.upper import Changes
from estiba.engine.files.upper_source import layer
from estiba.engine.files.views import open_changes
from estiba.engine.freeze import Frozen
from estiba.engine.new_image import add_image, add_layer, encode, new_name
from estiba.engine.progress import Progress, Silent
from estiba.engine.units import format_time
from estiba.errors import DataLoss, FailedPrecondition, NotFound
from estiba.oci import media_types, strict_json
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID, Digest, parse_digest
from estiba.oci.image_config import parse_image_config
from estiba.oci.platform import host_platform
from estiba.store.blobs import read_blob
from estiba.store.images import Image, find
from estiba.store.layers import layer_info
from estiba.store.layout import Store


def commit(
    store: Store,
    settings: Settings,
    name: str,
    reference: str | None = None,
    *,
    author: str = "",
    message: str = "",
    changes: Sequence[str] = (),
    pause: bool | None = None,
    progress: Progress | None = None,
) -> Image:
    """Makes an image of the container `name`, under `reference` or no name.

    Parameters: `author` and `message` of the history; `changes`, Dockerfile instructions (`engine.changes`); `pause`, whether a running
    container stands still meanwhile: None does what this machine allows and tells when it cannot.
    Raises NotFound, Conflict, InvalidArgument, NotImplemented for a container in a machine, ResourceExhausted, FailedPrecondition.
    """
    told = progress or Silent()
    target = new_name(store, reference, "commit as") if reference else None
    with store.using():
        container = containers.find(store, name)
        document = _document(store, container)
        image = parse_image_config(encode(document))
        config, command = committed(container, image, document.get("config") or {}, changes)
        with _Reading(store, settings, container, pause, told) as reading:
            top = add_layer(store, settings, reading.layer(), told) if reading.changes else None
        moment = format_time(datetime.now(UTC))
        entry = {"created": moment, "author": author, "created_by": command, "comment": message, "empty_layer": top is None}
        document |= {"created": moment, "config": config, "history": [*(document.get("history") or []), _filled(entry)]}
        document["rootfs"] = {"type": "layers", "diff_ids": [*container.layers, *([top.digest] if top else [])]}
        if author:
            document["author"] = author
        layers = [*_descriptors(store, container), *([top] if top else [])]
        made = add_image(store, encode(document), layers, target)
    if target is not None:
        event_log.image(store, "tag", str(made.id), target.familiar)
    attributes = {"comment": message, "imageID": str(made.id), "imageRef": target.familiar if target else ""}
    event_log.container(container, "commit", **attributes)
    return made


def _filled(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value}


class _Reading:
    """Reads a container's changes: locked against those who would start or remove it, and frozen.

    The lock is not one of the ordered ones: it is given up when the last byte of the layer was read, before the layer's lock is taken.
    """

    def __init__(self, store: Store, settings: Settings, container: Container, pause: bool | None, told: Progress) -> None:
        self._stack = ExitStack()
        self._what = f"commit container {container.name}"
        lock = containers.lock(container)
        lock.kind = ""
        with self._stack:
            self._stack.enter_context(lock)
            container = containers.again(store, container)
            if container.pid and pause is not False:
                self._freeze(settings, container, pause, told)
            self._jail = self._stack.enter_context(open_changes(store, settings, container, what=self._what))
            self.changes = Changes(self._jail, hidden=False).all()
            self._stack = self._stack.pop_all()

    def _freeze(self, settings: Settings, container: Container, pause: bool | None, told: Progress) -> None:
        frozen = self._stack.enter_context(Frozen(settings, container))
        if frozen.reason and pause:
            raise FailedPrecondition(f"cannot {self._what}: {frozen.reason}", hint="--no-pause reads its files while it runs")
        if frozen.reason:
            told.note(f"estiba: note: the container runs on meanwhile: {frozen.reason}")

    def layer(self) -> Iterator[bytes]:
        """The tar of the changes. The container goes on when it was read."""
        yield from layer(self._jail, self.changes)
        self._jail.finish()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _document(store: Store, container: Container) -> dict[str, Any]:
    """The configuration that the new one begins with: the image's, or an empty one for a stack of several images."""
    if container.image:
        try:
            return dict(_parse(read_blob(store, parse_digest(container.image))))
        except NotFound:
            raise DataLoss(f"cannot commit container {container.name}: the configuration of its image is missing") from None
    platform = host_platform()
    document: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    return {**document, "rootfs": {"type": "layers", "diff_ids": list(container.layers)}}


def _parse(data: bytes) -> dict[str, Any]:
    return strict_json.as_dict(strict_json.loads(data, what="the image's configuration"), "the image's configuration")


def _descriptors(store: Store, container: Container) -> list[Descriptor]:
    """The layers below as the image's manifest names them, so that a push finds their blobs; else as plain tars."""
    if container.image:
        try:
            known = find(store, container.image)
        except NotFound:
            known = None
        if known is not None and known.layers == container.layers:
            return list(known.manifest.layers)
    return [Descriptor(media_types.OCI_LAYER, Digest(diff_id), layer_info(store, DiffID(diff_id)).tar_size) for diff_id in container.layers]
