"""What a container can do to its host, tried from inside real containers; each wall with a twin in which it is down."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.runtime import capabilities
from estiba.runtime.mounts import MASKED_PATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.command import Command

DEFAULT_CAPABILITIES = 0x800405FB  # chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot setfcap
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user")


@pytest.fixture
def image(estiba: Command, alpine_tar: Path) -> str:
    estiba("import", str(alpine_tar), "base")
    return "base"


@pytest.fixture
def made(estiba: Command, alpine_tar: Path, tmp_path: Path) -> Callable[..., str]:
    """Imports Alpine with symbolic links in the place of what it has there, and with changes of its configuration."""

    def make(links: dict[str, str] | None = None, *changes: str) -> str:
        archive, links = tmp_path / "made.tar", links or {}
        with tarfile.open(alpine_tar) as source, tarfile.open(archive, "w") as target:
            for member in source:
                name = os.path.normpath(member.name)
                if not any(name == link or name.startswith(link + "/") for link in links):
                    target.addfile(member, source.extractfile(member) if member.isreg() else None)
            for name, destination in links.items():
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, destination
                target.addfile(link)
        estiba("import", *(word for change in changes for word in ("--change", change)), str(archive), "made")
        return "made"

    return make


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program: `probe NAME...` prints the errno of each system call."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.c").write_text(r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **words)
{
    for (int i = 1; i + 3 < count; i += 4) {
        errno = 0;
        long result = syscall(atol(words[i]), strtoul(words[i + 1], 0, 0), strtoul(words[i + 2], 0, 0), strtoul(words[i + 3], 0, 0), 0, 0);
        printf("%d ", result < 0 ? errno : 0);
    }
    return 0;
}
""")
    subprocess.run(["musl-gcc", "-static", "-o", str(folder / "probe"), str(folder / "probe.c")], check=True)
    return folder


@pytest.fixture
def world_folder() -> Iterator[Path]:
    """A folder of the host that every user may enter, so that no permission hides an escape."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def status(estiba: Command, image: str, *options: str) -> dict[str, str]:
    text = estiba("run", "--rm", *options, image, "cat", "/proc/self/status").stdout
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def shell(estiba: Command, image: str, script: str, *options: str) -> str:
    done = estiba("run", "--rm", *options, image, "sh", "-c", script, status=None)
    return done.stdout + done.stderr


# --- S01, S02: namespaces ---------------------------------------------------------------------------------------------------


def test_ranges_of_concurrent_containers_are_disjoint(estiba: Command, image: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        script = "cat /proc/self/uid_map; sleep 2"
        texts = list(pool.map(lambda _: shell(estiba, image, script), range(4)))
    rows = sorted(tuple(map(int, text.split())) for text in texts)
    assert all(inside == 0 and outside > 0 and size == 65536 for inside, outside, size in rows), rows
    ranges = sorted((outside, outside + size) for _, outside, size in rows)
    assert all(before[1] <= after[0] for before, after in pairwise(ranges)), ranges


def test_range_is_the_hosts_with_userns_host(estiba: Command, image: str) -> None:
    assert shell(estiba, image, "cat /proc/self/uid_map", "--userns", "host").split() == ["0", "0", "4294967295"]


@pytest.mark.parametrize("options", [(), ("--security-opt", "seccomp=unconfined"), ("--cap-add", "ALL")])
def test_no_user_namespace_inside(estiba: Command, image: str, options: tuple[str, ...]) -> None:
    """Two walls: the filter and the limit. The options take the first away."""
    assert "NESTED" not in shell(estiba, image, "unshare -U true && echo NESTED", *options)


def test_user_namespace_inside_a_privileged_one(estiba: Command, image: str) -> None:
    assert "NESTED" in shell(estiba, image, "unshare -U true && echo NESTED", "--privileged")


def namespaces(estiba: Command, image: str, *options: str) -> set[str]:
    """Those that are not the host's."""
    text = shell(estiba, image, "for n in " + " ".join(NAMESPACES) + "; do readlink /proc/self/ns/$n; done", *options)
    return {name for name, link in zip(NAMESPACES, text.split(), strict=True) if link != os.readlink(f"/proc/self/ns/{name}")}


