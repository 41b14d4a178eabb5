"""--volumes-from: the mounts of another container."""

from __future__ import annotations

from estiba.engine import containers
from estiba.oci.strict_json import get_bool, get_str
from estiba.runtime.options import MountRequest, RunOptions
from estiba.store.layout import Store


def add_volumes(store: Store, options: RunOptions) -> None:
    """Adds the binds of the containers that `options` names; a mount of the options' own at the same path wins.

    Raises NotFound for a container that does not exist.
    """
    taken = {mount.target for mount in options.mounts}
    for name, read_only in options.volumes_from:
        container = containers.find(store, name)
        for volume in container.volumes:
            what = f"the state of container {container.id[:12]}"
            target = get_str(volume, "target", what)
            if target in taken:
                continue
            mount = MountRequest("bind", target, get_str(volume, "source", what))
            mount.read_only = read_only or get_bool(volume, "read_only", what)
            mount.recursive = get_bool(volume, "recursive", what)
            options.mounts.append(mount)
            taken.add(target)
    options.volumes_from = []
