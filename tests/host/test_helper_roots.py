"""The container's root: overlays of layers, and images that try to lead the helper's mounts and files out of it.

The helper is run as it is, and as a build that lacks openat2(2) and `lowerdir+`: both must do the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.plan import ops
from tests.support.plans import FALLBACKS, HELPER, SOURCES, Container, make_image, upper_in

if TYPE_CHECKING:
    from collections.abc import Iterator

# ELOOP in the words of musl and of glibc.
LOOP = re.compile(rb"estiba: cannot start container: (directory /escape/made|mount /a/x): (Symbolic link loop|Too many levels of symbolic links)\n")


@pytest.fixture(scope="module")
def fallbacks() -> str:
    subprocess.run(["make", "-s", "-C", str(SOURCES), "fallbacks"], check=True)
    return FALLBACKS


@pytest.fixture(params=["new calls", "old calls"])
def helper(request: pytest.FixtureRequest) -> str:
    return HELPER if request.param == "new calls" else str(request.getfixturevalue("fallbacks"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A layer of the test's own, to be spoilt."""
    folder = tmp_path / "layers"
    folder.mkdir()
    folder.chmod(0o755)
    return make_image(folder)


@pytest.fixture
def spoilt(image: Path, tmp_path: Path, helper: str) -> Iterator[Container]:
    container = Container(image, upper_in(tmp_path))
    container.helper = helper
    yield container
    container.close()


def outside(tmp_path: Path) -> Path:
    """What no container may reach: a folder of the host with a mark in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "mark").write_text("host")
    return folder


def replace(path: Path, link: str) -> None:
    shutil.rmtree(path)
    path.symlink_to(link)


# --- overlays -------------------------------------------------------------------------------------------------------------


def add_layers(folder: Path, count: int) -> list[str]:
    """`count` layers above `base`, named as the store names them; each has a file and covers the one below it."""
    names: list[str] = []
    for number in range(count):
        name = f"{number:064x}/fs"
        (folder / name).mkdir(parents=True)
        (folder / name / f"file{number}").write_text(str(number))
        (folder / name / "top").write_text(str(number))
        names.insert(0, name)
    return [*names, "base"]


@pytest.mark.parametrize("count", [1, 10, 126])
def test_layers(spoilt: Container, image: Path, count: int) -> None:
    """The topmost wins, and the lowest is there; 127 in all are what Docker stacks."""
    spoilt.lowers = add_layers(image, count)
    done = spoilt.run("sh", "-c", f"cat /top /file0 /file{count - 1} && echo new > /top && cat /top && rm /file0 && ls / | grep -c file")
    assert done.stderr == b""
    assert done.stdout == f"{count - 1}0{count - 1}new\n{count - 1}\n".encode()
    assert (image / f"{0:064x}/fs/file0").read_text() == "0", "a layer is never written to"


def test_order_of_layers_counts(spoilt: Container, image: Path) -> None:
    spoilt.lowers = add_layers(image, 2)
    spoilt.lowers[:2] = reversed(spoilt.lowers[:2])
    assert spoilt.run("cat", "/top").stdout == b"0"


@pytest.mark.parametrize("count", [0, 3])
def test_without_upper(image: Path, helper: str, count: int) -> None:
    """A root of layers alone is read-only, also when there is one layer, which the kernel by itself refuses."""
    container = Container(image, None)
    container.helper = helper
    container.lowers = add_layers(image, count)
    done = container.run("sh", "-c", "ls -d /bin && touch /new")
    assert done.returncode == 1
    assert done.stdout == b"/bin\n"
    assert b"Read-only file system" in done.stderr


def test_ids_on_disk_are_those_inside(spoilt: Container, tmp_path: Path) -> None:
    """Layers and upper are idmapped: what user 1000 makes belongs to 1000 on disk, not to a subordinate id."""
    assert spoilt.run("sh", "-c", "touch /made && chown 1000:1001 /made && chown 1000 /etc/passwd").returncode == 0
    made = tmp_path / "container/upper"
    assert ((made / "made").stat().st_uid, (made / "made").stat().st_gid) == (1000, 1001)
    assert (made / "etc/passwd").stat().st_uid == 1000


def test_missing_layer(spoilt: Container) -> None:
    spoilt.lowers = ["not-there", "base"]
    done = spoilt.run("true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"estiba: cannot start container: overlay ")
    assert done.stderr.rstrip().endswith(b"No such file or directory")


def test_bind_as_root(spoilt: Container, image: Path, tmp_path: Path) -> None:
    """The other kind of root: a folder, as it is."""
    spoilt.root = ops.root(spoilt.tree(image / "base", idmap=True), 0)
    assert spoilt.run("sh", "-c", "echo hello > /made").returncode == 0
    assert (image / "base/made").read_text() == "hello\n"
    assert not (tmp_path / "container/upper/made").exists()


# --- images that lead elsewhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["/", "../../..", "/etc", "/tmp/../.."])
@pytest.mark.parametrize("where", ["proc", "sys"])
def test_kernel_file_systems_through_a_link(spoilt: Container, image: Path, where: str, link: str) -> None:
    """/proc elsewhere than at /proc would be one without masks: refused, with the reason."""
    (image / "base" / where).mkdir(exist_ok=True)
    replace(image / "base" / where, link)
    if where == "sys":
        spoilt.file_systems.append(ops.mount("sysfs", "/sys", 1, []))
    done = spoilt.run("true")
    assert done.returncode == 125
    assert done.stderr == (
        f"estiba: cannot start container: mount /{where}: Not a directory\nhint: the image has a symbolic link there\n".encode()
    )


def test_kernel_file_systems_without_a_link(spoilt: Container) -> None:
    """The twin: the same mounts on folders are made, and masks are where they belong."""
    spoilt.file_systems += [ops.mount("sysfs", "/sys", 1, []), ops.mask("/proc/version"), ops.mask("/proc/fs")]
    done = spoilt.run("sh", "-c", "wc -c < /proc/version; ls /proc/fs; ls /sys/kernel > /dev/null")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n", b"")


@pytest.mark.parametrize("link", ["/", "../../..", "etc/../.."])
def test_nothing_is_mounted_on_the_root(spoilt: Container, image: Path, link: str) -> None:
    replace(image / "base/dev", link)
    done = spoilt.run("true")
    assert done.returncode == 125
    assert b"mount /dev is the container's root" in done.stderr


@pytest.mark.parametrize("up", ["", "../../../../../../.."])
def test_links_stay_inside(spoilt: Container, image: Path, tmp_path: Path, up: str) -> None:
    """Folders, files, binds and volumes go through links of the image; all of them end in the container."""
    target = outside(tmp_path)
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    (volume / "content").write_text("volume")
    replace(image / "base/etc", f"{up}{target}")
    slot = spoilt.tree(volume, idmap=True)
    spoilt.file_systems += [
        ops.directory("/etc/made", 0o755),
        ops.file("/etc/hostname", 0o644, b"inside\n"),
        ops.symlink("nowhere", "/etc/link"),
        ops.bind(slot, "/etc/volume", 0, 0, 0),
        ops.mount("tmpfs", "/etc/tmpfs", 0, []),
        ops.mask("/etc/mark"),
    ]
    done = spoilt.run("sh", "-c", "ls /etc/ && cat /etc/hostname /etc/volume/content && rm -f /etc/mark; echo x > /etc/mark")
    assert done.stderr == b""
    assert done.stdout == b"hostname\nlink\nmade\ntmpfs\nvolume\ninside\nvolume"
    assert [entry.name for entry in target.iterdir()] == ["mark"]
    assert (target / "mark").read_text() == "host"


def test_the_same_without_a_container(image: Path, tmp_path: Path) -> None:
    """The twin: followed by the host's own rules, the link does lead out."""
    target = outside(tmp_path)
    replace(image / "base/etc", str(target))
    (image / "base/etc/hostname").write_text("outside")
    assert (target / "hostname").read_text() == "outside"


