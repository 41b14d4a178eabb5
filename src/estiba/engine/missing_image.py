"""Gets an image that `run` needs and the store lacks: the embedded `hello`, or a pull."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from estiba.config.settings import Settings
from estiba.engine import hello
from estiba.engine.progress import Progress, Silent
from estiba.oci.platform import Platform
from estiba.store.images import Image
from estiba.store.layout import Store

ProgressMaker = Callable[[], AbstractContextManager[Progress]]


def _silent() -> AbstractContextManager[Progress]:
    return nullcontext(Silent())


def fetch(
    store: Store, settings: Settings, name: str, platform: Platform | None, *, progress: ProgressMaker | None = None, always: bool = False
) -> Image:
    """Returns the image `name`, pulled, or made when it is `hello` and nobody asked for the registry's (`always`).

    `progress` makes the receiver of progress. Raises what a pull raises.
    """
    if name == hello.NAME and not always:
        return hello.ensure(store, settings)
    from estiba.engine.pull import pull

    with (progress or _silent)() as receiver:
        receiver.note(f"estiba: image {name} is not in the store, pulling it" if not always else f"estiba: pulling {name}")
        return pull(store, settings, name, platform=platform, progress=receiver)
