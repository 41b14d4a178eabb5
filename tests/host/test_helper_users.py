"""Who the program runs as: by tables that an image wrote (W5), with capabilities and limits, as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.plan import ops
from tests.support.plans import EVERY_CAPABILITY, Container, make_image, until, upper_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.users import User

CHOWN, NET_BIND = 1 << 0, 1 << 10
# uid, gid, and all groups; id(1) would read the tables again.
WHO = "awk '/^[UG]id:/ {print $2} /^Gid:/ {gid = $2} /^Groups:/ {$1 = gid; print}' /proc/self/status"


def etc(tmp_path: Path, passwd: bytes | None = None, group: bytes | None = None) -> None:
    folder = tmp_path / "container" / "upper" / "etc"
    folder.mkdir()
    for name, content in (("passwd", passwd), ("group", group)):
        if content is not None:
            (folder / name).write_bytes(content)


def run_as(container: Container, user: str, groups: list[str] | None = None, script: str = WHO) -> tuple[int, list[bytes], bytes]:
    container.identity = [ops.bounding(EVERY_CAPABILITY), ops.user(user, groups or [], 0o022, 1)]
    done = container.run("sh", "-c", script)
    return done.returncode, done.stdout.splitlines(), done.stderr


# --- the grammar ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "groups", "expected"),
    [
        ("", [], [b"0", b"0", b"0 10"]),
        ("root", [], [b"0", b"0", b"0 10"]),
        ("0", [], [b"0", b"0", b"0 10"]),
        ("app", [], [b"1000", b"1001", b"1001 10"]),
        ("1000", [], [b"1000", b"1001", b"1001 10"]),
        ("app:wheel", [], [b"1000", b"10", b"10"]),
        ("app:7", [], [b"1000", b"7", b"7"]),
        ("app:", [], [b"1000", b"1001", b"1001 10"]),
        (":wheel", [], [b"0", b"10", b"10"]),
        ("4321", [], [b"4321", b"0", b"0"]),
        ("4321:8765", [], [b"4321", b"8765", b"8765"]),
        ("app", ["33", "wheel"], [b"1000", b"1001", b"1001 10 33 10"]),
        ("65535:65535", [], [b"65535", b"65535", b"65535"]),
    ],
)
def test_user(container: Container, user: str, groups: list[str], expected: list[bytes]) -> None:
    status, lines, err = run_as(container, user, groups)
    assert (status, err) == (0, b"")
    assert lines[:2] == expected[:2]
    assert set(lines[2].split()) == set(expected[2].split())


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nobody", b"user nobody: no such user in the container's /etc/passwd\n"),
        ("app:none", b"user group none: no such group in the container's /etc/group\n"),
        ("4294967295", b"user 4294967295: no such user in the container's /etc/passwd\n"),
        ("4294967296", b"user 4294967296: no such user in the container's /etc/passwd\n"),
        ("-1", b"user -1: no such user in the container's /etc/passwd\n"),
        ("+0", b"user +0: no such user in the container's /etc/passwd\n"),
        ("0x0", b"user 0x0: no such user in the container's /etc/passwd\n"),
        ("app:4294967295", b"user group 4294967295: no such group in the container's /etc/group\n"),
        ("99999999999999999999999", b"user 99999999999999999999999: no such user in the container's /etc/passwd\n"),
    ],
)
def test_user_that_is_not(container: Container, user: str, message: bytes) -> None:
    status, lines, err = run_as(container, user)
    assert (status, lines, err) == (125, [], b"estiba: cannot start container: " + message)


@pytest.mark.parametrize("user", ["70000", "app:70000", "1000:65536"])
def test_ids_outside_the_range(container: Container, user: str) -> None:
    status, lines, err = run_as(container, user)
    assert (status, lines) == (125, [])
    assert err.endswith(b": Invalid argument\nhint: the id is outside the range that the container has\n")


# --- hostile tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["1000", "1000:1001"])
def test_number_is_never_a_name(container: Container, tmp_path: Path, user: str) -> None:
    """CVE-2016-3697: an image whose root is called "1000"."""
    etc(tmp_path, b"1000:x:0:0::/:/bin/sh\n", b"1001:x:0:\n")
    status, lines, _ = run_as(container, user)
    assert (status, lines[0]) == (0, b"1000")
    assert lines[1] == (b"1001" if ":" in user else b"0")


def test_name_is_a_name(container: Container, tmp_path: Path) -> None:
    """The twin: the same table, asked by a name."""
    etc(tmp_path, b"1000:x:0:0::/:/bin/sh\nname:x:5:6::/:/bin/sh\n", b"")
    assert run_as(container, "name")[1][:2] == [b"5", b"6"]


@pytest.mark.parametrize(
    "passwd",
    [
        b"app:x:4294967295:0::/:\napp:x:7:8::/:\n",
        b"app:x:4294967296:0::/:\napp:x:7:8::/:\n",
        b"app:x:-1:0::/:\napp:x:7:8::/:\n",
        b"app:x: 1:0::/:\napp:x:7:8::/:\n",
        b"app:x:1_0:0::/:\napp:x:7:8::/:\n",
        b"app:x::0::/:\napp:x:7:8::/:\n",
        b"app\napp:\napp:x\napp:x:1\napp:x:7:8::/:\n",
        b"\n\n:::::\napp:x:7:8::/:",
        b"xapp:x:1:1::/:\nappx:x:2:2::/:\napp:x:7:8::/:\n",
        b"#app:x:1:1::/:\napp:x:7:8::/:\r\n",
        b"x" * 100_000 + b"\napp:x:7:8::/:\n",
        b":" * 100_000 + b"\napp:x:7:8::/:\n",
        b"app:x:7:8::/:\napp:x:0:0::/:\n",
    ],
)
def test_strange_lines_are_passed_over(container: Container, tmp_path: Path, passwd: bytes) -> None:
    etc(tmp_path, passwd, b"")
    status, lines, err = run_as(container, "app")
    assert (status, lines[:2], err) == (0, [b"7", b"8"], b"")


def test_nothing_behind_a_nul(container: Container, tmp_path: Path) -> None:
    etc(tmp_path, b"first:x:7:8::/:\n\0app:x:0:0::/:\n", b"")
    assert run_as(container, "app")[0] == 125


def test_group_that_is_out_of_range(container: Container, tmp_path: Path) -> None:
    """The user's own group falls to 0, a membership to nothing."""
    etc(tmp_path, b"app:x:7:99999999999::/:\n", b"a:x:4294967295:app\nb:x:5:other,app,\nc:x:6:apps\nd:x:9:,app\n")
    status, lines, _ = run_as(container, "app")
    assert (status, lines[:2]) == (0, [b"7", b"0"])
    assert set(lines[2].split()) == {b"0", b"5", b"9"}


