"""`image to-disk`: a disk that boots on its own and runs an image's command on a kernel of its own, in QEMU or on a cloud.

    partition 1     the boot loaders, the kernel, and an initramfs with estiba-init and its plan (engine/boot_disk.py)
    partitions 2-   an EROFS image of each layer, lowest first: the same bytes as a machine's disks, with the owners of the image
    the last        what the program writes: an ext4 that lives as long as the disk

The guest finds its partitions by their names, which no two disks have in common (helper/src/guest_disk.c, guest_alone.c).
"""

from __future__ import annotations

import errno
import os

from estiba.config.settings import Settings
from estiba.engine import container_files, guest_disks, kernel_choice, kernel_layer, kernels, tools
from estiba.engine.binder import FILES
from estiba.engine.boot_disk import Part, make_boot_disk, pieces
from estiba.engine.kernels import Kernel
from estiba.engine.launching import filter_of, unique
from estiba.engine.make_disks import make_top_at
from estiba.engine.resolve import Stack, resolve
from estiba.engine.seccomp_filter import read_profile
from estiba.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, NotImplemented
from estiba.machine import guest, initramfs, layout
from estiba.oci.reference import parse_reference
from estiba.plan.encode import encode
from estiba.plan.helper import helper_path
from estiba.runtime.compile import Bindings, compile_plan
from estiba.runtime.options import MountRequest, RunOptions
from estiba.runtime.spec import build_spec, stop_signal
from estiba.store.layout import Store
from estiba.store.publish import failure

FORMATS = ("raw", "qcow2")
DEFAULT_SIZE = 4 << 30
_LEAST_SIZE = 16 << 20
#: The last console named is the program's: a serial line is what a cloud shows.
KERNEL_OPTIONS = "console=tty0 console=ttyS0 quiet loglevel=3 panic=30"
_BOOTS = "bzimage"


def to_disk(
    store: Store,
    settings: Settings,
    options: RunOptions,
    path: str,
    *,
    kernel: str | None = None,
    form: str = "",
    size: int = DEFAULT_SIZE,
    append: str = "",
) -> None:
    """Makes the disk at `path`.

    Parameters: `options` as for `run`: image, command, environment, user and so on; `kernel`, an image or a file, the newest that a
    firmware boots without it; `form`, one of `FORMATS`, by the name of the file without it; `size`, bytes for what the program writes;
    `append`, further words for the kernel's command line. Raises AlreadyExists, NotFound, InvalidArgument, NotImplemented,
    FailedPrecondition for missing packages, and what a pull raises.
    """
    form = _format(path, form)
    if os.path.lexists(path):
        raise AlreadyExists(f"cannot write {path}: it exists", hint="remove it, or name another")
    if size < _LEAST_SIZE:
        raise InvalidArgument(f"cannot make a disk: --size must be at least {_LEAST_SIZE >> 20} MiB")
    if options.devices or any(mount.type == "bind" for mount in options.mounts):
        raise NotImplemented("cannot make a disk: a disk that boots on its own has no host to bind from")
    with store.using():
        chosen = _kernel(store, settings, kernel)
        stack = resolve(store, settings, options)
        if stack.platform.architecture != chosen.architecture:
            raise InvalidArgument(f"cannot make a disk: the image is {stack.platform.text}, its kernel for {chosen.architecture}")
        with tools.Workshop(store) as shop:
            made = f"{shop.path}/disk"
            _make(store, settings, options, stack, chosen, made, shop.path, size, f"{KERNEL_OPTIONS} {append}".strip())
            if form != "raw":
                tools.run(f"write {path}", "qemu-img", "qemu-utils", "convert", "-f", "raw", "-O", form, made, f"{made}.{form}")
                made = f"{made}.{form}"
            _move(made, path)


def _format(path: str, form: str) -> str:
    suffix = os.path.splitext(path)[1].removeprefix(".")
    form = form or ("qcow2" if suffix == "qcow2" else "raw")
    if form not in FORMATS:
        raise InvalidArgument(f"cannot make a disk of format {form!r}", hint=f"valid values: {', '.join(FORMATS)}")
    return form


