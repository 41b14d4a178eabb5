"""What a guest's first process prepares before it runs its plan: disks, files, binds, the control group, and the plan's slots.

The operations are those of side `guest` (helper/ops.toml). On the start path.
"""

from __future__ import annotations

from estiba.linux import cgroup
from estiba.linux.facts import HostFacts
from estiba.linux.idmap import ALL_IDS, IdMaps
from estiba.machine import layout
from estiba.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from estiba.plan.ops import Op

# mount(2)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOATIME = 1, 2, 4, 1024
_RLIM_NLIMITS, _RLIMIT_NOFILE, _MAX_FILES = 16, 7, 1 << 20


def facts(cpus: int = 1) -> HostFacts:
    """Returns what the runtime must know of a guest of `cpus` processors: its container is alone, and its kernel hides nothing from it.

    Ids are mapped one to one: there is no other container whose ids could be meant, and file systems that cannot be idmapped will do.
    """
    everything = ((0, 0, ALL_IDS),)
    limits = dict.fromkeys(range(_RLIM_NLIMITS), -1)
    limits[_RLIMIT_NOFILE] = _MAX_FILES
    return HostFacts(
        uid=0,
        maps=IdMaps("subordinate", everything, everything),
        cgroups=cgroup.Host({"pids": "/sys/fs/cgroup"}, {}, "/sys/fs/cgroup"),
        cpus=cpus,
        rlimits=limits,
    )


class Layer:
    """A layer on a disk of the guest: the device, and where in it the file system begins (bytes)."""

    __slots__ = ("device", "offset")

    def __init__(self, device: str, offset: int = 0) -> None:
        self.device = device
        self.offset = offset


class Tree:
    """The guest's tree as operations, and the numbers of the slots that they bind."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.slots = 0

    def slot(self, path: str) -> int:
        """Binds the next slot to `path`."""
        self.ops.append(ops.guest_slot(self.slots, path))
        self.slots += 1
        return self.slots - 1

    def program(self) -> int:
        """Binds the next slot to the container's own program."""
        self.ops.append(ops.guest_program(self.slots))
        self.slots += 1
        return self.slots - 1

    def layers(self, layers: Sequence[Layer]) -> tuple[int, list[str]]:
        """Mounts the layers, lowest first; returns the slot of their folder, and their names in it, topmost first."""
        flags = MS_RDONLY | MS_NODEV | MS_NOATIME
        names = [str(number) for number in range(len(layers))]
        for name, layer in zip(names, layers, strict=True):
            self.ops.append(ops.guest_mount("erofs", layer.device, f"{layout.GUEST_LAYERS}/{name}", flags, "", layer.offset))
        return self.slot(layout.GUEST_LAYERS), names[::-1]

    def top(self, device: str, options: str) -> int:
        """Mounts the disk of the container's own changes; returns the slot of the folder with `upper` and `work`."""
        self.ops.append(ops.guest_mount("ext4", device, layout.GUEST_TOP, MS_NODEV | MS_NOATIME, options, 0))
        for name in ("upper", "work"):
            self.ops.append(ops.guest_directory(f"{layout.GUEST_TOP}/{name}", 0o755))
        return self.slot(layout.GUEST_TOP)

    def folder(self, path: str) -> int:
        """Makes a folder; returns its slot."""
        self.ops.append(ops.guest_directory(path, 0o755))
        return self.slot(path)

    def binds(self, kind: str, source: str, options: str) -> None:
        """Mounts the folder of binds, which is all of the host that the guest's kernel can be given."""
        self.ops.append(ops.guest_mount(kind, source, layout.GUEST_BINDS, MS_NOSUID | MS_NODEV, options, 0))

    def file(self, name: str, content: bytes, mode: int = 0o644) -> int:
        """Makes a file; returns its slot."""
        path = f"{layout.GUEST_FILES}/{name}"
        self.ops += [ops.guest_directory(layout.GUEST_FILES, 0o755), ops.guest_file(path, mode, content)]
        return self.slot(path)

    def group(self, writes: Iterable[tuple[str, str]], optional: Iterable[tuple[str, str]] = ()) -> int:
        """Makes the container's control group with these limits; returns its slot."""
        limits, others = ([f"{file} {value}" for file, value in pairs] for pairs in (writes, optional))
        self.ops.append(ops.guest_cgroup(self.slots, layout.GUEST_GROUP, limits, others))
        self.slots += 1
        return self.slots - 1
