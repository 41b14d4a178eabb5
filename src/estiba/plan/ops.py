"""The operations of a plan, made by tools/generate_ops.py from helper/ops.toml. Edit that file, not this one."""

# ruff: noqa: A002 - the arguments have the names and the order of the wire

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Value = int | str | bytes | Sequence[str | bytes]
    Op = tuple[Value, ...]

VERSION = 1

# code -> name, side, types of the arguments (u: 32 bit, q: 64 bit, s: string, b: bytes, l: list), their names
SCHEMA: dict[int, tuple[str, str, str, tuple[str, ...]]] = {
    1: ("slot", "host", "uus", ("number", "descriptor", "path")),
    2: ("user_namespace", "host", "lluss", ("uid_map", "gid_map", "setgroups", "newuidmap", "newgidmap")),
    3: ("namespaces", "host", "q", ("flags",)),
    4: ("idmap", "host", "uu", ("slot", "recursive")),
    5: ("cgroup", "host", "u", ("slot",)),
    6: ("streams", "host", "uuuu", ("kind", "stdin", "rows", "columns")),
    7: ("client", "host", "uu", ("attached", "signal_proxy")),
    8: ("log", "host", "usqu", ("slot", "name", "max_size", "max_files")),
    9: ("status", "host", "u", ("slot",)),
    10: ("report", "host", "u", ("slot",)),
    11: ("trace", "host", "u", ("slot",)),
    12: ("stop_signal", "host", "u", ("number",)),
    13: ("listen", "host", "us", ("slot", "name")),
    14: ("connect", "host", "us", ("slot", "name")),
    15: ("detach_keys", "host", "b", ("keys",)),
    17: ("join", "host", "uq", ("pidfd", "flags")),
    18: ("guest_read", "guest", "l", ("patterns",)),
    19: ("guest_program", "guest", "u", ("number",)),
    20: ("guest_files", "guest", "u", ("write",)),
    21: ("caller", "host", "uu", ("slot", "keyring")),
    22: ("keep", "host", "u", ("slot",)),
    23: ("join_namespace", "host", "uq", ("slot", "kind")),
    24: ("time_offsets", "host", "s", ("text",)),
    25: ("guest_directory", "guest", "su", ("path", "mode")),
    26: ("guest_mount", "guest", "sssqsq", ("fstype", "source", "target", "flags", "options", "offset")),
    27: ("guest_file", "guest", "sub", ("path", "mode", "content")),
    28: ("guest_slot", "guest", "us", ("number", "path")),
    29: ("guest_cgroup", "guest", "usll", ("number", "name", "limits", "optional")),
    30: ("join_root", "host", "u", ("slot",)),
    31: ("cgroup_devices", "host", "ub", ("slot", "program")),
    32: ("overlay", "container", "uluuq", ("layers", "lowers", "upper", "volatile", "flags")),
    33: ("root", "container", "uq", ("slot", "flags")),
    34: ("mount", "container", "ssql", ("fstype", "target", "flags", "options")),
    35: ("bind", "container", "usquq", ("slot", "target", "flags", "recursive", "propagation")),
    36: ("host_bind", "container", "ssqu", ("source", "target", "flags", "recursive")),
    37: ("directory", "container", "su", ("path", "mode")),
    38: ("symlink", "container", "ss", ("target", "path")),
    39: ("file", "container", "sub", ("path", "mode", "content")),
    40: ("console", "container", "", ()),
    41: ("mask", "container", "s", ("path",)),
    42: ("readonly", "container", "s", ("path",)),
    43: ("hostname", "container", "s", ("name",)),
    44: ("domainname", "container", "s", ("name",)),
    45: ("loopback", "container", "", ()),
    46: ("sysctl", "container", "ss", ("path", "value")),
    47: ("pivot", "container", "", ()),
    48: ("rlimit", "container", "uqq", ("resource", "soft", "hard")),
    49: ("oom_score_adj", "container", "q", ("value",)),
    50: ("bounding", "container", "q", ("capabilities",)),
    51: ("user", "container", "sluu", ("user", "groups", "umask", "home")),
    52: ("capabilities", "container", "qqqq", ("effective", "permitted", "inheritable", "ambient")),
    53: ("no_new_privileges", "container", "", ()),
    54: ("seccomp", "container", "bq", ("filter", "flags")),
    55: ("working_directory", "container", "s", ("path",)),
    56: ("init", "container", "", ()),
    57: ("execute", "container", "ll", ("arguments", "environment")),
    58: ("readonly_root", "container", "", ()),
    59: ("volume", "container", "usq", ("slot", "target", "flags")),
    60: ("binfmt", "container", "us", ("slot", "rule")),
    70: (
        "machine", "container", "llsslbuuuuubsu",
        ("arguments", "environment", "initramfs", "init", "modules", "plan", "seconds", "discard", "personality", "park",
         "one_processor", "beginning", "disk", "park_disk"),
    ),
    71: ("machine_execute", "container", "bu", ("plan", "seconds")),
    72: ("rest", "container", "", ()),
    73: ("held_file", "container", "s", ("path",)),
    74: ("content", "container", "ub", ("number", "content")),
    75: ("warm", "container", "l", ("paths",)),
    96: ("forget", "after", "us", ("slot", "name")),
    97: ("discard", "after", "usuu", ("slot", "name", "trash", "names")),
    98: ("remove_cgroup", "after", "us", ("slot", "name")),
    99: ("leave_cgroup", "after", "us", ("slot", "name")),
    256: ("unpack_layer", "unpack", "sqq", ("folder", "bytes", "inodes")),
    257: ("unpack_directory", "unpack", "s", ("path",)),
    258: ("unpack_file", "unpack", "suuuqub", ("path", "mode", "uid", "gid", "mtime", "nanoseconds", "content")),
    259: ("unpack_open", "unpack", "s", ("path",)),
    260: ("unpack_data", "unpack", "qb", ("offset", "content")),
    261: ("unpack_close", "unpack", "quuuqu", ("size", "mode", "uid", "gid", "mtime", "nanoseconds")),
    262: ("unpack_known", "unpack", "ss", ("path", "key")),
    263: ("unpack_link", "unpack", "ss", ("path", "target")),
    264: ("unpack_symlink", "unpack", "ssuuqu", ("path", "target", "uid", "gid", "mtime", "nanoseconds")),
    265: ("unpack_fifo", "unpack", "suuuqu", ("path", "mode", "uid", "gid", "mtime", "nanoseconds")),
    266: ("unpack_whiteout", "unpack", "s", ("path",)),
    267: ("unpack_xattr", "unpack", "ssb", ("path", "name", "value")),
    268: ("unpack_attributes", "unpack", "suuuqu", ("path", "mode", "uid", "gid", "mtime", "nanoseconds")),
    269: ("unpack_erase", "unpack", "su", ("path", "directory")),
    270: ("unpack_keep", "unpack", "su", ("path", "number")),
    271: ("unpack_sync", "unpack", "", ()),
    272: ("unpack_share", "unpack", "ss", ("path", "key")),
    273: ("unpack_read", "unpack", "sqq", ("path", "offset", "length")),
    274: ("unpack_stat", "unpack", "s", ("path",)),
    288: ("container_root", "container", "uu", ("pidfd", "user")),
    289: ("container_mount", "container", "s", ("target",)),
    290: ("upper_tree", "container", "u", ("slot",)),
    291: ("files_base", "files", "us", ("tree", "path")),
    292: ("files_stat", "files", "usu", ("tree", "path", "follow")),
    293: ("files_list", "files", "us", ("tree", "path")),
    294: ("files_read", "files", "us", ("tree", "path")),
    295: ("files_make", "files", "ussuuuqu", ("kind", "path", "target", "uid", "gid", "mode", "mtime", "nanoseconds")),
    296: ("files_open", "files", "usquu", ("folder", "path", "size", "uid", "gid")),
    297: ("files_xattr", "files", "sb", ("name", "value")),
    298: ("files_close", "files", "uqu", ("mode", "mtime", "nanoseconds")),
    299: ("guard", "host", "us", ("slot", "text")),
    320: ("hold", "container", "", ()),
    321: ("ask", "container", "", ()),
    322: ("hook", "container", "sllubb", ("path", "arguments", "environment", "seconds", "head", "tail")),
    323: ("file_system", "container", "sssqul", ("fstype", "source", "target", "flags", "copy", "options")),
    324: ("tree", "container", "usu", ("slot", "target", "recursive")),
    325: ("attributes", "container", "sqqqu", ("target", "set", "clear", "propagation", "recursive")),
    326: ("device", "container", "suuuuu", ("path", "mode", "major", "minor", "uid", "gid")),
    327: ("propagation", "container", "q", ("flags",)),
    329: ("move_root", "container", "", ()),
    330: ("events", "host", "usssssss", ("slot", "name", "start", "oom", "die", "destroy", "detach", "resize")),
    331: ("change_root", "container", "", ()),
    332: ("announce", "host", "s", ("text",)),
}

