"""Views of a container's files: which plan the helper gets.

A running container's root and mounts are those that it has, cloned in its own namespaces. A stopped one's are mounted again, in
namespaces of the helper's own, with the ids of the layers on disk. Two overlays on one upper folder are undefined (overlayfs.rst), so
nobody starts a container while there is a view of it: a stopped one's lock is held, and ``containers/<id>/mounted`` of one that may end.
"""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from estiba.config.settings import Settings
from estiba.engine import containers
from estiba.engine.bind_errors import cannot_bind
from estiba.engine.binder import FILES
from estiba.engine.containers import Container
from estiba.engine.entering import Draft
from estiba.engine.files.jail import FileJail
from estiba.engine.stack_configs import unique_layers
from estiba.engine.status import is_held
from estiba.errors import Conflict, FailedPrecondition, NotImplemented, OnFailure
from estiba.linux.idmap import layer_maps
from estiba.linux.locks import Lock
from estiba.oci.digest import DiffID
from estiba.plan import ops
from estiba.runtime import mounts
from estiba.store.layers import layer_path_name
from estiba.store.layout import Store

if TYPE_CHECKING:
    from estiba.plan.ops import Op

_PATIENCE_SECONDS = 10
_PATH = os.O_PATH | os.O_CLOEXEC
_NO_UPPER = 0xFFFFFFFF
#: The container's kernel file systems: nothing in them is a file of the container.
KERNEL_FOLDERS = ("proc", "sys", "dev")
_FILE_FLAGS = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
_PRIVATE = mounts.MS_PRIVATE | mounts.MS_REC


class LockedJail(FileJail):
    """A view that holds a lock as long as its mounts live."""

    def __init__(self, lock: Lock, draft: _Draft, mode: str) -> None:
        self._lock = lock
        super().__init__(draft.settings, mode, draft.operations(), draft.descriptors, what=draft.what)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            super().__exit__(kind, error, trace)  # waits for the helper, whose mounts are gone then
        finally:
            self._lock.release()


class _Draft(Draft):
    """A plan on its way, and the descriptors of its slots."""

    def __init__(self, store: Store, settings: Settings, container: Container, what: str) -> None:
        super().__init__()
        self.store = store
        self.settings = settings
        self.container = container
        self.what = what
        self.spec: dict[str, Any] = container.spec()
        self.user_namespace: list[Op] = []
        self.plan: list[Op] = []

    def open(self, path: str) -> int:
        return self.slot(os.open(path, _PATH), path)

    def lowers(self, prefix: str = "") -> list[str]:
        """The layers, topmost first."""
        return [prefix + layer_path_name(diff_id) for diff_id in reversed(unique_layers([DiffID(text) for text in self.container.layers]))]

    def own_user_namespace(self) -> None:
        maps = layer_maps(self.settings)
        self.user_namespace = [ops.user_namespace(maps.uid_map, maps.gid_map, maps.setgroups, maps.newuidmap, maps.newgidmap)]

    def operations(self) -> list[Op]:
        return [*self.slots, *self.user_namespace, *self.plan]


def open_root(store: Store, settings: Settings, container: Container, *, what: str, write: bool = False, volumes: bool = True) -> FileJail:
    """The container's root, with its volumes and binds where `volumes` says so. `write` allows changes.

    Raises FailedPrecondition for one on a kernel of its own that does not run, InvalidArgument for a bind whose source is gone, Conflict.
    """
    if container.kernel:
        return _guests(settings, container, what, write=write, volumes=volumes)
    mode = "files-write" if write else "files"
    if container.pid:
        return _running(_Draft(store, settings, container, what), mode, volumes=volumes)
    lock = containers.lock(container).acquire()
    with OnFailure(lock.release):
        container = _settled(store, container, lock, what)
        draft = _Draft(store, settings, container, what)
        if not container.pid:
            return _stopped(draft, lock, write=write, volumes=volumes)
    lock.release()
    return _running(draft, mode, volumes=volumes)


def _guests(settings: Settings, container: Container, what: str, *, write: bool, volumes: bool) -> FileJail:
    """The guest of a container that runs has the same program, which does there what it does here for others."""
    from estiba.engine import machine_exec

    if not container.pid:
        text = f"cannot {what}: its files are on the disk of a machine, which is read by its own kernel alone"
        raise FailedPrecondition(text, hint=f"start it first: estiba start {container.name}")
    if container.status == "paused":
        raise Conflict(f"cannot {what}: it is paused, and its files are read by its own kernel", hint=f"estiba unpause {container.name}")
    targets = _targets(container.spec()) if volumes else []
    return machine_exec.GuestFiles(settings, container, targets, what=what, write=write)


