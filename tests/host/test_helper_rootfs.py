"""Roots and mounts: layers, read-only roots, slots, and images whose folders are links to somewhere else (W1, W2)."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from estiba.plan import ops
from tests.support.plans import (
    FALLBACKS,
    FIRST_ID,
    HELPER,
    NO_SLOT,
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    SOURCES,
    TERMINAL,
    Container,
    upper_in,
)

PRIVATE = 1 << 18  # MS_PRIVATE (mount(2))


@pytest.fixture(scope="session")
def fallbacks() -> str:
    """The helper with openat2 and lowerdir+ taken away."""
    subprocess.run(["make", "-s", "-C", str(SOURCES), "fallbacks"], check=True)
    return FALLBACKS


@pytest.fixture(params=["kernel", "fallbacks"])
def either(request: pytest.FixtureRequest, container: Container) -> Container:
    """A container by either build of the helper."""
    container.helper = HELPER if request.param == "kernel" else request.getfixturevalue("fallbacks")
    return container


# --- layers ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def many_layers(busybox: Path) -> Path:
    """500 more layers beside `base`: each has a file of its own and one, `top`, that the next hides."""
    for number in range(500):
        layer = busybox / f"l{number}"
        layer.mkdir()
        (layer / f"f{number}").write_text(str(number))
        (layer / "top").write_text(str(number))
    return busybox


@pytest.mark.parametrize("count", [1, 2, 127, 500])
def test_layers(container: Container, many_layers: Path, count: int) -> None:
    check_layers(container, count)


@pytest.mark.parametrize("count", [1, 2, 127])
def test_layers_by_short_names(container: Container, many_layers: Path, fallbacks: str, count: int) -> None:
    container.helper = fallbacks
    check_layers(container, count)


def check_layers(container: Container, count: int) -> None:
    container.lowers = [*[f"l{number}" for number in range(count - 1)], "base"]
    script = "ls /f* 2>/dev/null | wc -l; cat /top 2>/dev/null; echo; rm -f /top; echo new >/new; ls /top /new 2>/dev/null; test -x /bin/sh"
    done = container.run("sh", "-c", script)
    top = b"0" if count > 1 else b""
    assert (done.returncode, done.stdout) == (0, b"%d\n%s\n/new\n" % (count - 1, top)), done.stderr


@pytest.mark.parametrize("which", ["kernel", "fallbacks"])
def test_too_many_layers(container: Container, many_layers: Path, fallbacks: str, which: str) -> None:
    container.helper = HELPER if which == "kernel" else fallbacks
    container.lowers = [*[f"l{number}" for number in range(500)], "base"]
    done = container.run("true")
    assert done.returncode == 125
    assert done.stderr == b"estiba: cannot start container: overlay 501 layers, the kernel stacks 500: Argument list too long\n"


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\\b", "a b", "ñ"])
def test_layer_names_need_no_escapes(either: Container, busybox: Path, name: str) -> None:
    (busybox / name).mkdir(exist_ok=True)
    (busybox / name / "seen").write_text("seen")
    either.lowers = [name, "base"]
    assert either.run("cat", "/seen").stdout == b"seen"


def test_missing_layer(either: Container) -> None:
    either.lowers = ["none", "base"]
    done = either.run("true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"estiba: cannot start container: overlay ")


def test_volatile_upper_is_not_used_again(either: Container, busybox: Path, tmp_path: Path) -> None:
    assert either.run("true").returncode == 0
    again = Container(busybox, tmp_path / "container")
    again.helper = either.helper
    done = again.run("true")
    assert (done.returncode, done.stderr) == (125, b"estiba: cannot start container: overlay the container's layers: Invalid argument\n")


def test_read_only_root_without_an_upper(busybox: Path, fallbacks: str) -> None:
    for helper in (HELPER, fallbacks):
        container = Container(busybox, None)
        container.helper = helper
        done = container.run("sh", "-c", "echo x >/file; ls /bin/sh")
        assert done.stdout == b"/bin/sh\n"
        assert b"Read-only file system" in done.stderr
    assert not (busybox / "base" / "file").exists()


def test_upper_on_a_read_only_flag(either: Container) -> None:
    either.root = ops.overlay(either.layers, ["base"], either.upper, 1, RDONLY)
    assert b"Read-only file system" in either.run("sh", "-c", "echo x >/file").stderr


def test_upper_takes_what_is_written(either: Container, tmp_path: Path) -> None:
    either.run("sh", "-c", "echo hello >/file; chown 5:6 /file; rm /etc/group; mkdir /folder")
    upper = tmp_path / "container" / "upper"
    found = (upper / "file").stat()
    assert ((upper / "file").read_text(), found.st_uid, found.st_gid) == ("hello\n", 5, 6)  # plain ids on disk
    assert stat.S_ISCHR((upper / "etc" / "group").lstat().st_mode)
    assert (upper / "folder").is_dir()


# --- slots -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idmap", [False, True])
def test_bind(either: Container, tmp_path: Path, idmap: bool) -> None:
    source = open_folder(tmp_path)
    (source / "file").write_text("content")
    number = either.tree(source, idmap=idmap)
    either.file_systems.append(ops.bind(number, "/data/deep", 0, 1, PRIVATE))
    done = either.run(
        "sh", "-c", "cat /data/deep/file; stat -c %u /data/deep/file; grep -c ' /data/deep ' /proc/mounts; touch /data/deep/new"
    )
    assert done.stdout.splitlines() == [b"content0" if idmap else b"content65534", b"1"]
    if idmap:
        assert (source / "new").stat().st_uid == 0  # id n inside is id n on disk
    else:
        assert not (source / "new").exists()


def open_folder(tmp_path: Path) -> Path:
    """A folder that the container's root, an ordinary user of the host, can reach by its path."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and not folder.stat().st_mode & 0o005:
            folder.chmod(0o755)
    source = tmp_path / "source"
    source.mkdir(mode=0o755)
    return source