NAMES: dict[int, str] = {code: entry[0] for code, entry in SCHEMA.items()}


def slot(number: int, descriptor: int, path: str | bytes) -> Op:
    """Binds slot `number` to an inherited descriptor. `path` is where the object was opened: a helper that may not
    clone another mount namespace's mounts opens it again there and refuses it when device and inode differ. Empty
    for descriptors that are only read or written.
    """
    return (1, number, descriptor, path)


def user_namespace(
    uid_map: Sequence[str | bytes],
    gid_map: Sequence[str | bytes],
    setgroups: int,
    newuidmap: str | bytes,
    newgidmap: str | bytes,
) -> Op:
    """Clones the container into a new user namespace. Maps are lines `inside outside count`; setgroups 0 writes deny.
    With both program paths set the maps are written by newuidmap(1) and newgidmap(1), else by the helper.
    """
    return (2, uid_map, gid_map, setgroups, newuidmap, newgidmap)


def namespaces(flags: int) -> Op:
    """CLONE_NEW* flags of the other namespaces that the container gets of its own (clone(2))."""
    return (3, flags)


def idmap(slot: int, recursive: int) -> Op:
    """The slot's tree reaches the container through an idmapped mount with the container's own user namespace
    (mount_setattr(2)): id n on disk is id n inside. Needs privilege over the file system.
    """
    return (4, slot, recursive)


