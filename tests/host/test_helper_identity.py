"""Who the program is: users of the image's own files, capabilities, the filter, limits; and callers without privilege."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.linux.idmap import subordinate_ranges
from estiba.plan import ops
from tests.support.plans import EVERY_CAPABILITY, Container, make_image, upper_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.users import User

WHO = "id -u; id -g; id -G; echo $HOME"
NET_RAW, CHOWN, SETUID = 1 << 13, 1 << 0, 1 << 7
PASSWD = """\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001:app:/home/app:/bin/sh
twin:x:1000:9:second of one id:/home/twin:/bin/sh
1002:x:0:0:a number as a name:/root:/bin/sh
bad:x:12abc:0::/root:/bin/sh
minus:x:-1:0::/root:/bin/sh
last:x:4294967295:0::/root:/bin/sh
huge:x:99999999999999999999:0::/root:/bin/sh
short:x:5
:x:0:0::/root:/bin/sh
nogid:x:1003:x:/:/home/nogid:/bin/sh
nohome:x:1004:1004:::/bin/sh
"""
GROUP = """\
root:x:0:
app:x:1001:
wheel:x:10:root,app
audio:x:29:xapp,appx,app,app
bad:x:1a:app
1005:x:0:
plug:x:46:
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = tmp_path / "layers"
    folder.mkdir()
    folder.chmod(0o755)
    make_image(folder)
    (folder / "base/etc/passwd").write_text(PASSWD)
    (folder / "base/etc/group").write_text(GROUP)
    return folder


@pytest.fixture
def own(image: Path, tmp_path: Path) -> Iterator[Container]:
    container = Container(image, upper_in(tmp_path))
    yield container
    container.close()


def become(container: Container, user: str, groups: list[str] | None = None, umask: int = 0o022) -> None:
    container.identity = [ops.bounding(EVERY_CAPABILITY), ops.user(user, groups or [], umask, 1)]


# --- users (Docker's --user and --group-add) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "groups", "expected"),
    [
        ("", [], "0 0 0,10 /root"),
        ("0", [], "0 0 0,10 /root"),
        ("app", [], "1000 1001 1001,10,29,29 /home/app"),
        ("1000", [], "1000 1001 1001,10,29,29 /home/app"),
        ("app:plug", [], "1000 46 46 /home/app"),
        ("app:77", [], "1000 77 77 /home/app"),
        ("1000:0", [], "1000 0 0 /home/app"),
        ("4000", [], "4000 0 0 /"),
        ("4000:plug", ["audio", "50"], "4000 46 46,29,50 /"),
        ("twin", [], "1000 9 9 /home/twin"),
        ("nogid", [], "1003 0 0 /home/nogid"),
        ("nohome", [], "1004 1004 1004 /"),
        ("1002", [], "1002 0 0 /"),
        ("0:1005", [], "0 1005 1005 /root"),
    ],
)
def test_users(own: Container, user: str, groups: list[str], expected: str) -> None:
    """A number is an id whatever the image calls by that number (CVE-2016-3697); supplementary groups come without `:group` only."""
    become(own, user, groups)
    uid, gid, listed, home = own.run("sh", "-c", WHO).stdout.decode().splitlines()
    wanted_uid, wanted_gid, wanted_groups, wanted_home = expected.split()
    assert (uid, gid, home) == (wanted_uid, wanted_gid, wanted_home)
    assert sorted(set(listed.split())) == sorted(set(wanted_groups.split(",")))


@pytest.mark.parametrize(
    ("user", "groups", "words"),
    [
        ("nobody-here", [], "user nobody-here: no such user in the container's /etc/passwd"),
        ("app:nogroup", [], "user group nogroup: no such group in the container's /etc/group"),
        ("app", ["nogroup"], "user group nogroup: no such group in the container's /etc/group"),
        ("bad", [], "user bad: no such user in the container's /etc/passwd"),
        ("minus", [], "user minus: no such user in the container's /etc/passwd"),
        ("last", [], "user last: no such user in the container's /etc/passwd"),
        ("huge", [], "user huge: no such user in the container's /etc/passwd"),
        ("short", [], "user short: no such user in the container's /etc/passwd"),
        ("app:bad", [], "user group bad: no such group in the container's /etc/group"),
        ("-1", [], "user -1: no such user in the container's /etc/passwd"),
        ("+0", [], "user +0: no such user in the container's /etc/passwd"),
        ("0x0", [], "user 0x0: no such user in the container's /etc/passwd"),
        ("4294967295", [], "user 4294967295: no such user in the container's /etc/passwd"),
    ],
)
def test_users_that_are_none(own: Container, user: str, groups: list[str], words: str) -> None:
    """What does not parse is not an entry; above all it is not root."""
    become(own, user, groups)
    done = own.run("id")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.decode().splitlines()[0] == f"estiba: cannot start container: {words}"