def test_bind_read_only(either: Container, tmp_path: Path) -> None:
    source = open_folder(tmp_path)
    number = either.tree(source, idmap=True)
    either.file_systems.append(ops.bind(number, "/data", RDONLY | NOSUID | NODEV | NOEXEC, 1, PRIVATE))
    done = either.run("sh", "-c", "grep ' /data ' /proc/mounts | cut -d' ' -f4; touch /data/x")
    assert done.stdout.startswith(b"ro,nosuid,nodev,noexec,")
    assert b"Read-only file system" in done.stderr


def test_slot_bound_twice(either: Container, tmp_path: Path) -> None:
    source = open_folder(tmp_path)
    (source / "file").write_text("x")
    number = either.tree(source, idmap=True)
    either.file_systems += [ops.bind(number, "/one", 0, 1, PRIVATE), ops.bind(number, "/two", RDONLY, 1, PRIVATE)]
    assert either.run("cat", "/one/file", "/two/file").stdout == b"xx"


@pytest.mark.parametrize("swapped", [False, True])
def test_path_that_was_swapped(either: Container, tmp_path: Path, swapped: bool) -> None:
    """Between its opening and the launch another folder, or a link to one, takes the slot's path: refused."""
    source, secret = open_folder(tmp_path), tmp_path / "secret"
    secret.mkdir(mode=0o755)
    (secret / "file").write_text("secret")
    number = either.tree(source, idmap=False)
    either.file_systems.append(ops.bind(number, "/data", 0, 1, PRIVATE))
    if swapped:
        source.rename(tmp_path / "away")
        source.symlink_to(secret)
    done = either.run("ls", "-a", "/data")
    if not swapped:
        assert (done.returncode, done.stdout) == (0, b".\n..\n")
        return
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr == f"estiba: cannot start container: slot {number}: {source} is another file by now: Stale file handle\n".encode()


def test_idmapped_slot_is_its_descriptor(either: Container, tmp_path: Path) -> None:
    """No path is looked up again: the swap changes nothing."""
    source, secret = open_folder(tmp_path), tmp_path / "secret"
    secret.mkdir()
    (source / "mine").touch()
    number = either.tree(source, idmap=True)
    either.file_systems.append(ops.bind(number, "/data", 0, 1, PRIVATE))
    source.rename(tmp_path / "away")
    source.symlink_to(secret)
    assert either.run("ls", "/data").stdout == b"mine\n"


def test_propagation_stays_inside(either: Container, tmp_path: Path) -> None:
    """What the container mounts is not seen by the host."""
    number = either.tree(open_folder(tmp_path), idmap=True)
    either.file_systems.append(ops.bind(number, "/data", 0, 1, PRIVATE))
    before = Path("/proc/self/mountinfo").read_text()
    done = either.run("sh", "-c", "mount -t tmpfs none /data && mount | grep -c ' /data '")
    assert done.stdout == b"2\n", done.stderr
    assert Path("/proc/self/mountinfo").read_text() == before


# --- links in the image --------------------------------------------------------------------------------------------------------

ESCAPES = ["/", "../../../../../../..", "/proc/self/root", "/proc/1/root", "/proc/self/cwd", "/proc/self/fd/3", "/tmp/../../.."]


def replace(tmp_path: Path, name: str, target: str) -> Path:
    """Makes `name` of the container's root a link (over what the layer has), and a canary on the host where it may lead."""
    place = tmp_path / "container" / "upper" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    return place


