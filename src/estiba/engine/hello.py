"""The embedded image `hello`, so that a first `run` needs no network.

It is made of the package's own static program when `hello` is asked for and the store has no image of that name. From then on
it is an image like any other: it can be inspected, saved, removed, and `pull hello` or `tag IMAGE hello` put another one in its
place. An image that somebody pulled or tagged as `hello` is therefore never hidden by it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from estiba.config.settings import Settings
from estiba.engine import tar_writer
from estiba.engine.new_image import PATH, add_image, add_layer, encode, new_config
from estiba.engine.units import format_time
from estiba.errors import FailedPrecondition
from estiba.oci.platform import host_platform
from estiba.oci.reference import parse_reference
from estiba.store import references
from estiba.store.images import Image, find
from estiba.store.layout import Store

#: The name, without registry and tag, that stands for the embedded image.
NAME = "hello"
PROGRAM = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_bin", "estiba-hello")


def ensure(store: Store, settings: Settings) -> Image:
    """The image of the name `hello`, made when the store has none.

    Raises FailedPrecondition when the package was installed without its program, ResourceExhausted, PermissionDenied.
    """
    name = parse_reference(NAME, store.default_registry)
    if references.get(store, name) is not None:
        return find(store, NAME)
    program, mtime = _program()

    with store.using():
        layer = add_layer(store, settings, [*tar_writer.member(NAME, program, mode=0o755, mtime=mtime), tar_writer.END])
        moment = format_time(datetime.fromtimestamp(mtime, UTC))
        document = new_config(host_platform(), moment, [layer], {"Env": [PATH], "Cmd": [f"/{NAME}"]})
        document["history"] = [{"created": moment, "created_by": "estiba: the embedded image"}]
        return add_image(store, encode(document), [layer], name)


def _program() -> tuple[bytes, int]:
    """The program's bytes and its time, in seconds since 1970."""
    try:
        with open(PROGRAM, "rb") as file:
            return file.read(), int(os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError as error:
        raise FailedPrecondition(
            f"cannot make image {NAME}: {PROGRAM} is missing",
            hint="install the package again; in a checkout, build it with: make -C helper",
        ) from error