def cgroup(slot: int) -> Op:
    """The container's first process joins the cgroup whose directory is the slot, before it runs (cgroup.procs)."""
    return (5, slot)


def streams(kind: int, stdin: int, rows: int, columns: int) -> Op:
    """What the program's streams are: kind 0 null, 1 pipes, 2 a pseudo-terminal made in the container's own devpts.
    stdin 0: it has no input; 1: it has, until a client that sends some ends it or is gone (Docker's StdinOnce); 2:
    it has as long as it lives. A pseudo-terminal's input never ends. For `attach` it says what the container has,
    and stdin 0 that nothing is sent.
    """
    return (6, kind, stdin, rows, columns)


def client(attached: int, signal_proxy: int) -> Op:
    """Attached 1: the calling process stays as the first client, copies the streams, forwards signals and terminal
    size, and exits with the program's status; 2 and 4 are added where it does not copy standard output, or standard
    error. attached 0: it exits 0 once the program was executed.
    """
    return (7, attached, signal_proxy)


def log(slot: int, name: str | bytes, max_size: int, max_files: int) -> Op:
    """The monitor appends the program's output to the file `name` of the slot's directory in the CRI log format.
    Before it would have more than `max_size` bytes (0: without limit) it becomes `name.1`, that one `name.2`, and
    so on; at most `max_files` are kept.
    """
    return (8, slot, name, max_size, max_files)


def status(slot: int) -> Op:
    """Keeper and monitor hold flock(2) LOCK_EX on the slot's file as long as one of them lives, and append the lines
    `running ...`, `failed ...` and `exited ...` (PROTOCOL.md).
    """
    return (9, slot)


def report(slot: int) -> Op:
    """A failure to launch is written to the slot as one record instead of standard error; success writes nothing."""
    return (10, slot)


def trace(slot: int) -> Op:
    """Each step's name and CLOCK_MONOTONIC nanoseconds are written to the slot as lines, for `run --explain`."""
    return (11, slot)


def stop_signal(number: int) -> Op:
    """The signal that a client's SIGTERM becomes when the program is asked to stop."""
    return (12, number)


def listen(slot: int, name: str | bytes) -> Op:
    """The monitor binds a SOCK_SEQPACKET socket `name` in the slot's directory, where later clients attach."""
    return (13, slot, name)


def connect(slot: int, name: str | bytes) -> Op:
    """Only of `attach`: the socket of `listen`."""
    return (14, slot, name)


def detach_keys(keys: bytes) -> Op:
    """One to 16 bytes which, typed at the client's terminal, make it leave: the container goes on."""
    return (15, keys)


def join(pidfd: int, flags: int) -> Op:
    """The program becomes a further process of a container that runs: the namespaces `flags` (CLONE_NEW*) of the
    process that the slot's pidfd names are joined (setns(2)) in the place of `user_namespace`, `namespaces` and all
    that makes a root.
    """
    return (17, pidfd, flags)


def guest_read(patterns: Sequence[str | bytes]) -> Op:
    """In the place of a program: every file of the guest's own tree that a pattern names (glob(3)) is written to
    standard output as u32 length of its path, path, u32 size, content; one that cannot be read is left out.
    """
    return (18, patterns)


def guest_program(number: int) -> Op:
    """Binds slot `number` to a pidfd of the program of session 0."""
    return (19, number)


def guest_files(write: int) -> Op:
    """In the place of a program: the session's streams are those of `estiba-init files` (write 1: `files-write`) with
    this plan.
    """
    return (20, write)


def caller(slot: int, keyring: int) -> Op:
    """Only of `create`: the slot is a connection with who called (PROTOCOL.md, "Create"). keyring 1: the program gets
    a session keyring of its own.
    """
    return (21, slot, keyring)