def test_file_replaces_a_link(spoilt: Container, image: Path, tmp_path: Path) -> None:
    """The last component is not followed: the image's /etc/hosts may be a link, a pipe or a file that others share."""
    target = outside(tmp_path)
    (image / "base/etc/hosts").symlink_to(target / "mark")
    os.mkfifo(image / "base/etc/resolv.conf")
    spoilt.file_systems += [ops.file("/etc/hosts", 0o644, b"hosts\n"), ops.file("/etc/resolv.conf", 0o600, b"resolv\n")]
    done = spoilt.run("sh", "-c", "cat /etc/hosts /etc/resolv.conf; stat -c '%a %F' /etc/hosts /etc/resolv.conf")
    assert done.stdout == b"hosts\nresolv\n644 regular file\n600 regular file\n"
    assert (target / "mark").read_text() == "host"


def test_magic_links_are_refused(spoilt: Container, image: Path) -> None:
    """/proc/self/root and /proc/self/fd are of the helper, which stands in the host's tree while it mounts."""
    (image / "base/escape").symlink_to("/proc/self/root/tmp")
    spoilt.file_systems.append(ops.directory("/escape/made", 0o755))
    done = spoilt.run("true")
    assert done.returncode == 125
    assert LOOP.fullmatch(done.stderr)


def test_ordinary_links_of_procfs_are_followed(spoilt: Container, image: Path) -> None:
    """The twin: `self` is a link too, but one that names its target."""
    (image / "base/named").symlink_to("/proc/mounts")
    spoilt.file_systems.append(ops.mask("/named/x"))  # not a folder: nothing to hide, and no failure
    assert spoilt.run("true").returncode == 0


def test_loops_end(spoilt: Container, image: Path) -> None:
    (image / "base/a").symlink_to("b")
    (image / "base/b").symlink_to("a")
    spoilt.file_systems.append(ops.mount("tmpfs", "/a/x", 0, []))
    assert LOOP.fullmatch(spoilt.run("true").stderr)


