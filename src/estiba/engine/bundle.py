"""`bundle`: a directory with config.json and rootfs that another OCI runtime can run (runtime-spec, bundle.md).

Other runtimes do not map ids of the root file system, so its files belong to the ids of the container's user namespace already:
for root a range right above those of estiba's own containers, which no container of estiba has; for an ordinary user the one
id that is his. Root of the container is therefore never root of the host here either.
"""

from __future__ import annotations

import os
from typing import Any

from estiba.config.settings import Settings
from estiba.engine.bundle_seccomp import seccomp_section
from estiba.engine.devices import complete_limits
from estiba.engine.flatten import Owner, write_root
from estiba.engine.resolve import resolve
from estiba.errors import AlreadyExists, InvalidArgument, NotFound
from estiba.linux import facts, idmap
from estiba.linux.idmap import RANGE_SIZE, IdMaps
from estiba.oci.strict_json import dumps
from estiba.oci.user import is_id, parse_user
from estiba.runtime.options import RunOptions
from estiba.runtime.spec import build_spec
from estiba.store.layout import Store

_DATABASE_LIMIT = 1 << 20  # bytes of /etc/passwd that are read


def bundle(store: Store, settings: Settings, name: str, directory: str, options: RunOptions) -> None:
    """Writes the bundle of a container of the image `name`.

    Parameters: `directory`, which must be missing or empty; `options` as for `run`. Raises NotFound, AlreadyExists,
    InvalidArgument, NoCommand, DataLoss, FailedPrecondition, and what a pull raises when the image is missing.
    """
    if options.seccomp not in (None, "unconfined"):
        raise InvalidArgument(f"cannot write a bundle with seccomp profile {options.seccomp}: only the default one and unconfined")
    options.image = name
    stack = resolve(store, settings, options)
    maps = bundle_maps(settings, options)
    if options.uts == "private" and not options.hostname:
        options.hostname = os.path.basename(os.path.abspath(directory))[:64]
    spec = build_spec(stack.config, options, facts.gather(settings, maps, every_device=options.privileged))
    complete_limits(spec["linux"]["resources"])
    _make_empty(directory)
    root = os.open(f"{directory}/rootfs", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with store.using():
            write_root(store, stack.layers, root, _owner(maps, settings, options))
        complete_spec(spec, options, settings, stack.config.user, root)
    finally:
        os.close(root)
    with open(f"{directory}/config.json", "xb") as file:
        file.write(dumps(spec, indent=2) + b"\n")


def bundle_maps(settings: Settings, options: RunOptions) -> IdMaps:
    """The id maps of a bundle's user namespace (see the module)."""
    if idmap.needs_range(settings) and options.userns != "host":
        extent = ((0, settings.id_range_start + settings.id_range_count, RANGE_SIZE),)
        return IdMaps("root-range", extent, extent)
    if settings.uid != 0:
        return IdMaps("single", ((0, settings.uid, 1),), ((0, os.getgid(), 1),), setgroups=0)
    return idmap.layer_maps(settings)


def _owner(maps: IdMaps, settings: Settings, options: RunOptions) -> Owner:
    if settings.uid != 0:
        return lambda _uid, _gid: None
    if options.userns == "host":
        return lambda uid, gid: (uid, gid)
    uids, gids = _extents(maps.uid_map), _extents(maps.gid_map)
    return lambda uid, gid: (_outside(uids, uid), _outside(gids, gid))


def _extents(lines: tuple[str, ...]) -> list[tuple[int, int, int]]:
    rows = [line.split(" ") for line in lines]
    return [(int(inside), int(outside), int(count)) for inside, outside, count in rows]


def _outside(extents: list[tuple[int, int, int]], number: int) -> int:
    for inside, outside, count in extents:
        if inside <= number < inside + count:
            return outside + number - inside
    raise KeyError(number)


def _make_empty(directory: str) -> None:
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        if os.listdir(directory):
            raise AlreadyExists(f"cannot write bundle {directory}: the folder is not empty")
        os.mkdir(f"{directory}/rootfs", 0o755)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidArgument(f"cannot write bundle {directory}: it is not a folder") from error


def complete_spec(spec: dict[str, Any], options: RunOptions, settings: Settings, image_user: str, root: int) -> None:
    """Fills in what estiba's own helper learns in other ways: ids of named users, the system-call filter."""
    process = spec["process"]
    user, group = parse_user(options.user or image_user or "0")
    uid, gid, home = find_user(root, user)
    process["user"] |= {"uid": uid, "gid": gid if not group else find_group(root, group)}
    if home and not any(entry.startswith("HOME=") for entry in process["env"]):
        process["env"].append(f"HOME={home}")
    named = [name for name in options.group_add if not is_id(name)]
    if named:
        process["user"].setdefault("additionalGids", []).extend(find_group(root, name) for name in named)
    if settings.uid != 0 and not (options.memory or options.nano_cpus or options.pids_limit):
        # A runtime without privilege has no control groups of its own, and refuses any limit.
        spec["linux"].pop("resources", None)
    if not options.privileged and options.seccomp is None:
        spec["linux"]["seccomp"] = seccomp_section(os.uname().machine, process["capabilities"]["bounding"])


def find_user(root: int, user: str) -> tuple[int, int, str]:
    """uid, gid and home folder of a name or number, from the image's /etc/passwd (passwd(5)). Raises NotFound for a name."""
    for fields in _database(root, b"passwd", 7):
        if fields[2].isdigit() and fields[3].isdigit() and (fields[0] == user.encode() or (is_id(user) and int(fields[2]) == int(user))):
            return int(fields[2]), int(fields[3]), fields[5].decode("utf-8", "replace")
    if is_id(user):
        return int(user), 0, "/"
    raise NotFound(f"cannot use user {user}: the image's /etc/passwd has no such name")


def find_group(root: int, group: str) -> int:
    """The gid of a name or number, from the image's /etc/group (group(5)). Raises NotFound for a name."""
    if is_id(group):
        return int(group)
    for fields in _database(root, b"group", 4):
        if fields[0] == group.encode() and fields[2].isdigit():
            return int(fields[2])
    raise NotFound(f"cannot use group {group}: the image's /etc/group has no such name")


def _database(root: int, name: bytes, width: int) -> list[list[bytes]]:
    """The lines of a file of /etc that have as many fields as they should. The image chose the file: no link is followed."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        folder = os.open(b"etc", flags | os.O_DIRECTORY, dir_fd=root)
    except OSError:
        return []
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError:
        return []
    finally:
        os.close(folder)
    with open(descriptor, "rb") as file:
        rows = [line.split(b":") for line in file.read(_DATABASE_LIMIT).split(b"\n")]
    return [row for row in rows if len(row) == width]