def test_id_outside_the_range(own: Container) -> None:
    become(own, "70000")
    done = own.run("id")
    assert done.returncode == 125
    assert b"hint: the id is outside the range that the container has" in done.stderr


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("hostuser", "hostuser: no such user in the container's /etc/passwd"),
        ("5:hostuser", "group hostuser: no such group in the container's /etc/group"),
    ],
)
def test_tables_that_are_no_files(own: Container, image: Path, tmp_path: Path, user: str, words: str) -> None:
    """A pipe would hold the start up for ever; a link must not lead to the host's table."""
    secret = tmp_path / "passwd"
    secret.write_text("hostuser:x:33:33::/:/bin/sh\n")
    secret.chmod(0o644)
    (image / "base/etc/passwd").unlink()
    (image / "base/etc/group").unlink()
    os.mkfifo(image / "base/etc/passwd")
    (image / "base/etc/group").symlink_to(secret)
    become(own, user)
    assert own.run("id").stderr.decode().splitlines() == [f"estiba: cannot start container: user {words}"]


def test_table_through_a_link_inside(own: Container, image: Path) -> None:
    """The twin: a link inside the image is followed."""
    (image / "base/etc/passwd").rename(image / "base/etc/real")
    (image / "base/etc/passwd").symlink_to("/etc/real")
    become(own, "app")
    assert own.run("id", "-u").stdout == b"1000\n"


def test_no_tables(own: Container, image: Path) -> None:
    (image / "base/etc/passwd").unlink()
    (image / "base/etc/group").unlink()
    become(own, "1234:5678", ["9"])
    assert own.run("sh", "-c", "id -u; id -g; id -G").stdout.split() == [b"1234", b"5678", b"5678", b"9"]


def test_long_lines_and_many_members(own: Container, image: Path) -> None:
    members = ",".join(f"member{number}" for number in range(20_000))
    (image / "base/etc/group").write_text(f"many:x:50:{members},app\n" + "x" * 100_000 + "\nlate:x:51:app")
    become(own, "app")
    assert set(own.run("id", "-G").stdout.split()) == {b"1001", b"50", b"51"}


def test_mask_of_new_files(own: Container) -> None:
    become(own, "0", umask=0o077)
    assert own.run("sh", "-c", "umask; touch /tmp/f; stat -c %a /tmp/f").stdout == b"0077\n600\n"


def test_streams_belong_to_the_user(own: Container) -> None:
    """Who is not root may open /dev/stdout again."""
    become(own, "app")
    done = own.run("sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")


# --- capabilities, filter, limits ------------------------------------------------------------------------------------------


def sets(container: Container) -> dict[str, int]:
    lines = container.run("grep", "^Cap\\|^NoNewPrivs\\|^Seccomp:", "/proc/self/status").stdout.decode().splitlines()
    return {name.rstrip(":"): int(value, 16) for name, value in (line.split() for line in lines)}


def test_capabilities_of_root(own: Container) -> None:
    own.identity = [ops.bounding(CHOWN | SETUID), ops.user("0", [], 0o022, 0), ops.capabilities(CHOWN, CHOWN | SETUID, 0, 0)]
    got = sets(own)
    assert got["CapBnd"] == CHOWN | SETUID
    assert got["CapInh"] == got["CapAmb"] == 0
    assert got["CapPrm"] == got["CapEff"] == CHOWN | SETUID, "of root execve(2) makes effective what is bounding"


def test_capabilities_of_a_user(own: Container) -> None:
    own.identity = [ops.bounding(CHOWN | SETUID), ops.user("app", [], 0o022, 0), ops.capabilities(CHOWN, CHOWN | SETUID, 0, 0)]
    got = sets(own)
    assert (got["CapPrm"], got["CapEff"], got["CapAmb"], got["CapInh"]) == (0, 0, 0, 0)
    assert got["CapBnd"] == CHOWN | SETUID