def test_huge_table(container: Container, tmp_path: Path) -> None:
    etc(tmp_path, b"x" * (4 << 20) + b"\n", b"")
    status, _, err = run_as(container, "app")
    assert (status, err) == (125, b"estiba: cannot start container: user /etc/passwd: File too large\n")


def test_large_table(container: Container, tmp_path: Path) -> None:
    """The twin: as large as may be."""
    line = b"app:x:7:8::/:\n"
    etc(tmp_path, b"\n" * ((4 << 20) - len(line)) + line, b"")
    assert run_as(container, "app")[1][:2] == [b"7", b"8"]


def test_too_many_groups(container: Container, tmp_path: Path) -> None:
    etc(tmp_path, None, b"".join(b"g%d:x:%d:app\n" % (i, i + 2000) for i in range(1025)))
    status, _, err = run_as(container, "app")
    assert (status, err) == (125, b"estiba: cannot start container: user more than 1024 groups: Argument list too long\n")


def test_as_many_groups_as_there_may_be(container: Container, tmp_path: Path) -> None:
    etc(tmp_path, None, b"".join(b"g%d:x:%d:app\n" % (i, i + 2000) for i in range(1024)))
    status, lines, _ = run_as(container, "app", script="grep Groups: /proc/self/status | wc -w")
    assert (status, lines) == (0, [b"1025"])  # and the name of the line


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "loop", "device", "missing"])
def test_table_that_is_no_file(container: Container, tmp_path: Path, kind: str) -> None:
    """Nothing waits for a writer and nothing of the host is read; a number needs no table."""
    folder = tmp_path / "container" / "upper" / "etc"
    folder.mkdir()
    path = folder / "passwd"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        os.mknod(path, 0o644 | 0o020000, os.makedev(1, 5))
    elif kind == "missing":
        os.mknod(path, 0o020000, 0)  # overlay's whiteout
    else:
        path.symlink_to("/etc/shadow" if kind == "link" else "passwd")
    status, lines, err = run_as(container, "1234")
    assert (status, lines[0], err) == (0, b"1234", b"")


def test_home_of_the_table(container: Container, tmp_path: Path) -> None:
    etc(tmp_path, b"app:x:7:8::/some where:/bin/sh\n")
    assert run_as(container, "app", script="echo $HOME")[1] == [b"/some where"]


# --- what the program may --------------------------------------------------------------------------------------------------------


