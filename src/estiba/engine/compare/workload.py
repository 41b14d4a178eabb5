"""The program that is measured, laid on the image that is compared, so that every rung runs the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from estiba.config.settings import Settings
from estiba.engine import tar_writer
from estiba.engine.new_image import PATH, add_image, add_layer, encode, new_config
from estiba.engine.rmi import rmi
from estiba.engine.stack import stack
from estiba.errors import FailedPrecondition, InvalidArgument, NotFound
from estiba.oci.platform import host_platform
from estiba.oci.reference import parse_reference
from estiba.store.images import find
from estiba.store.layout import Store

PATH_INSIDE = "/estiba-workload"
PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "_bin", "estiba-workload")


@contextmanager
def image_with_workload(store: Store, settings: Settings, name: str) -> Iterator[str]:
    """Yields the name of an image that is `name` with the program on top; it goes again at the end.

    Raises NotFound, InvalidArgument for an image of another platform, FailedPrecondition when the package lacks the program.
    """
    image = find(store, name)
    if image.config.architecture != host_platform().architecture:
        raise InvalidArgument(
            f"cannot compare {name}: it is for {image.config.architecture}, the program that is measured for {host_platform().architecture}"
        )
    program, target = f"estiba-compare-program-{os.getpid()}", f"estiba-compare-{os.getpid()}"
    try:
        _add_program(store, settings, program)
        stack(store, [name, program], target)
        yield target
    finally:
        for each in (target, program):
            try:
                rmi(store, each, force=True)
            except NotFound:
                continue


def _add_program(store: Store, settings: Settings, name: str) -> None:
    try:
        with open(PROGRAM, "rb") as file:
            content = file.read()
    except FileNotFoundError as error:
        raise FailedPrecondition(
            f"cannot compare: {PROGRAM} is missing", hint="install the package again; in a checkout, build it with: make -C helper"
        ) from error
    with store.using():
        layer = add_layer(store, settings, [*tar_writer.member(PATH_INSIDE[1:], content, mode=0o755, mtime=0), tar_writer.END])
        document = new_config(host_platform(), "1970-01-01T00:00:00Z", [layer], {"Env": [PATH], "Cmd": [PATH_INSIDE, "start"]})
        add_image(store, encode(document), [layer], parse_reference(name, store.default_registry))
