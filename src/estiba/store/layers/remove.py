"""Layers leave: by a rename to the trash, which the helper empties behind. On the path of ``rm``, which has to do with no layer."""

from __future__ import annotations

import os

from estiba.errors import NotFound
from estiba.oci.digest import DiffID, hex_of
from estiba.store.layers.jail import Jail
from estiba.store.publish import failure, sync_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.config.settings import Settings
    from estiba.store.layout import Store


def has_layer(store: Store, diff_id: DiffID) -> bool:
    """Whether the layer is in the store, whole."""
    from estiba.store.layers.info import layer_folder

    return os.path.exists(layer_folder(store, diff_id) + "/layer.json")


def remove_layer(store: Store, diff_id: DiffID) -> None:
    """Takes a layer out of the store; `empty_trash` and `sweep_files` give its space back.

    The caller has made sure that nothing uses it. Raises NotFound.
    """
    from estiba.store.layers.info import layer_folder, short

    with store.lock("layer", hex_of(diff_id)):
        try:
            os.rename(layer_folder(store, diff_id), f"{store.trash}/{hex_of(diff_id)}-{os.urandom(8).hex()}")
            sync_folder(store.layers)
        except FileNotFoundError:
            raise NotFound(f"cannot remove layer {short(diff_id)}: it is not in the store") from None
        except OSError as error:
            raise failure(error, f"remove layer {short(diff_id)}") from None


def empty_trash(store: Store, settings: Settings | None = None, *, behind: bool = False) -> None:
    """Removes all that is in the trash, in the helper's jail: nothing in it is followed, and files of subordinate ids go too.

    Parameters: `settings` of the store, read again where they are not given; `behind`, by a command that is about to end: it does not wait,
    and what could not be removed is told by the next one. Raises PermissionDenied, FailedPrecondition.
    """
    if not os.listdir(store.trash):
        return
    jail = Jail(settings or settings_of(store), "remove", store.trash, what=f"empty {store.trash}")
    if behind:
        jail.leave()
        return
    with jail:
        jail.finish()


def sweep_files(store: Store) -> int:
    """Drops the files of `files/` that no layer holds any more; returns their bytes. Under the exclusive content lock."""
    freed = 0
    for path, status in _shared_files(store):
        if status.st_nlink == 1:
            os.unlink(path)
            freed += status.st_blocks * 512
    return freed


def _shared_files(store: Store) -> Iterator[tuple[str, os.stat_result]]:
    for shelf in sorted(os.listdir(store.files)):
        with os.scandir(f"{store.files}/{shelf}") as entries:
            for entry in entries:
                yield entry.path, entry.stat(follow_symlinks=False)


def settings_of(store: Store) -> Settings:
    """The settings of a store's user."""
    from estiba.config.settings import load

    return load(store.root)