def host_state() -> list[tuple[str, int]]:
    """What an escape would have changed: names in / and mounts of the host."""
    names = sorted(os.listdir("/")) + sorted(name for name in os.listdir("/tmp") if "canary" in name)
    return [(name, 0) for name in names] + [("mounts", len(Path("/proc/self/mountinfo").read_text().splitlines()))]


@pytest.mark.parametrize("target", ESCAPES)
@pytest.mark.parametrize("name", ["proc", "dev", "etc", "dev/console", "work", "data"])
def test_links_lead_nowhere_outside(either: Container, tmp_path: Path, name: str, target: str) -> None:
    """Whether it starts or is refused: nothing of the host is changed or seen."""
    replace(tmp_path, name, target)
    either.directory = "/work/folder-canary" if name == "work" else "/"
    either.kind = TERMINAL if name == "dev/console" else either.kind
    source = open_folder(tmp_path)
    number = either.tree(source, idmap=True)
    either.file_systems += [
        ops.file("/etc/file-canary", 0o644, b"x"),
        ops.directory("/etc/directory-canary", 0o755),
        ops.symlink("x", "/etc/link-canary"),
        ops.bind(number, "/data/bind-canary", 0, 0, PRIVATE),
        ops.mask("/etc/group"),
        ops.readonly("/etc"),
    ]
    before = host_state()
    done = either.run("sh", "-c", "pwd; cat /etc/hostname-of-the-host /data/../../../etc/hostname 2>/dev/null; stat -c %d:%i /")
    assert host_state() == before
    assert done.returncode in {0, 125}, done
    root = os.stat("/")
    assert f"{root.st_dev}:{root.st_ino}".encode() not in done.stdout
    if done.returncode == 125:
        assert done.stderr.startswith(b"estiba: cannot start container: ")


@pytest.mark.parametrize("target", ["/elsewhere", "elsewhere", "../elsewhere", "../../../elsewhere"])
def test_links_are_followed_inside(either: Container, tmp_path: Path, target: str) -> None:
    """The twin: a link whose target is in the root leads there, as Docker's do."""
    replace(tmp_path, "data", target)
    number = either.tree(open_folder(tmp_path), idmap=True)
    (tmp_path / "source" / "file").touch()
    either.file_systems.append(ops.bind(number, "/data", 0, 0, PRIVATE))
    assert either.run("ls", "/elsewhere").stdout == b"file\n"


@pytest.mark.parametrize(
    "target", ["../run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/stub-resolv.conf", "other", "../../../../run/x"]
)
def test_file_over_a_link_that_leads_to_nothing(either: Container, tmp_path: Path, target: str) -> None:
    """Images of distributions have such an /etc/resolv.conf."""
    replace(tmp_path, "etc/resolv.conf", target)
    file = open_folder(tmp_path) / "resolv.conf"
    file.write_text("nameserver 192.0.2.1\n")
    number = either.tree(file, idmap=True)
    either.file_systems.append(ops.bind(number, "/etc/resolv.conf", 0, 0, PRIVATE))
    assert either.run("cat", "/etc/resolv.conf").stdout == b"nameserver 192.0.2.1\n"


@pytest.mark.parametrize("name", ["a", "etc/resolv.conf"])
def test_links_in_a_circle(either: Container, tmp_path: Path, name: str) -> None:
    replace(tmp_path, name, "b")
    replace(tmp_path, str(Path(name).with_name("b")), Path(name).name)
    either.file_systems.append(ops.bind(either.tree(open_folder(tmp_path), idmap=True), f"/{name}", 0, 0, PRIVATE))
    done = either.run("true")
    assert done.returncode == 125
    assert b"symbolic link" in done.stderr.lower(), done.stderr


def test_working_directory_is_made(either: Container) -> None:
    either.directory = "/made/deep/here"
    assert either.run("pwd").stdout == b"/made/deep/here\n"


def test_working_directory_that_is_a_file(either: Container) -> None:
    either.directory = "/etc/passwd"
    done = either.run("pwd")
    assert (done.returncode, done.stderr) == (125, b"estiba: cannot start container: working_directory /etc/passwd: Not a directory\n")


@pytest.mark.parametrize("path", ["/proc/self/fd/3", "/proc/self/fd/10", "/proc/1/cwd", "/dev/fd/7", "/proc/self/root"])
def test_working_directory_behind_a_descriptor(either: Container, path: str) -> None:
    """CVE-2024-21626: a descriptor of the engine as the way out."""
    either.directory = path
    done = either.run("pwd")
    assert done.returncode == 125
    assert done.stdout == b""


