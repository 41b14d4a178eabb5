"""Device nodes for root's containers.

A device node of the host, bound into a container, belongs to an id that the container does not have, and mknod(2) is refused in
a user namespace. So the engine, which is root here, makes nodes of the same numbers in the container's folder; the idmapped bind of
them shows the host's owners and modes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Any

from estiba.engine.bind_errors import cannot_bind
from estiba.errors import InvalidArgument
from estiba.linux.facts import device_nodes
from estiba.runtime.mounts import HOST_TREES
from estiba.runtime.options import Device


def expand(devices: Iterable[Device]) -> list[Device]:
    """Returns the devices with each folder (/dev/snd) replaced by the nodes below it.

    Raises InvalidArgument for what is no device, and for a folder without any.
    """
    found: list[Device] = []
    for device in devices:
        try:
            status = os.stat(device.source)
        except OSError as error:
            raise cannot_bind(device.source, device.target, error) from error
        nodes = device_nodes(device.source) if stat.S_ISDIR(status.st_mode) else [device.source]
        if not nodes or stat.S_ISREG(status.st_mode) or device.source in HOST_TREES:
            raise InvalidArgument(f"cannot use device {device.source}: it is no device, and no folder of devices")
        found += [Device(path, device.target + path.removeprefix(device.source), device.permissions) for path in nodes]
    return found


def complete_limits(resources: dict[str, Any]) -> None:
    """Replaces the paths in `linux.resources` by the devices' numbers (runtime-spec, config-linux.md#allowed-device-list, #block-io).

    Raises InvalidArgument for a path that is no device, or no block device where a limit is for those.
    """
    for rule in resources.get("devices", ()):
        if "path" in rule:
            rule |= {"type": "c" if stat.S_ISCHR(_replace_path(rule)) else "b"}
    for section in resources.get("blockIO", {}).values():
        for entry in section if isinstance(section, list) else ():
            path = entry.get("path", "")
            if path and not stat.S_ISBLK(_replace_path(entry)):
                raise InvalidArgument(f"cannot limit device {path}: it is not a block device")


def _replace_path(entry: dict[str, Any]) -> int:
    """Puts the device's numbers in the place of its path, and returns the mode of its node."""
    source = entry.pop("path")
    try:
        status = os.stat(source)
    except OSError as error:
        raise cannot_bind(source, source, error) from error
    entry |= {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}
    return status.st_mode


def make_node(source: str, path: str) -> None:
    """Makes at `path` the device that `source` is. Raises InvalidArgument when `source` is no device node."""
    status = os.stat(source)
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise InvalidArgument(f"cannot use --device {source}: not a device node")
    os.mknod(path, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev)
    os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))


def make_tree(folder: str, devices: Iterable[str]) -> None:
    """Makes `folder` a /dev that holds `devices`, the paths of the host's nodes."""
    os.mkdir(folder, 0o755)
    for source in devices:
        path = folder + source.removeprefix("/dev")
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        try:
            make_node(source, path)
        except FileNotFoundError:
            continue  # unplugged since it was listed
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{folder}/{name}", 0o755)


def hides_devices(folder: str) -> bool:
    """Tells whether the file system of `folder` is mounted nodev, so that a node there cannot be opened."""
    return bool(os.statvfs(folder).f_flag & os.ST_NODEV)