def keep(slot: int) -> Op:
    """Only of `create`: the program gets the slot's descriptor under the number that it has now."""
    return (22, slot)


def join_namespace(slot: int, kind: int) -> Op:
    """Only of `create`: the container's first process is made in the namespace whose file the slot is; `kind` is its
    CLONE_NEW* flag (setns(2)).
    """
    return (23, slot, kind)


def time_offsets(text: str | bytes) -> Op:
    """Only of `create`: a new time namespace with these lines in /proc/self/timens_offsets (time_namespaces(7))."""
    return (24, text)


def guest_directory(path: str | bytes, mode: int) -> Op:
    """Makes a directory, and its parents, in the guest's own tree."""
    return (25, path, mode)


def guest_mount(
    fstype: str | bytes,
    source: str | bytes,
    target: str | bytes,
    flags: int,
    options: str | bytes,
    offset: int,
) -> Op:
    """Mount(2) in the guest's own tree; `flags` are MS_*. `target` is made when it is missing. `source` PARTLABEL=NAME
    is the partition of that name (GPT), SERIAL=NUMBER the disk with that serial number; both are waited for. A file
    system that begins at `offset` of the disk `source` is mounted through a loop device (loop(4)).
    """
    return (26, fstype, source, target, flags, options, offset)


def guest_file(path: str | bytes, mode: int, content: bytes) -> Op:
    """Makes or replaces a regular file in the guest's own tree."""
    return (27, path, mode, content)


def guest_slot(number: int, path: str | bytes) -> Op:
    """Binds slot `number` to what `path` names in the guest's own tree: a guest inherits no descriptors."""
    return (28, number, path)


def guest_cgroup(number: int, name: str | bytes, limits: Sequence[str | bytes], optional: Sequence[str | bytes]) -> Op:
    """Makes the control group `name` (version 2), binds slot `number` to it and sets `limits`, which are `file value`.
    One of `optional` is left out where the kernel has no such controller.
    """
    return (29, number, name, limits, optional)


def join_root(slot: int) -> Op:
    """Only of `create`, for one more process of a container that has no mount namespace of its own: its root is the
    slot's folder.
    """
    return (30, slot)


def cgroup_devices(slot: int, program: bytes) -> Op:
    """The cgroup (of version 2) whose directory is the slot gets a program that decides about devices, beside those of
    others that it and its parents have and in the place of the one that it had of this operation, before the
    container's first process is in it (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE). `program` are struct bpf_insn.
    """
    return (31, slot, program)


def overlay(layers: int, lowers: Sequence[str | bytes], upper: int, volatile: int, flags: int) -> Op:
    """The root: an overlay of `lowers` (paths beneath the layers slot, topmost first; after `join` also `/`, the
    container's root) under `upper/` and `work/` of the upper slot; upper 0xffffffff means a read-only root without
    an upper. `flags` are MOUNT_ATTR_*. Always userxattr.
    """
    return (32, layers, lowers, upper, volatile, flags)


def root(slot: int, flags: int) -> Op:
    """The root: a recursive bind of the slot's directory."""
    return (33, slot, flags)


def mount(fstype: str | bytes, target: str | bytes, flags: int, options: Sequence[str | bytes]) -> Op:
    """A new file system (fsopen(2)) attached at `target`, which is resolved in the container's root and made when
    missing. `flags` are MOUNT_ATTR_*; options are `key` or `key=value`.
    """
    return (34, fstype, target, flags, options)


def bind(slot: int, target: str | bytes, flags: int, recursive: int, propagation: int) -> Op:
    """The slot's tree or file attached at `target`, which is made as a directory or file when missing. `flags` are
    MOUNT_ATTR_* to set; propagation is 0 or MS_PRIVATE, MS_SLAVE, MS_SHARED (with MS_REC).
    """
    return (35, slot, target, flags, recursive, propagation)


def host_bind(source: str | bytes, target: str | bytes, flags: int, recursive: int) -> Op:
    """A path of the host as the helper's own mount namespace shows it (device nodes, host /proc and /sys), attached at
    `target`. Never used for a path that an image or a container can choose.
    """
    return (36, source, target, flags, recursive)


def directory(path: str | bytes, mode: int) -> Op:
    """Makes a directory (and its parents) in the container's root when it is missing."""
    return (37, path, mode)


def symlink(target: str | bytes, path: str | bytes) -> Op:
    """Makes a symbolic link; one that is there already is left."""
    return (38, target, path)


def file(path: str | bytes, mode: int, content: bytes) -> Op:
    """Makes or replaces a regular file; the path's last component is never followed."""
    return (39, path, mode, content)


def console() -> Op:
    """Opens the pseudo-terminal of `streams` kind 2 in the container's devpts, hands its master to the monitor and,
    but after `join`, binds its slave at /dev/console. After /dev/pts is mounted.
    """
    return (40,)