def test_device_nodes_of_the_upper_are_dead(either: Container, tmp_path: Path) -> None:
    os.mknod(tmp_path / "container" / "upper" / "disk", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    done = either.run("sh", "-c", "head -c 1 /disk | wc -c; head -c 1 /dev/zero | wc -c")
    assert done.stdout == b"0\n1\n"


def test_host_is_gone_after_the_pivot(either: Container) -> None:
    done = either.run(
        "sh", "-c", "cut -d' ' -f1,2 /proc/mounts | sort | uniq -d; ls /proc/1/root/..; ls -d /proc/self/root/home /proc/1/cwd/../../home"
    )
    assert done.stdout.splitlines() == [b"bin", b"dev", b"etc", b"proc", b"root", b"tmp", b"usr"]
    assert done.stderr.count(b"No such file or directory") == 2


# --- nodes -------------------------------------------------------------------------------------------------------------------


def test_nodes(either: Container) -> None:
    either.file_systems += [
        ops.directory("/new/deep", 0o1777),
        ops.directory("/etc", 0o700),
        ops.symlink("target", "/new/link"),
        ops.symlink("other", "/new/link"),
        ops.file("/new/file", 0o4640, b"content\0more"),
        ops.file("/etc/passwd", 0o644, b"replaced"),
    ]
    done = either.run("stat", "-c", "%n %a %N", "/new", "/new/deep", "/etc", "/new/link", "/new/file")
    assert done.stdout.splitlines() == [
        b"/new 755 /new", b"/new/deep 1777 /new/deep", b"/etc 755 /etc", b"/new/link 777 '/new/link' -> 'target'",
        b"/new/file 4640 /new/file",
    ]  # fmt: skip


def test_file_replaces_what_is_there(either: Container, tmp_path: Path) -> None:
    """A link or a FIFO at its path is neither followed nor opened."""
    upper = tmp_path / "container" / "upper"
    (upper / "etc").mkdir()
    (upper / "etc" / "link").symlink_to("/bin/busybox")
    os.mkfifo(upper / "etc" / "fifo")
    either.file_systems += [ops.file("/etc/link", 0o644, b"one "), ops.file("/etc/fifo", 0o644, b"two")]
    assert either.run("sh", "-c", "cat /etc/link /etc/fifo; test -x /bin/busybox").stdout == b"one two"


def test_masks(either: Container) -> None:
    either.file_systems += [
        ops.mask("/etc"),
        ops.mask("/proc/uptime"),
        ops.mask("/proc/scsi"),
        ops.mask("/none/such"),
        ops.mask("/etc/passwd/x"),
        ops.readonly("/proc/sys"),
        ops.readonly("/none"),
    ]
    done = either.run("sh", "-c", "ls -A /etc; touch /etc/x; wc -c </proc/uptime; echo 8000 >/proc/sys/kernel/msgmax")
    assert done.stdout == b"0\n"
    assert done.stderr.count(b"Read-only file system") == 2


def test_without_masks_all_is_there(either: Container) -> None:
    """The twin."""
    done = either.run("sh", "-c", "ls -A /etc; touch /etc/x; echo 8000 >/proc/sys/kernel/msgmax; cat /proc/sys/kernel/msgmax")
    assert (done.stdout, done.stderr) == (b"group\npasswd\n8000\n", b"")


def test_root_by_bind(either: Container, busybox: Path) -> None:
    number = either.tree(busybox / "base", idmap=True)
    either.root = ops.root(number, RDONLY)
    done = either.run("sh", "-c", "ls /bin/sh; touch /x")
    assert done.stdout == b"/bin/sh\n"
    assert b"Read-only" in done.stderr


def test_idmap_of_a_file_system_that_cannot(container: Container) -> None:
    """procfs has no idmapped mounts: refused with the reason."""
    number = container.tree(Path("/proc"), idmap=True)
    container.file_systems.append(ops.bind(number, "/data", 0, 1, PRIVATE))
    done = container.run("true")
    assert done.returncode == 125
    assert b"cannot start container: idmap /proc: Invalid argument\nhint: the file system does not support idmapped mounts" in done.stderr


def test_ids_of_the_container(container: Container) -> None:
    done = container.run("cat", "/proc/self/uid_map")
    assert done.stdout.split() == [b"0", str(FIRST_ID).encode(), b"65536"]


def test_upper_missing(container: Container, tmp_path: Path) -> None:
    (tmp_path / "container" / "work").rmdir()
    done = container.run("true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"estiba: cannot start container: overlay ")


def test_two_containers_share_layers(busybox: Path, tmp_path: Path) -> None:
    first, second = (Container(busybox, upper_in(tmp_path / name)) for name in "ab")
    first.stdin = 1
    with first.start("sh", "-c", "echo x >/file; cat") as process:
        done = second.run("ls", "/file")
        process.communicate(b"")
    assert done.returncode == 1
    assert NO_SLOT not in {first.upper, second.upper}