def status_of(container: Container, *identity: object) -> dict[str, str]:
    container.identity = list(identity)  # type: ignore[arg-type]
    done = container.run("cat", "/proc/self/status")
    assert done.returncode == 0, done.stderr
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in done.stdout.decode().splitlines()}


def capabilities(found: dict[str, str]) -> dict[str, int]:
    return {name: int(found[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")}


def test_capabilities_of_root(container: Container) -> None:
    held = CHOWN | NET_BIND
    found = status_of(container, ops.bounding(held), ops.user("0", [], 0o022, 0), ops.capabilities(held, held, 0, 0))
    assert capabilities(found) == {"CapEff": held, "CapPrm": held, "CapInh": 0, "CapBnd": held, "CapAmb": 0}
    assert found["NoNewPrivs"] == "0"


def test_capabilities_of_a_user(container: Container) -> None:
    held = CHOWN | NET_BIND
    found = status_of(container, ops.bounding(held), ops.user("app", [], 0o022, 0), ops.capabilities(held, held, 0, 0))
    assert capabilities(found) == {"CapEff": 0, "CapPrm": 0, "CapInh": 0, "CapBnd": held, "CapAmb": 0}


def test_ambient_capabilities_of_a_user(container: Container) -> None:
    held = CHOWN | NET_BIND
    found = status_of(
        container,
        ops.bounding(held),
        ops.user("app", [], 0o022, 0),
        ops.capabilities(held, held, NET_BIND, NET_BIND),
        ops.no_new_privileges(),
    )
    assert capabilities(found) == {"CapEff": NET_BIND, "CapPrm": NET_BIND, "CapInh": NET_BIND, "CapBnd": held, "CapAmb": NET_BIND}
    assert found["NoNewPrivs"] == "1"


def test_umask_and_limits(container: Container) -> None:
    container.identity = [ops.rlimit(7, 100, 200), ops.rlimit(4, 0, 0), ops.bounding(0), ops.user("0", [], 0o077, 0)]
    done = container.run("sh", "-c", "umask; ulimit -n; ulimit -Hn; ulimit -c")
    assert done.stdout == b"0077\n100\n200\n0\n"


def test_oom_score(container: Container) -> None:
    container.file_systems.append(ops.oom_score_adj(500))
    assert container.run("cat", "/proc/self/oom_score_adj").stdout == b"500\n"


def test_names_and_sysctls(container: Container) -> None:
    container.file_systems += [
        ops.hostname("ship"),
        ops.domainname("sea"),
        ops.loopback(),
        ops.sysctl("net/ipv4/ip_unprivileged_port_start", "80"),
    ]
    done = container.run(
        "sh",
        "-c",
        "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_unprivileged_port_start; ip -o addr show lo | grep -c 127.0.0.1",
    )
    assert done.stdout == b"ship\nsea\n80\n1\n"


@pytest.mark.parametrize("path", ["kernel/none", "../self/oom_score_adj", "../../etc/passwd", "kernel/../../self/oom_score_adj"])
def test_sysctl_that_is_not(container: Container, path: str) -> None:
    container.file_systems.append(ops.sysctl(path, "1"))
    done = container.run("cat", "/proc/self/oom_score_adj")
    assert done.returncode == 125, done
    assert done.stderr.startswith(b"estiba: cannot start container: sysctl ")


def test_filter(container: Container) -> None:
    """seccomp(2): mkdir answers EACCES and the rest is allowed; without the operation it is not refused."""
    numbers = {"x86_64": (83, 258), "aarch64": (34, 34)}[os.uname().machine]
    program = struct.pack("<HBBI", 0x20, 0, 0, 0)
    for number in numbers:
        program += struct.pack("<HBBI", 0x15, 0, 1, number) + struct.pack("<HBBI", 0x06, 0, 0, 0x00050000 | 13)
    program += struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
    container.identity.append(ops.seccomp(program, 0))
    done = container.run("sh", "-c", "mkdir /x; grep Seccomp: /proc/self/status")
    assert done.stdout.split() == [b"Seccomp:", b"2"]
    assert b"Permission denied" in done.stderr


# --- ordinary users ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def users_image(ordinary_user: User) -> Iterator[Path]:
    """Layers and a container's folder that belong to an ordinary user, and a helper that he can read."""
    folder = Path(tempfile.mkdtemp(prefix="helper-test-user-", dir=ordinary_user.folder.parent))
    folder.chmod(0o755)
    make_image(folder / "layers")
    upper_in(folder)
    for path, names, files in os.walk(folder):
        for name in [".", *names, *files]:
            os.chown(os.path.join(path, name), ordinary_user.uid, ordinary_user.gid, follow_symlinks=False)
    yield folder
    shutil.rmtree(folder)


def rootless(user: User, folder: Path) -> Container:
    container = Container(folder / "layers", folder / "container")
    helper = folder / "estiba-init"
    if not helper.exists():
        shutil.copy(container.helper, helper)
    container.helper = str(helper)
    container.prefix = user.prefix
    container.idmapped = []
    container.uid_map, container.gid_map, container.setgroups = [f"0 {user.uid} 1"], [f"0 {user.gid} 1"], 0
    if user.has_subordinate_ids:
        first = next(int(line.split(":")[1]) for line in Path("/etc/subuid").read_text().splitlines() if line.startswith(user.name + ":"))
        group = next(int(line.split(":")[1]) for line in Path("/etc/subgid").read_text().splitlines() if line.startswith(user.name + ":"))
        container.uid_map.append(f"1 {first} 65535")
        container.gid_map.append(f"1 {group} 65535")
        container.setgroups = 1
        container.map_programs = (str(shutil.which("newuidmap")), str(shutil.which("newgidmap")))
    return container


def test_ordinary_user(ordinary_user: User, users_image: Path) -> None:
    container = rootless(ordinary_user, users_image)
    container.status(users_image / "status")
    container.log(users_image / "log")
    container.directory = "/made"
    done = container.run("sh", "-c", "id -u; pwd; cat; touch /file; rm -r /etc; ls -d /etc; exit 3", stdin=b"input\n")
    assert (done.returncode, done.stdout) == (3, b"0\n/made\ninput\n"), done.stderr
    assert (users_image / "container" / "upper" / "file").stat().st_uid == ordinary_user.uid
    assert (users_image / "status").read_text().splitlines()[-1].startswith("exited 3 0 ")
    assert (users_image / "log").read_text().count("stdout F ") == 3


def test_other_user_of_an_ordinary_users_container(ordinary_user: User, users_image: Path) -> None:
    container = rootless(ordinary_user, users_image)
    container.identity = [ops.bounding(EVERY_CAPABILITY), ops.user("app", [], 0o022, 1)]
    done = container.run("sh", "-c", "id -u; id -g; echo x >/tmp/file")
    if ordinary_user.has_subordinate_ids:
        assert (done.returncode, done.stdout) == (0, b"1000\n1001\n"), done.stderr
        assert (users_image / "container" / "upper" / "tmp" / "file").stat().st_uid not in {0, ordinary_user.uid}
    else:
        assert done.returncode == 125
        assert done.stderr.endswith(b"hint: the id is outside the range that the container has\n"), done.stderr


def test_ordinary_user_removes_what_the_container_left(ordinary_user: User, users_image: Path) -> None:
    """Files of subordinate ids and a work folder of mode 0: `discard` works from inside the user namespace."""
    container = rootless(ordinary_user, users_image)
    (users_image / "trash").mkdir()
    os.chown(users_image / "trash", ordinary_user.uid, ordinary_user.gid)
    here, trash = (container.slot(os.open(path, os.O_PATH)) for path in (users_image, users_image / "trash"))
    container.after.append(ops.discard(here, "container", trash, here))
    owner = "1000:1000" if ordinary_user.has_subordinate_ids else "0:0"
    done = container.run("sh", "-c", f"mkdir -p /a/b; touch /a/b/c; chown -R {owner} /a; chmod 0 /a/b")
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (users_image / "container").exists()
    until(lambda: not os.listdir(users_image / "trash"), "an empty trash")


def test_ordinary_user_with_foreign_ids(ordinary_user: User, users_image: Path) -> None:
    """A range that is not his: refused by the kernel or by newuidmap(1)."""
    container = rootless(ordinary_user, users_image)
    container.uid_map = ["0 0 65536"]
    done = container.run("true")
    assert done.returncode == 125
    assert b"hint: the range must be granted in /etc/subuid" in done.stderr, done.stderr


def test_idmap_needs_privilege(ordinary_user: User, users_image: Path) -> None:
    container = rootless(ordinary_user, users_image)
    container.idmapped = [ops.idmap(container.layers, 1)]
    done = container.run("true")
    assert done.returncode == 125
    assert b"hint: idmapped mounts need privilege" in done.stderr, done.stderr


def test_user_fixture_is_ordinary(ordinary_user: User) -> None:
    done = subprocess.run([*ordinary_user.prefix, "id", "-u"], capture_output=True, text=True, check=True)
    assert int(done.stdout) == ordinary_user.uid != 0
