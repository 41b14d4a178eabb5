"""`system df`: what takes space, what could be given back, and what sharing saved."""

from __future__ import annotations

import os
from dataclasses import dataclass

from estiba.engine.containers import Container, list_containers
from estiba.engine.files.host_source import open_folder
from estiba.engine.guest_disks import is_layer_disk, top_path
from estiba.engine.images import ImageRow
from estiba.engine.units import human_size
from estiba.store.layout import Store
from estiba.store.usage import ImageUsage, Usage, disk_usage

#: Folders in folders that are still looked into: each costs a walk from the top.
_DEEPEST = 200
_STAT_BLOCK = 512  # stat(2)


class UsageRow:
    """One kind of thing. The upper-case attributes are the fields of Docker's `--format`; `size` and `reclaimable` are in bytes."""

    def __init__(self, kind: str, total: int, active: int, size: int, reclaimable: int) -> None:
        self.Type = kind
        self.TotalCount = str(total)
        self.Active = str(active)
        self.Size = human_size(size, 4)
        self.Reclaimable = human_size(reclaimable, 4) + (f" ({100 * reclaimable // size}%)" if size else "")
        self.size = size
        self.reclaimable = reclaimable


@dataclass(frozen=True)
class DiskUsage:
    """The rows, and in bytes `saved_by_layers`: what the images would take more if each had its own layers; `saved_by_files`: what
    the layers would take more if each had its own files.
    """

    rows: list[UsageRow]
    saved_by_layers: int
    saved_by_files: int

    def lines(self) -> list[str]:
        """The table that Docker prints, and what sharing saved."""
        cells = [("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE")]
        cells += [(row.Type, row.TotalCount, row.Active, row.Size, row.Reclaimable) for row in self.rows]
        widths = [max(len(row[column]) for row in cells) + 3 for column in range(5)]
        table = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
        layers, files = human_size(self.saved_by_layers, 4), human_size(self.saved_by_files, 4)
        return [*table, "", f"Sharing saves {layers} by layers and {files} by files."]


def df(store: Store) -> DiskUsage:
    """Measures the store. Raises DataLoss when a container's state cannot be read."""
    usage = disk_usage(store)
    return DiskUsage([_images(usage), _containers(store), *_machine_disks(store)], usage.saved_by_layers, usage.saved_by_files)


class ImageUsageRow(ImageRow):
    """One name of one image, and what of it other images stand on too."""

    def __init__(self, usage: ImageUsage) -> None:
        super().__init__(usage.image, usage.size)
        self.SharedSize = human_size(usage.shared)
        self.UniqueSize = human_size(usage.unique)
        self.Containers = str(usage.containers)


def images_in_detail(store: Store) -> list[ImageUsageRow]:
    """A row for each image, largest first."""
    return [ImageUsageRow(usage) for usage in sorted(disk_usage(store).images, key=lambda usage: usage.size, reverse=True)]


def _images(usage: Usage) -> UsageRow:
    return UsageRow("Images", len(usage.images), sum(bool(each.containers) for each in usage.images), usage.total, usage.reclaimable)


def _containers(store: Store) -> UsageRow:
    sizes = [(tree_size(each.folder), bool(each.pid)) for each in list_containers(store)]
    running = sum(active for _, active in sizes)
    return UsageRow("Containers", len(sizes), running, sum(s for s, _ in sizes), sum(s for s, active in sizes if not active))


def written(container: Container) -> int:
    """Bytes that a container wrote: its own layer, or its disk where it runs on a kernel of its own."""
    if not container.kernel:
        return tree_size(f"{container.folder}/upper")
    try:
        return os.stat(top_path(container.folder)).st_blocks * _STAT_BLOCK
    except FileNotFoundError:
        return 0  # it never ran


def _machine_disks(store: Store) -> list[UsageRow]:
    """The images that guests see layers as. They go with their layers."""
    sizes = []
    for name in os.listdir(store.layers):
        with os.scandir(f"{store.layers}/{name}") as entries:
            sizes += [entry.stat().st_blocks * _STAT_BLOCK for entry in entries if is_layer_disk(entry.name)]
    return [UsageRow("Machine Disks", len(sizes), 0, sum(sizes), 0)] if sizes else []


def tree_size(path: str) -> int:
    """Bytes of the regular files below a folder; what only a container's own ids may read, or lies very deep, is left out.

    A container may change its tree meanwhile, so no link is followed on the way.
    """
    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (PermissionError, FileNotFoundError):
        return 0
    total = 0
    folders = [b""]
    try:
        while folders:
            below = folders.pop()
            try:
                total += _files_in(root, below, folders)
            except (PermissionError, FileNotFoundError, NotADirectoryError):
                continue
    finally:
        os.close(root)
    return total


def _files_in(root: int, below: bytes, folders: list[bytes]) -> int:
    """Bytes of the files of one folder; its folders are added to `folders`."""
    total = 0
    descriptor = open_folder(root, below)
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    if below.count(b"/") < _DEEPEST:
                        folders.append(below + b"/" + name if below else name)
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    total += min(status.st_size, status.st_blocks * _STAT_BLOCK)  # the disk of a machine is nearly all hole
    finally:
        os.close(descriptor)
    return total