def mask(path: str | bytes) -> Op:
    """Hides a path: a directory under an empty read-only tmpfs, a file under /dev/null. A missing path is left."""
    return (41, path)


def readonly(path: str | bytes) -> Op:
    """Makes a path read-only by a bind of itself. A missing path is left."""
    return (42, path)


def hostname(name: str | bytes) -> Op:
    """Sethostname(2)."""
    return (43, name)


def domainname(name: str | bytes) -> Op:
    """Setdomainname(2)."""
    return (44, name)


def loopback() -> Op:
    """Brings the loopback interface of the container's own network namespace up."""
    return (45,)


def sysctl(path: str | bytes, value: str | bytes) -> Op:
    """Writes below /proc/sys through the procfs that the helper mounted itself (RESOLVE_NO_XDEV, PROC_SUPER_MAGIC)."""
    return (46, path, value)


def pivot() -> Op:
    """Pivot_root(2) into the root and detaches the host's tree."""
    return (47,)


def rlimit(resource: int, soft: int, hard: int) -> Op:
    """Setrlimit(2); all ones is RLIM_INFINITY."""
    return (48, resource, soft, hard)


def oom_score_adj(value: int) -> Op:
    """Writes /proc/self/oom_score_adj through the helper's own procfs."""
    return (49, value)


def bounding(capabilities: int) -> Op:
    """Drops every capability outside the mask from the bounding set (and clears the ambient set)."""
    return (50, capabilities)


def user(user: str | bytes, groups: Sequence[str | bytes], umask: int, home: int) -> Op:
    """Becomes `user` (Docker's grammar: name|uid[:group|gid], resolved through the container's own /etc/passwd and
    /etc/group by the helper's parser) with its supplementary groups and `groups`. home 1 sets HOME from passwd
    where the environment lacks it.
    """
    return (51, user, groups, umask, home)


def capabilities(effective: int, permitted: int, inheritable: int, ambient: int) -> Op:
    """Capset(2) and the ambient set. For a user that is not root only what `ambient` or the caller asked for stays."""
    return (52, effective, permitted, inheritable, ambient)


def no_new_privileges() -> Op:
    """PR_SET_NO_NEW_PRIVS."""
    return (53,)


def seccomp(filter: bytes, flags: int) -> Op:
    """Loads the filter (an array of struct sock_filter)."""
    return (54, filter, flags)


def working_directory(path: str | bytes) -> Op:
    """Chdir(2), made when missing but after `join`; getcwd(2) must begin with a slash afterwards. Before `user` it is
    made as root, after it the new user must be able to enter it.
    """
    return (55, path)


def init() -> Op:
    """The helper stays as PID 1, reaps, forwards signals, and runs the program as its child."""
    return (56,)


def execute(arguments: Sequence[str | bytes], environment: Sequence[str | bytes]) -> Op:
    """Execve(2); arguments[0] without a slash is looked up in the environment's PATH. Last of the container's
    operations.
    """
    return (57, arguments, environment)


def readonly_root() -> Op:
    """The root itself becomes read-only; what is mounted in it stays as it is. Before the pivot, after every operation
    that makes a target in the root.
    """
    return (58,)


def volume(slot: int, target: str | bytes, flags: int) -> Op:
    """Binds the slot's folder at `target` like `bind`. An empty folder is first filled with what the container's root
    has there: content, owners, modes, times, extended attributes; device nodes and sockets are left out.
    """
    return (59, slot, target, flags)


def binfmt(slot: int, rule: str | bytes) -> Op:
    """Programs of another machine run: a binfmt_misc of the container's user namespace (Linux 6.7), mounted in its
    /proc, with the one `rule` (the text for its file `register`). The interpreter is a name in the slot's folder,
    which the rule's flag F opens at once, through a read-only mount: nothing of the folder is in the container.
    After the container's /proc.
    """
    return (60, slot, rule)