def _settled(store: Store, container: Container, lock: Lock, what: str) -> Container:
    """The container as it is under its lock, when it is neither about to run nor about to end: its watchers have its root mounted."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        container = containers.again(store, container)
        if container.pid or not is_held(f"{container.folder}/status"):
            return container
        if time.monotonic() > until:
            raise Conflict(f"cannot {what}: container {container.name} is about to start or to end", hint="try again")
        lock.release()
        time.sleep(0.01)
        lock.acquire()


def open_changes(store: Store, settings: Settings, container: Container, *, what: str) -> FileJail:
    """The container's changes as they are on disk (tree UPPER) beside its layers without them (tree ROOT). For running ones too: what
    overlayfs writes there may be read at any time. Raises NotImplemented for a container on a kernel of its own.
    """
    if container.kernel:
        text = f"cannot {what}: its changes are on the disk of a machine, which is read by its own kernel alone"
        raise NotImplemented(text, hint=f"for all of its files, while it runs: estiba export {container.name}")
    draft = _Draft(store, settings, container, what)
    try:
        layers, upper = draft.open(store.layers), draft.open(f"{container.folder}/upper")
        draft.own_user_namespace()
        draft.plan += [ops.overlay(layers, draft.lowers(), _NO_UPPER, 0, 0), ops.upper_tree(upper)]
        return FileJail(settings, "files", draft.operations(), draft.descriptors, what=what)
    finally:
        draft.close()


def _running(draft: _Draft, mode: str, *, volumes: bool) -> FileJail:
    lock = containers.mounted(draft.container, shared=True).acquire()
    try:
        with OnFailure(lock.release):
            return _joined(draft, lock, mode, volumes=volumes)
    finally:
        draft.close()


def _joined(draft: _Draft, lock: Lock, mode: str, *, volumes: bool) -> FileJail:
    user = any(entry["type"] == "user" for entry in draft.spec["linux"]["namespaces"])
    program = draft.container.pidfd()
    if program is None:
        raise Conflict(f"cannot {draft.what}: it ended at this moment", hint="try again")
    draft.plan.append(ops.container_root(draft.slot(program), int(user)))
    draft.slot(os.dup(lock.descriptor))
    if not user:
        draft.own_user_namespace()
    if volumes:
        draft.plan += [ops.container_mount(target) for target in _targets(draft.spec)]
    return LockedJail(lock, draft, mode)


def _targets(spec: dict[str, Any]) -> list[str]:
    """Where a running container has mounts of its own."""
    return [f"/etc/{name}" for name in FILES] + [mount["destination"] for mount in _asked(spec)]


def _asked(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The mounts that the caller or the image asked for, outside the kernel's folders."""
    every = [mount for mount in spec["mounts"] if mount["destination"] not in mounts.STANDARD]
    return [mount for mount in every if mount["destination"].split("/")[1] not in KERNEL_FOLDERS]


def _stopped(draft: _Draft, lock: Lock, *, write: bool, volumes: bool) -> FileJail:
    folder, store = draft.container.folder, draft.store
    try:
        draft.slot(os.dup(lock.descriptor))
        draft.own_user_namespace()
        if write or draft.container.status == "created":  # whose mounts may have no place yet
            _renew_work(folder, store.trash)
            layers, upper = draft.open(store.layers), draft.open(folder)
            draft.plan.append(ops.overlay(layers, draft.lowers(), upper, 0, 0))
        else:  # layers and changes as one read-only stack: nothing is written, not even by the mount
            changes = f"containers/{os.path.basename(folder)}/upper"
            draft.plan.append(ops.overlay(draft.open(store.root), [changes, *draft.lowers("layers/")], _NO_UPPER, 0, 0))
        if volumes:
            _mount(draft)
        if draft.spec["root"]["readonly"] and write:
            draft.plan.append(ops.readonly_root())
        return LockedJail(lock, draft, "files-write" if write else "files")
    finally:
        draft.close()


def _renew_work(folder: str, trash: str) -> None:
    """A folder that served a volatile mount serves no other (overlayfs.rst, "Volatile mount"); another command empties the trash."""
    work = f"{folder}/work"
    try:
        os.lstat(f"{work}/work/incompat")
    except FileNotFoundError:
        if os.path.isdir(work):
            return
    except PermissionError:
        pass
    if os.path.isdir(work):
        os.rename(work, f"{trash}/{os.urandom(16).hex()}")
    os.mkdir(work, 0o755)


def _mount(draft: _Draft) -> None:
    folder = draft.container.folder
    for name in FILES:
        draft.plan.append(ops.bind(draft.open(f"{folder}/{name}"), f"/etc/{name}", _FILE_FLAGS, 0, _PRIVATE))
    for mount in _asked(draft.spec):
        if mount["type"] == "bind":
            draft.plan.append(_bind(draft, mount))


def _bind(draft: _Draft, mount: dict[str, Any]) -> Op:
    source, target = mount["source"], mount["destination"]
    flags, _ = mounts.attributes(mount["options"])
    own = source.startswith(draft.container.folder + "/")
    if own and not os.path.isdir(source):
        os.makedirs(source, mode=0o755)
    try:
        slot = draft.open(source)
    except OSError as error:
        raise cannot_bind(source, target, error) from None
    if own:
        return ops.volume(slot, target, flags)
    return ops.bind(slot, target, flags, int(mounts.is_recursive(mount["options"])), _PRIVATE)