@pytest.mark.parametrize("link", ["/proc/self/fd/{0}", "/proc/1/cwd", "/proc/self/cwd/../../.."])
def test_working_directory_stays_inside(spoilt: Container, image: Path, link: str) -> None:
    """CVE-2024-21626: a working directory through a descriptor that the runtime holds is outside the container."""
    (image / "base/work").symlink_to(link.format(7))
    spoilt.directory = "/work"
    done = spoilt.run("pwd")
    assert done.returncode == 125, done.stdout
    assert done.stderr.startswith(b"estiba: cannot start container: working_directory /work: ")


def test_working_directory_through_a_link(spoilt: Container, image: Path) -> None:
    """The twin: a link inside is followed, and a folder that is missing is made."""
    (image / "base/work").symlink_to("/srv/deep")
    spoilt.directory = "/work/er"
    assert spoilt.run("pwd", "-P").stdout == b"/srv/deep/er\n"


# --- slots, masks, settings -------------------------------------------------------------------------------------------------


def test_slot_that_became_another_folder(spoilt: Container, tmp_path: Path) -> None:
    """A slot that is not idmapped is opened again by its path, and must be the object that the sender opened."""
    volume = tmp_path / "volume"
    volume.mkdir()
    slot = spoilt.tree(volume, idmap=False)
    volume.rename(tmp_path / "moved")
    volume.mkdir()
    spoilt.uid_map = spoilt.gid_map = []
    spoilt.idmapped.clear()
    spoilt.file_systems.append(ops.bind(slot, "/volume", 0, 0, 0))
    done = spoilt.run("true")
    assert done.returncode == 125
    assert b"is another file by now" in done.stderr


def test_slot_that_stayed(spoilt: Container, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "content").write_text("volume")
    slot = spoilt.tree(volume, idmap=False)
    spoilt.uid_map = spoilt.gid_map = []
    spoilt.idmapped.clear()
    spoilt.file_systems.append(ops.bind(slot, "/volume", 0, 0, 0))
    assert spoilt.run("cat", "/volume/content").stdout == b"volume"


def test_one_slot_in_two_places(spoilt: Container, tmp_path: Path) -> None:
    """The idmapped clone is attached once; the second use is a clone of it, with attributes of its own."""
    volume = tmp_path / "volume"
    volume.mkdir()
    slot = spoilt.tree(volume, idmap=True)
    spoilt.file_systems += [ops.bind(slot, "/one", 0, 0, 0), ops.bind(slot, "/two", 1, 0, 0)]
    done = spoilt.run("sh", "-c", "echo x > /one/file; cat /two/file; touch /two/file")
    assert done.stdout == b"x\n"
    assert b"/two/file: Read-only file system" in done.stderr
    assert (volume / "file").stat().st_uid == 0


@pytest.mark.parametrize("protected", [True, False])
def test_readonly_and_masked_paths(spoilt: Container, image: Path, protected: bool) -> None:
    (image / "base/etc/secret").mkdir()
    (image / "base/etc/secret/key").write_text("key")
    if protected:
        spoilt.file_systems += [ops.readonly("/proc/sys"), ops.readonly("/missing"), ops.mask("/etc/secret"), ops.mask("/etc/group")]
    spoilt.file_systems.append(ops.mask("/etc/missing/deeper"))
    done = spoilt.run("sh", "-c", "echo name > /proc/sys/kernel/hostname; ls /etc/secret; wc -c < /etc/group; touch /etc/secret/new")
    assert (b"Read-only file system" in done.stderr) == protected
    assert (b"key" in done.stdout) != protected
    assert done.stdout.endswith(b"0\n") == protected
    assert (done.returncode != 0) == protected


def test_settings_of_the_kernel(spoilt: Container) -> None:
    spoilt.file_systems += [ops.sysctl("net/ipv4/ip_forward", "1"), ops.hostname("box"), ops.domainname("example"), ops.loopback()]
    spoilt.identity = [ops.oom_score_adj(321), *spoilt.identity]
    done = spoilt.run(
        "sh", "-c", "cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj; hostname; ip -o addr show dev lo | grep -c inet"
    )
    assert done.stderr == b""
    assert done.stdout.splitlines()[:3] == [b"1", b"321", b"box"]
    assert int(done.stdout.splitlines()[3]) > 0


@pytest.mark.parametrize("path", ["../self/oom_score_adj", "kernel/../../self/oom_score_adj", "/etc/passwd", ""])
def test_sysctls_are_beneath_proc_sys(spoilt: Container, path: str) -> None:
    spoilt.file_systems.append(ops.sysctl(path, "1"))
    done = spoilt.run("true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"estiba: cannot start container: sysctl ")


def test_proc_of_the_image_is_not_written(spoilt: Container, image: Path) -> None:
    """An image that brings files under /proc does not get what is meant for the kernel (hardening W3)."""
    (image / "base/proc/sys/net/ipv4").mkdir(parents=True)
    (image / "base/proc/sys/net/ipv4/ip_forward").write_text("image")
    spoilt.file_systems = [ops.sysctl("net/ipv4/ip_forward", "1"), *spoilt.file_systems]
    assert spoilt.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout == b"1\n"
    assert (image / "base/proc/sys/net/ipv4/ip_forward").read_text() == "image"
