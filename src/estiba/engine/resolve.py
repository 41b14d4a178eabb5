"""References to what a container stands on: one image, or a stack of them. On the start path.

An image that is missing is pulled as --pull says; the registry is loaded only then.
"""

from __future__ import annotations

from estiba.errors import NotFound
from estiba.oci.platform import host_platform, matches, parse_platform
from estiba.store import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.config.settings import Settings
    from estiba.engine.missing_image import ProgressMaker
    from estiba.oci.digest import DiffID
    from estiba.oci.image_config import ImageConfig
    from estiba.oci.platform import Platform
    from estiba.runtime.options import RunOptions
    from estiba.store.images import Image
    from estiba.store.layout import Store


class Stack:
    """`config` of the whole, `layers` lowest first, `image` the id of the image (empty for a stack of several), `reference` as the
    user knows it, and the `platform` of its programs.
    """

    __slots__ = ("config", "image", "layers", "platform", "reference")

    def __init__(self, reference: str, image: str, config: ImageConfig, layers: Sequence[DiffID], platform: Platform) -> None:
        self.reference = reference
        self.image = image
        self.config = config
        self.layers = list(layers)
        self.platform = platform


def resolve(store: Store, settings: Settings, options: RunOptions, progress: ProgressMaker | None = None) -> Stack:
    """Finds, or pulls, the images that `options` names; `progress` makes the receiver of a pull's progress.

    Raises NotFound, Conflict, DataLoss, InvalidArgument for images that cannot be stacked, and what a pull raises.
    """
    names = [options.image, *options.with_images]
    found = [_image(store, settings, options, name, progress) for name in names]
    if len(found) == 1:
        image = found[0]
        return Stack(names[0], image.id, image.config, image.layers, image.platform)
    from estiba.engine.stack_configs import stack_configs

    config = stack_configs([image.config for image in found])
    return Stack(" + ".join(names), "", config, config.diff_ids, config.platform)


def _image(store: Store, settings: Settings, options: RunOptions, name: str, progress: ProgressMaker | None) -> Image:
    platform = parse_platform(options.platform) if options.platform else None
    if options.pull != "always":
        try:
            return images.find(store, name, platform)
        except NotFound:
            if options.pull == "never":
                raise
    from estiba.engine.missing_image import fetch

    return fetch(store, settings, name, platform, progress=progress, always=options.pull == "always")


def foreign_note(platform: Platform, options: RunOptions) -> str | None:
    """Returns a line for the user when programs of the image will not, or may not, run on this machine, else None."""
    host = host_platform()
    if matches(host, platform):
        return None
    kinds = f"the image is {platform.text} and this machine {host.text}"
    if platform.os == host.os and platform.architecture == host.architecture:
        return f"{kinds}: it may use instructions that this processor lacks"
    if options.isolation != "container":
        return None  # its kernel is of the same kind
    from estiba.engine import foreign

    reason = foreign.reason(platform, host, options)
    return f"{kinds}, where its programs do not run: {reason}" if reason else None