def _kernel(store: Store, settings: Settings, name: str | None) -> Kernel:
    """The kernel `name`, or the newest that a firmware boots."""
    hint = "estiba kernel build machine, or: estiba kernel import linux-image-....deb"
    if name is None:
        found = [image for image in kernels.named(store) if kernels.of_image(image, kernels.REPOSITORY).kind == _BOOTS]
        if not found:
            raise NotFound("cannot make a disk: the store holds no kernel that a firmware boots (bzimage)", hint=hint)
        return kernels.of_image(max(found, key=lambda image: image.config.created or ""), kernels.REPOSITORY)
    kernel = kernel_choice.choose(store, settings, name, "full")
    if kernel.kind != _BOOTS:
        raise InvalidArgument(f"cannot make a disk with kernel {name}: no firmware boots a {kernel.kind}", hint=hint)
    return kernel


def _make(
    store: Store, settings: Settings, options: RunOptions, stack: Stack, kernel: Kernel, path: str, folder: str, size: int, words: str
) -> None:
    layers = unique(stack.layers)
    if not layers:
        raise FailedPrecondition(f"cannot make a disk: the image {stack.reference} has no layers")
    mark = os.urandom(6).hex()
    names = [f"estiba-{mark}-{number}" for number in range(len(layers))]
    images = [guest_disks.layer_image(store, settings, layer) for layer in layers]
    parts = [Part(name, os.stat(image).st_size, source=image) for name, image in zip(names, images, strict=True)]
    parts.append(Part(f"estiba-{mark}-top", size, make=lambda disk, begin: make_top_at(disk, begin, size)))
    _complete(options, stack)
    image, modules = kernel_layer.read(store, kernel)
    plan = _plan(options, stack, [part.name for part in parts])
    alone = f"{int(options.tty)} {stop_signal(stack.config, options)}\n".encode()
    archive = initramfs.archive(_read(helper_path(settings)), modules, [(initramfs.PLAN, plan), (initramfs.ALONE, alone)])
    with open(path, "xb"):
        make_boot_disk(path, folder, image, archive, words, parts)


def _complete(options: RunOptions, stack: Stack) -> None:
    """Fills in what the image or the caller's files say."""
    options.hostname = options.hostname or parse_reference(stack.reference.split(" ")[0]).repository.rpartition("/")[2]
    options.env = [entry for path in options.env_files for entry in container_files.read_env_file(path)] + options.env
    taken = {mount.target for mount in options.mounts}
    options.mounts += [MountRequest("volume", path) for path in stack.config.volumes if path not in taken]


def _files(options: RunOptions) -> tuple[str, str, str]:
    """hosts, resolv.conf and hostname, of which nothing is this machine's."""
    alone = RunOptions(options.image)
    alone.hostname, alone.add_hosts = options.hostname, options.add_hosts
    servers = "".join(f"nameserver {address}\n" for address in options.dns)
    return container_files.hosts(alone), servers, f"{options.hostname}\n"


def _plan(options: RunOptions, stack: Stack, names: list[str]) -> bytes:
    """The guest's plan: as a machine's (engine/machines.py), its disks found by the names of partitions."""
    facts = guest.facts()
    spec = build_spec(stack.config, options, facts)
    tree, bindings = guest.Tree(), Bindings(facts.maps)
    devices = [f"PARTLABEL={name}" for name in names]
    bindings.layers, bindings.lowers = tree.layers([guest.Layer(device) for device in devices[:-1]])
    bindings.upper = tree.top(devices[-1], "")
    bindings.files = [(tree.file(name, text.encode()), f"/etc/{name}") for name, text in zip(FILES, _files(options), strict=True)]
    for number, mount in enumerate(mount for mount in options.mounts if mount.type == "volume"):
        bindings.binds[mount.target] = bindings.volumes[mount.target] = tree.folder(f"{layout.GUEST_TOP}/volumes/{number}")
    bindings.cgroups = [(tree.group([]), b"")]
    profile = read_profile(options.seccomp) if options.seccomp not in (None, "unconfined") else None
    bindings.seccomp = filter_of(options, profile, spec, stack.platform.architecture, os.uname().machine)
    bindings.stdin = 1
    bindings.prepare = tree.ops
    return encode(compile_plan(spec, bindings))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _move(made: str, path: str) -> None:
    """Puts the file at `path`, which has it whole or not at all."""
    try:
        try:
            os.link(made, path)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM):
                raise
            _copy(made, path)
    except OSError as error:
        raise failure(error, f"write {path}") from error


def _copy(made: str, path: str) -> None:
    part = f"{path}.part"
    try:
        with open(made, "rb") as source, open(part, "xb") as target:
            os.truncate(part, os.fstat(source.fileno()).st_size)
            for at, data in pieces(source):
                os.pwrite(target.fileno(), data, at)
            os.fsync(target.fileno())
        os.link(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)