def machine(
    arguments: Sequence[str | bytes],
    environment: Sequence[str | bytes],
    initramfs: str | bytes,
    init: str | bytes,
    modules: Sequence[str | bytes],
    plan: bytes,
    seconds: int,
    discard: int,
    personality: int,
    park: int,
    one_processor: int,
    beginning: bytes,
    disk: str | bytes,
    park_disk: int,
) -> Op:
    """Last of the container's operations in the place of `execute`: the helper stays as PID 1, writes the file
    `initramfs` for the guest's kernel (its /init is the program `init`, which loads `modules` in their order;
    `plan` is the guest's), runs the machine monitor `arguments` (its program by an absolute path) with one end of a
    stream socket as descriptors 3 and 4, and speaks with the guest at its other end (PROTOCOL.md, "Guests"). A
    guest that does not answer within `seconds` is a failure to launch. discard 1: nothing that the guest wrote is
    wanted, so its end is not waited for. The monitor is executed with `personality` (personality(2)); one_processor
    1: it and this process stay on the processor on which it begins (sched_setaffinity(2)). Without `initramfs` the
    guest gets its plan, random numbers and the time over the channel. `park` is NO_SLOT or the slot of a file: with
    `initramfs`, QEMU writes there the state of the guest that has just booted, and is given a control socket as
    descriptor 5 for that; without, QEMU gets the file as descriptor 5, and the guest goes on from that state. A
    guest carries out the plan `beginning`, if it is not empty, before it is parked; it ends with `rest`, and `plan`
    is what follows it. The file `disk`, which that plan may change, is copied to the slot `park_disk` while the
    guest stands still.
    """
    return (70, arguments, environment, initramfs, init, modules, plan, seconds, discard, personality, park, one_processor,
        beginning, disk, park_disk)


def machine_execute(plan: bytes, seconds: int) -> Op:
    """After `join` of a machine's jail, last of the container's operations in the place of `execute`: the guest
    carries out `plan` with this process's streams, and this process stands for its program (PROTOCOL.md, "Guests").
    A guest that does not begin within `seconds` is a failure to launch.
    """
    return (71, plan, seconds)


def rest() -> Op:
    """Only of a guest's plan that comes in two parts, last of the first: the container's first process waits for the
    second, whose operations it carries out. A guest may be parked meanwhile.
    """
    return (72,)


def held_file(path: str | bytes) -> Op:
    """Only before the pivot of a plan in two parts: the regular file of the guest's own tree is held open for
    `content`.
    """
    return (73, path)


def content(number: int, content: bytes) -> Op:
    """Only of the second part: the content of the file that the `number`th held_file named, from 0; it was empty."""
    return (74, number, content)


def warm(paths: Sequence[str | bytes]) -> Op:
    """Only of the first part, after the pivot: regular files of the container are read, and the interpreters of
    programs among them, so that the guest's kernel has them when it is parked. What is not there, or no such file,
    is left.
    """
    return (75, paths)


def forget(slot: int, name: str | bytes) -> Op:
    """Unlinks `name` in the slot's directory; a missing one is left. Before the exit is reported, but behind a
    `remove_cgroup` only when the cgroups are gone.
    """
    return (96, slot, name)


def discard(slot: int, name: str | bytes, trash: int, names: int) -> Op:
    """Renames the directory `name` of the slot's directory into the trash slot before the exit is reported, and
    removes it there behind it. A symbolic link `name` in it names its entry in the directory of slot `names`: a
    link to `name`, which is unlinked too. A directory without that link stays: somebody wants it after all.
    """
    return (97, slot, name, trash, names)


def remove_cgroup(slot: int, name: str | bytes) -> Op:
    """Removes the cgroup directory `name` of the slot's directory, after killing what is left in it. When one stays,
    what stands behind is left undone: the engine's record of it.
    """
    return (98, slot, name)


def leave_cgroup(slot: int, name: str | bytes) -> Op:
    """Removes the cgroup directory `name` of the slot's directory, which held those of `remove_cgroup`, unless
    something is in it or it is another user's. Behind every `remove_cgroup`.
    """
    return (99, slot, name)


def unpack_layer(folder: str | bytes, bytes: int, inodes: int) -> Op:
    """First record: the tree is `ingest/<folder>/fs` of the store in slot 0, which is made by the sender. `bytes` and
    `inodes` are the budget; one more is an error (EDQUOT).
    """
    return (256, folder, bytes, inodes)


def unpack_directory(path: str | bytes) -> Op:
    """Makes a directory, for now with mode 0700; `unpack_attributes` at the end gives it its own."""
    return (257, path)


def unpack_file(path: str | bytes, mode: int, uid: int, gid: int, mtime: int, nanoseconds: int, content: bytes) -> Op:
    """Makes a regular file with all its content."""
    return (258, path, mode, uid, gid, mtime, nanoseconds, content)


def unpack_open(path: str | bytes) -> Op:
    """Begins a regular file whose content follows in `unpack_data`; `unpack_close` ends it, and nothing else comes
    between.
    """
    return (259, path)


def unpack_data(offset: int, content: bytes) -> Op:
    """Content of the open file at an offset; what is left out is a hole."""
    return (260, offset, content)


def unpack_close(size: int, mode: int, uid: int, gid: int, mtime: int, nanoseconds: int) -> Op:
    """Ends the open file at `size` bytes and gives it its metadata."""
    return (261, size, mode, uid, gid, mtime, nanoseconds)