def test_ambient_capabilities_of_a_user(own: Container) -> None:
    """The twin: what is asked for stays."""
    everything = NET_RAW | CHOWN
    own.identity = [ops.bounding(everything), ops.user("app", [], 0o022, 0), ops.capabilities(NET_RAW, NET_RAW, NET_RAW, NET_RAW)]
    got = sets(own)
    assert (got["CapPrm"], got["CapEff"], got["CapAmb"], got["CapInh"]) == (NET_RAW, NET_RAW, NET_RAW, NET_RAW)


def test_capability_that_cannot_be_had(own: Container) -> None:
    """Fail closed: an ambient capability outside the permitted set is not left out."""
    own.identity = [ops.bounding(CHOWN), ops.user("app", [], 0o022, 0), ops.capabilities(CHOWN, CHOWN, 0, CHOWN)]
    done = own.run("true")
    assert done.returncode == 125
    assert b"cannot start container: capabilities ambient capability 0" in done.stderr


FORBID_MKDIR = b"".join(
    struct.pack("<HBBI", *instruction)
    for instruction in (
        (0x20, 0, 0, 0),  # load the number of the call (x86_64: mkdir 83, mkdirat 258; aarch64: mkdirat 34)
        (0x15, 2, 0, {"x86_64": 83, "aarch64": 34}[os.uname().machine]),
        (0x15, 1, 0, {"x86_64": 258, "aarch64": 34}[os.uname().machine]),
        (0x06, 0, 0, 0x7FFF0000),  # allow
        (0x06, 0, 0, 0x00050000 | 42),  # ENOMSG, which no file system says
    )
)


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_filter(own: Container, no_new_privileges: bool) -> None:
    """Without no_new_privs it is loaded while CAP_SYS_ADMIN is still there."""
    own.identity = [
        *([ops.no_new_privileges()] if no_new_privileges else []),
        ops.seccomp(FORBID_MKDIR, 0),
        ops.bounding(0),
        ops.user("0", [], 0o022, 0),
        ops.capabilities(0, 0, 0, 0),
    ]
    got = sets(own)
    assert got["Seccomp"] == 2
    assert got["NoNewPrivs"] == int(no_new_privileges)


def test_filter_forbids(own: Container) -> None:
    own.identity = [ops.seccomp(FORBID_MKDIR, 0), *own.identity]
    done = own.run("mkdir", "/made")
    assert done.returncode == 1
    assert b"No message of desired type" in done.stderr


def test_without_the_filter(own: Container) -> None:
    assert own.run("mkdir", "/made").returncode == 0


def test_filter_that_the_kernel_refuses(own: Container) -> None:
    own.identity = [ops.seccomp(b"\xff" * 16, 0), *own.identity]
    assert b"cannot start container: seccomp a filter of 2 instructions: Invalid argument" in own.run("true").stderr


def test_limits(own: Container) -> None:
    own.identity = [ops.rlimit(7, 100, 200), ops.rlimit(4, 0, 0), *own.identity]
    assert own.run("sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c").stdout == b"100\n200\n0\n"


def test_limit_above_the_hosts(own: Container) -> None:
    own.identity = [ops.rlimit(7, 1 << 40, 1 << 40), *own.identity]
    done = own.run("true")
    assert done.returncode == 125
    assert b"cannot start container: rlimit " in done.stderr


def test_program_has_a_dumpable_memory_again(own: Container) -> None:
    """Only the helper is not: a program can read its own files in /proc."""
    become(own, "app")
    assert own.run("sh", "-c", "stat -c %u /proc/self/oom_score_adj").stdout == b"1000\n"


# --- the user namespace ------------------------------------------------------------------------------------------------------


def test_map_of_root(own: Container) -> None:
    done = own.run("sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups")
    assert done.stdout.split() == [b"0", b"700000000", b"65536"] * 2 + [b"allow"]


@pytest.mark.parametrize("lines", [["0 700000000 65536", "5 1 1"], ["words"], ["0 700000000 0"]])
def test_map_that_the_kernel_refuses(own: Container, lines: list[str]) -> None:
    own.uid_map = lines
    done = own.run("true")
    assert done.returncode == 125
    assert b"cannot start container: uid_map " in done.stderr