def test_namespaces(estiba: Command, image: str) -> None:
    assert namespaces(estiba, image) == set(NAMESPACES)


@pytest.mark.parametrize(
    ("option", "name"), [("--uts", "uts"), ("--ipc", "ipc"), ("--network", "net"), ("--cgroupns", "cgroup"), ("--userns", "user")]
)
def test_namespace_of_the_host(estiba: Command, image: str, option: str, name: str) -> None:
    assert namespaces(estiba, image, option, "host") == set(NAMESPACES) - {name}


# --- S03, S04, S05: capabilities, no_new_privs, the filter --------------------------------------------------------------------


def test_capabilities(estiba: Command, image: str) -> None:
    assert capabilities.mask(capabilities.DEFAULT) == DEFAULT_CAPABILITIES
    got = status(estiba, image)
    assert [int(got[name], 16) for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")] == [DEFAULT_CAPABILITIES] * 3 + [0, 0]
    assert (got["NoNewPrivs"], got["Seccomp"], got["Seccomp_filters"]) == ("0", "2", "1")


@pytest.mark.parametrize(
    ("options", "bounding"),
    [
        (("--cap-add", "NET_RAW"), DEFAULT_CAPABILITIES | 1 << 13),
        (("--cap-drop", "CHOWN"), DEFAULT_CAPABILITIES & ~1),
        (("--cap-drop", "ALL"), 0),
        (("--cap-drop", "ALL", "--cap-add", "CHOWN"), 1),
        (("--privileged",), capabilities.ALL),
    ],
)
def test_capabilities_by_option(estiba: Command, image: str, options: tuple[str, ...], bounding: int) -> None:
    got = status(estiba, image, *options)
    assert [int(got[name], 16) for name in ("CapBnd", "CapInh", "CapAmb")] == [bounding, 0, 0]


def test_ordinary_user_holds_none(estiba: Command, image: str) -> None:
    got = status(estiba, image, "--user", "65534")
    assert [int(got[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")] == [0, 0, 0]


def test_no_new_privileges_and_filter_by_option(estiba: Command, image: str) -> None:
    got = status(estiba, image, "--security-opt", "no-new-privileges")
    assert (got["NoNewPrivs"], got["Seccomp"]) == ("1", "2")
    assert status(estiba, image, "--security-opt", "seccomp=unconfined")["Seccomp"] == "0"


# Numbers of x86_64 (asm/unistd_64.h): socket is 41, keyctl 250, io_uring_setup 425, unknown 999, ioctl 16, clone3 435, personality 135.
CALLS = (
    ((41, 38, 5, 0), 97),  # AF_ALG
    ((41, 40, 1, 0), 97),  # AF_VSOCK
    ((41, 16, 3, 12), 93),  # NETLINK_NETFILTER
    ((41, 2, 1, 0), 0),
    ((41, 16, 3, 0), 0),
    ((250, 0, -3 & 0xFFFFFFFF, 0), 1),
    ((425, 1, 0, 0), 1),
    ((16, 0, 0x5412, 0), 1),
    ((435, 0, 0, 0), 38),
    ((135, 0x40000, 0, 0), 1),
    ((999, 0, 0, 0), 38),
)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's")
def test_calls(estiba: Command, image: str, probe: Path) -> None:
    words = [str(word) for call, _ in CALLS for word in call]
    mount = ("-v", f"{probe}:/probe:ro")
    filtered = estiba("run", "--rm", *mount, image, "/probe/probe", *words).stdout.split()
    assert filtered == [str(error) for _, error in CALLS]
    free = estiba("run", "--rm", *mount, "--security-opt", "seccomp=unconfined", image, "/probe/probe", *words).stdout.split()
    refused_by_filter = {5, 6, 7, 9}  # keyctl, io_uring_setup, TIOCSTI, personality
    assert all(free[index] != "1" for index in refused_by_filter - {5, 6}), free
    assert free[9] == "0"


# --- S07, S08, S09: /proc, /sys, /dev ------------------------------------------------------------------------------------------


def test_masked_paths_show_nothing(estiba: Command, image: str) -> None:
    script = "for p in $PATHS; do [ -d $p ] && ls -A $p 2>&1 || cat $p 2>/dev/null; done; true"
    environment = ("-e", "PATHS=" + " ".join(MASKED_PATHS))
    assert shell(estiba, image, script, *environment) == ""
    assert len(shell(estiba, image, script, *environment, "--security-opt", "systempaths=unconfined")) > 1000


def test_masks_stay(estiba: Command, image: str) -> None:
    assert "OFF" not in shell(estiba, image, "umount /proc/kallsyms && echo OFF")
    assert "OFF" in shell(estiba, image, "umount /proc/kallsyms && echo OFF", "--cap-add", "SYS_ADMIN")


READ_ONLY = "for p in /proc/bus /proc/fs /proc/irq /proc/sys /sys; do awk -v p=$p '$5 == p {print $6}' /proc/self/mountinfo; done"


def test_read_only_paths(estiba: Command, image: str) -> None:
    modes = shell(estiba, image, READ_ONLY).split()
    assert len(modes) == 5
    assert all(mode.startswith("ro,") for mode in modes)
    assert "Read-only" in shell(estiba, image, "echo x > /proc/sys/kernel/core_pattern")
    assert shell(estiba, image, READ_ONLY, "--privileged").split()[0].startswith("rw,")
    assert "Read-only" not in shell(estiba, image, "echo x > /proc/sys/kernel/domainname", "--privileged")


def test_devices(estiba: Command, image: str) -> None:
    script = "find /dev -type c -o -type b | grep -v /pts/ | sort"
    nodes = ["full", "null", "random", "tty", "urandom", "zero"]
    assert shell(estiba, image, script).split() == [f"/dev/{name}" for name in nodes]
    assert "/dev/fuse" in shell(estiba, image, script, "--device", "/dev/null:/dev/fuse")


def test_no_device_can_be_made(estiba: Command, image: str) -> None:
    """CAP_MKNOD does not help in a user namespace; without one it does."""
    script = "mknod /dev/made c 1 3 && echo MADE; mknod /tmp/made b 7 0 && echo MADE; true"
    assert "MADE" not in shell(estiba, image, script)
    assert "MADE" not in shell(estiba, image, script, "--cap-add", "MKNOD")
    assert "MADE" in shell(estiba, image, script, "--cap-add", "MKNOD", "--userns", "host")


def test_dev_holds_no_data(estiba: Command, image: str) -> None:
    script = "head -c 200000 /dev/zero > {0} 2>/dev/null; wc -c < {0}"
    assert shell(estiba, image, script.format("/dev/data")).strip() == "65536"
    assert shell(estiba, image, script.format("/dev/shm/data")).strip() == "200000"


# --- S10: limits ----------------------------------------------------------------------------------------------------------------


def test_limits(estiba: Command, image: str) -> None:
    script = "ulimit -c; ulimit -n; ulimit -l; ulimit -u"
    assert shell(estiba, image, script).split() == ["0", "1024", "8192", "2048"]
    assert shell(estiba, image, "ulimit -n", "--ulimit", "nofile=77:77").split() == ["77"]


def test_memory_limit_acts(estiba: Command, image: str) -> None:
    """dd fills its buffer."""
    script = "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null && echo FITS"
    assert "FITS" not in shell(estiba, image, script, "--memory", "32m")
    assert "FITS" in shell(estiba, image, script, "--memory", "512m")


def test_pids_limit_acts(estiba: Command, image: str) -> None:
    script = "i=0; while [ $i -lt 40 ]; do sleep 1 & i=$((i+1)); done; echo ALL; wait"
    assert "ALL" not in shell(estiba, image, script, "--pids-limit", "20")
    assert "ALL" in shell(estiba, image, script, "--pids-limit", "100")


# --- S11 and hostile images -----------------------------------------------------------------------------------------------------


def test_mounts_bring_no_privilege(estiba: Command, image: str, tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "link").symlink_to("/etc/alpine-release")
    script = 'awk \'$5 == "/v" || $5 == "/t" {print $6}\' /proc/self/mountinfo; cat /v/link'
    words = shell(estiba, image, script, "-v", f"{folder}:/v", "--tmpfs", "/t").split()
    assert all({"nosuid", "nodev"} <= set(options.split(",")) for options in words[:2]), words
    assert re.fullmatch(r"3\.\d+\.\d+", words[2])  # the container's file, not the host's
    (root,) = shell(estiba, image, "awk '$5 == \"/\" {print $6}' /proc/self/mountinfo").split()
    assert "nosuid" not in root


HOSTILE = ("/", "/etc", "/tmp", "../../../../../../../../{host}", "/../../../../{host}", "/proc/self/root", "/proc/1/root", "nowhere")


@pytest.mark.parametrize("target", HOSTILE)
@pytest.mark.parametrize("name", ["proc", "sys", "dev", "etc/hosts", "etc"])
def test_links_of_an_image_lead_nowhere(estiba: Command, made: Callable[..., str], tmp_path: Path, name: str, target: str) -> None:
    """Either the container does not start, and says why, or it has its walls; the host's folder stays as it was."""
    host = tmp_path / "host"
    host.mkdir()
    (host / "canary").write_text("untouched")
    image = made({name: target.format(host=str(host).lstrip("/"))})
    done = estiba("run", "--rm", image, "/bin/busybox", "sh", "-c", "cat /proc/kallsyms; ls /canary; echo RUNS", status=None)
    assert done.returncode in (0, 125)
    assert (done.stdout == "RUNS\n") if done.returncode == 0 else ("cannot start container" in done.stderr)
    assert [(path.name, path.read_text()) for path in host.iterdir()] == [("canary", "untouched")]


def test_a_made_image_runs(estiba: Command, made: Callable[..., str]) -> None:
    """The twin: the link alone does not stop it."""
    assert shell(estiba, made({"srv": "/etc"}), "cat /srv/alpine-release").startswith("3.")


@pytest.mark.parametrize("option", ["-v", "--tmpfs"])
def test_no_link_leads_a_mount_over_proc(estiba: Command, made: Callable[..., str], tmp_path: Path, option: str) -> None:
    mount = f"{tmp_path}:/srv" if option == "-v" else "/srv"
    for target in ("/proc", "/proc/sys", "/proc/self"):
        assert "in the container's /proc" in shell(estiba, made({"srv": target}), "true", option, mount), target
    assert "RUNS" in shell(estiba, made({"srv": "/opt"}), "echo RUNS", option, mount)


def test_program_through_a_descriptor_is_not_the_hosts(estiba: Command, made: Callable[..., str], world_folder: Path) -> None:
    """CVE-2024-21626: what the helper holds open leads to the host's root, for a program's path and for the working directory."""
    program = world_folder / "busybox"  # by another name it would do nothing
    shutil.copy("/bin/busybox", program)
    image = made()
    up = "/".join([".."] * 30)
    for number in range(3, 24):
        path = f"/proc/self/fd/{number}/{up}{program}"
        assert "ESCAPED" not in estiba("run", "--rm", image, path, "echo", "ESCAPED", status=None).stdout
        assert estiba("run", "--rm", "-w", f"/proc/self/fd/{number}", image, "true", status=None).returncode == 125
    twin = estiba("run", "--rm", "-v", f"{program}:/busybox", image, f"/{up}/busybox", "echo", "ESCAPED")
    assert twin.stdout == "ESCAPED\n"


def test_hostile_configuration(estiba: Command, made: Callable[..., str]) -> None:
    image = made(None, "WORKDIR /proc/self/fd/5")
    assert estiba("run", "--rm", image, "true", status=None).returncode == 125
    image = made(None, "WORKDIR /../../../etc", "USER 65534", 'VOLUME ["/../../srv"]', 'ENTRYPOINT ["/bin/sh", "-c", "pwd; id -u"]')
    assert estiba("run", "--rm", image).stdout.split() == ["/etc", "65534"]