def unpack_known(path: str | bytes, key: str | bytes) -> Op:
    """A hard link to the store's file `files/<first two characters of key>/<key>`, which has this path, metadata and
    content.
    """
    return (262, path, key)


def unpack_link(path: str | bytes, target: str | bytes) -> Op:
    """A hard link to an entry of this tree."""
    return (263, path, target)


def unpack_symlink(path: str | bytes, target: str | bytes, uid: int, gid: int, mtime: int, nanoseconds: int) -> Op:
    """Makes a symbolic link with any target."""
    return (264, path, target, uid, gid, mtime, nanoseconds)


def unpack_fifo(path: str | bytes, mode: int, uid: int, gid: int, mtime: int, nanoseconds: int) -> Op:
    """Makes a named pipe."""
    return (265, path, mode, uid, gid, mtime, nanoseconds)


def unpack_whiteout(path: str | bytes) -> Op:
    """Makes overlay's mark of a removed name: a character device 0:0."""
    return (266, path)


def unpack_xattr(path: str | bytes, name: str | bytes, value: bytes) -> Op:
    """Sets an extended attribute of an entry, never of what a symbolic link points to (lsetxattr(2))."""
    return (267, path, name, value)


def unpack_attributes(path: str | bytes, mode: int, uid: int, gid: int, mtime: int, nanoseconds: int) -> Op:
    """Gives a directory its owner, mode and time. At the end, when nothing more is made in it."""
    return (268, path, mode, uid, gid, mtime, nanoseconds)


def unpack_erase(path: str | bytes, directory: int) -> Op:
    """Removes one entry: a later entry of the archive takes its place."""
    return (269, path, directory)


def unpack_keep(path: str | bytes, number: int) -> Op:
    """Moves a regular file to `kept/<number>` beside the tree: a later entry replaces it, but the archive cannot be
    rebuilt without its content.
    """
    return (270, path, number)


def unpack_sync() -> Op:
    """Syncfs(2), then the line `synced` on standard output: all that was sent is on the disk."""
    return (271,)


def unpack_share(path: str | bytes, key: str | bytes) -> Op:
    """Enters a file of the tree into `files/` under `key`. After `unpack_sync`, so that no name there ever shows
    content that a power cut can take away. One that is there already, or a full link count, is left.
    """
    return (272, path, key)


def unpack_read(path: str | bytes, offset: int, length: int) -> Op:
    """Only of `estiba-init read`: answers with u32 errno and, when that is 0, exactly `length` bytes of the regular
    file from `offset`. Slot 0 is the layer's folder; the path begins with `fs/` or `kept/`.
    """
    return (273, path, offset, length)


def unpack_stat(path: str | bytes) -> Op:
    """Only of `estiba-init read`: answers with u32 errno and, when that is 0, u32 mode, u32 uid, u32 gid, u64 size,
    s64 mtime, u32 nanoseconds, u32 length, and a symbolic link's target of that length.
    """
    return (274, path)


def container_root(pidfd: int, user: int) -> Op:
    """The root: what the running program of the slot's pidfd has for one, without what is mounted on it. `user` 1: its
    user namespace is joined too.
    """
    return (288, pidfd, user)


def container_mount(target: str | bytes) -> Op:
    """After `container_root`, or `join` and `overlay`: what the running container has mounted at `target` is seen
    there.
    """
    return (289, target)


def upper_tree(slot: int) -> Op:
    """Tree 1: the slot's folder as it is on disk, the upper layer of the container."""
    return (290, slot)


def files_base(tree: int, path: str | bytes) -> Op:
    """Resolves a path as the container would, links included, to a folder that later paths are below. Answers u32
    errno.
    """
    return (291, tree, path)


def files_stat(tree: int, path: str | bytes, follow: int) -> Op:
    """Answers u32 errno and, when that is 0, a status. follow 0: below the base; 1: from the tree's root, resolved as
    the container would, but not a link that the last component is; 2: that one too.
    """
    return (292, tree, path, follow)


def files_list(tree: int, path: str | bytes) -> Op:
    """A folder. Answers u32 errno and, when that is 0, its status, its attributes, and each entry: u32 length of the
    name, name, status; u32 0; u32 errno of what ended the list early, or 0.
    """
    return (293, tree, path)


def files_read(tree: int, path: str | bytes) -> Op:
    """A regular file. Answers u32 errno and, when that is 0, its status, its attributes, u32 count and as many pairs
    u64 offset, u64 length of the parts that are no holes, their content, and u32 errno: not 0 when the file changed
    meanwhile, and zeros stand for what was missing.
    """
    return (294, tree, path)