def test_without_a_user_namespace(own: Container) -> None:
    """`--userns host`, of root alone: slots are opened again instead of cloned."""
    own.uid_map = own.gid_map = []
    own.idmapped.clear()
    assert own.run("cat", "/proc/self/uid_map").stdout.split() == [b"0", b"0", b"4294967295"]


# --- callers without privilege ---------------------------------------------------------------------------------------------


def of_user(user: User) -> Container:
    """The container of an ordinary user: his layers, his upper, his helper, and no idmapped mounts."""
    layers = user.folder / f"layers-{len(list(user.folder.iterdir()))}"
    layers.mkdir()
    make_image(layers)
    upper = upper_in(layers)
    for folder, folders, files in os.walk(layers):
        for path in [folder, *(os.path.join(folder, name) for name in folders + files)]:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
    container = Container(layers, upper)
    container.idmapped.clear()
    container.prefix = user.prefix
    container.helper = next(str(path) for path in user.python.parent.parent.glob("lib/python3*/site-packages/estiba/_bin/estiba-init"))
    container.uid_map, container.gid_map, container.setgroups = [f"0 {user.uid} 1"], [f"0 {user.gid} 1"], 0
    return container


def with_ranges(container: Container, user: User) -> None:
    for file, lines in (("/etc/subuid", container.uid_map), ("/etc/subgid", container.gid_map)):
        first, count = subordinate_ranges(file, user.uid)[0]
        lines.append(f"1 {first} {count}")
    container.setgroups = 1
    container.map_programs = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")


def test_single_id(user_without_subids: User) -> None:
    container = of_user(user_without_subids)
    done = container.run("sh", "-c", "id -u; cat /proc/self/setgroups; echo x > /etc/new; rm -r /usr; mkdir /usr; ls -A /usr; cat /etc/new")
    assert done.stderr == b""
    assert done.stdout == b"0\ndeny\nx\n"


def test_single_id_has_no_other(user_without_subids: User) -> None:
    container = of_user(user_without_subids)
    become(container, "app")
    done = container.run("true")
    assert done.returncode == 125
    assert b"hint: the id is outside the range that the container has" in done.stderr


def test_single_id_has_no_groups(user_without_subids: User) -> None:
    container = of_user(user_without_subids)
    become(container, "0", ["wheel"])
    done = container.run("true")
    assert done.returncode == 125
    assert b"supplementary groups need subordinate ids" in done.stderr


def test_subordinate_ids(user_with_subids: User) -> None:
    """newuidmap(1) writes the map of a helper that is not dumpable but for that moment."""
    container = of_user(user_with_subids)
    with_ranges(container, user_with_subids)
    become(container, "app", ["50"])
    done = container.run("sh", "-c", "id -u; id -G; touch /tmp/mine; stat -c %u /tmp/mine")
    assert done.stderr == b""
    assert done.stdout == b"1000\n1001 10 50\n1000\n"


def test_range_that_is_not_granted(user_without_subids: User) -> None:
    container = of_user(user_without_subids)
    container.uid_map.append("1 700000000 65536")
    container.gid_map.append("1 700000000 65536")
    container.map_programs = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")
    done = container.run("true")
    assert done.returncode == 125
    assert b"cannot start container: uid_map /usr/bin/newuidmap: " in done.stderr
    assert b"/etc/subuid" in done.stderr


def test_idmap_without_privilege(user_without_subids: User) -> None:
    """Refused with the reason; nothing is tried in its place."""
    container = of_user(user_without_subids)
    container.idmapped.append(ops.idmap(container.layers, 1))
    done = container.run("true")
    assert done.returncode == 125
    assert b"cannot start container: idmap " in done.stderr
    assert b"Operation not permitted" in done.stderr


def test_upper_of_another_user(user_without_subids: User, tmp_path: Path) -> None:
    """The slot is opened again with the caller's own power."""
    container = of_user(user_without_subids)
    foreign = upper_in(tmp_path)
    container.upper = container.tree(foreign, idmap=False)
    done = container.run("true")
    assert done.returncode == 125
    assert b"Permission denied" in done.stderr