def files_make(
    kind: int,
    path: str | bytes,
    target: str | bytes,
    uid: int,
    gid: int,
    mode: int,
    mtime: int,
    nanoseconds: int,
) -> Op:
    """Makes an entry: kind 0 a folder (one that is there is taken; mode and time come with `files_close`), 1 a
    symbolic link, 2 a named pipe, 3 a hard link to the entry `target`. What is there and is no folder is replaced
    by the others.
    """
    return (295, kind, path, target, uid, gid, mode, mtime, nanoseconds)


def files_open(folder: int, path: str | bytes, size: int, uid: int, gid: int) -> Op:
    """Folder 0: a new regular file of `size` bytes in the place of what is there and no folder (what cannot be
    replaced because it is mounted is written in place); `unpack_data` may follow. folder 1: a folder that is there.
    `files_xattr` may follow, `files_close` ends it.
    """
    return (296, folder, path, size, uid, gid)


def files_xattr(name: str | bytes, value: bytes) -> Op:
    """Sets an extended attribute of what is open."""
    return (297, name, value)


def files_close(mode: int, mtime: int, nanoseconds: int) -> Op:
    """Ends what is open: mode and time."""
    return (298, mode, mtime, nanoseconds)


def guard(slot: int, text: str | bytes) -> Op:
    """Only of `estiba-init guard`: when standard input ends, whatever ended it, `text` is written to the slot. Then
    `forget` is carried out.
    """
    return (299, slot, text)


def hold() -> Op:
    """The container is made: the creator ends, and the first process waits for `go` on the socket of `listen`. A
    connection that ends without it ends the container.
    """
    return (320,)


def ask() -> Op:
    """Tells the caller that the mounts are made, and waits until it says `go`: its hooks run meanwhile."""
    return (321,)


def hook(
    path: str | bytes,
    arguments: Sequence[str | bytes],
    environment: Sequence[str | bytes],
    seconds: int,
    head: bytes,
    tail: bytes,
) -> Op:
    """Runs a hook of the bundle as a child and waits for it, at most `seconds` where that is not 0; it must end with
    0. Its standard input is `head`, the container's pid in decimal, `tail`.
    """
    return (322, path, arguments, environment, seconds, head, tail)


def file_system(
    fstype: str | bytes,
    source: str | bytes,
    target: str | bytes,
    flags: int,
    copy: int,
    options: Sequence[str | bytes],
) -> Op:
    """As `mount`, with a source. copy 1: it is first filled with what the root has at `target`, as `volume` is."""
    return (323, fstype, source, target, flags, copy, options)


def tree(slot: int, target: str | bytes, recursive: int) -> Op:
    """As `bind`, without attributes; some files of the container's /proc may be the target."""
    return (324, slot, target, recursive)


def attributes(target: str | bytes, set: int, clear: int, propagation: int, recursive: int) -> Op:
    """Of what is mounted at `target`: MOUNT_ATTR_* to set and to clear, MS_* of propagation or 0, with what is mounted
    below it or without (mount_setattr(2)).
    """
    return (325, target, set, clear, propagation, recursive)


def device(path: str | bytes, mode: int, major: int, minor: int, uid: int, gid: int) -> Op:
    """Makes a device node or a named pipe; `mode` has the type too (mknod(2)). One that is there already is left."""
    return (326, path, mode, major, minor, uid, gid)


def propagation(flags: int) -> Op:
    """After the pivot: MS_* of the root's propagation. With MS_SHARED the host's mounts do not become slaves before."""
    return (327, flags)


def move_root() -> Op:
    """In the place of `pivot`, where pivot_root(2) cannot be (a ramfs): the root is moved over the host's, which stays
    below.
    """
    return (329,)


def events(
    slot: int,
    name: str | bytes,
    start: str | bytes,
    oom: str | bytes,
    die: str | bytes,
    destroy: str | bytes,
    detach: str | bytes,
    resize: str | bytes,
) -> Op:
    """Lines for the file `name` of the slot's directory, each appended when it happens: the program was executed; it
    has ended, and the kernel had killed for want of memory; it has ended; `discard` has taken the container away; a
    client has left by the detach keys; a client has given the terminal its size. In a text the byte 1 stands for
    the time in seconds since 1970, 2 for that in nanoseconds, 3 for the exit code, 4 and 5 for the terminal's rows
    and columns. An empty text tells nothing.
    """
    return (330, slot, name, start, oom, die, destroy, detach, resize)


def change_root() -> Op:
    """In the place of `pivot`, where the mount namespace is the caller's: chroot(2). The root is mounted over its own
    folder, what the container mounts is below it and reaches no other mount, and the caller takes all of it off.
    """
    return (331,)


def announce(text: str | bytes) -> Op:
    """Of a client that is not attached: it writes `text` and a line feed to standard output once the program was
    executed. When that fails it says so and exits with 1; the container goes on.
    """
    return (332, text)
