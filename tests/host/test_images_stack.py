"""Stacks of real images, images of this machine's programs, `hello`, and bundles that runc runs."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from estiba.config.settings import Settings
from estiba.engine import hello
from estiba.engine.bundle import bundle
from estiba.engine.flatten import capability_for
from estiba.engine.from_host import from_host
from estiba.engine.import_ import import_
from estiba.engine.stack import explain, stack
from estiba.engine.tag import tag
from estiba.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from estiba.runtime.options import RunOptions
from estiba.store.images import Image, find, list_images
from estiba.store.layers import open_tar
from estiba.store.layout import Store

WHEN = datetime(2024, 5, 6, tzinfo=UTC)
Node = bytes | str | tuple[str, str] | None
Maker = Callable[..., Image]


def root_tar(nodes: dict[str, Any]) -> bytes:
    """A tar: bytes are a file, None a directory, ("symlink" or "link", target) a link, ("file", mode) an empty file of a mode."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as file:
        for name, node in nodes.items():
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = 0o755, 1_600_000_000
            if isinstance(node, bytes):
                info.size = len(node)
                file.addfile(info, io.BytesIO(node))
                continue
            kinds = {"symlink": tarfile.SYMTYPE, "link": tarfile.LNKTYPE, "file": tarfile.REGTYPE, "fifo": tarfile.FIFOTYPE}
            info.type = tarfile.DIRTYPE if node is None else kinds[node[0]]
            info.linkname = node[1] if node and node[0] in {"symlink", "link"} else ""
            info.mode = node[1] if node and node[0] == "file" else info.mode
            file.addfile(info)
    return target.getvalue()


@pytest.fixture
def made(store: Store, settings: Settings, tmp_path: Path) -> Maker:
    def make(name: str, nodes: dict[str, Any], *changes: str, platform: str | None = None) -> Image:
        (tmp_path / "root.tar").write_bytes(root_tar(nodes))
        with open(tmp_path / "root.tar", "rb") as stream:
            return import_(store, settings, stream, reference=name, changes=changes, created=WHEN, platform=platform)

    return make


@pytest.fixture
def alpine(store: Store, settings: Settings, alpine_tar: Path) -> Image:
    with open(alpine_tar, "rb") as stream:
        return import_(store, settings, stream, reference="alpine", changes=["CMD /bin/sh", "ENV PATH=/bin:/usr/bin"], created=WHEN)


# --- stack ------------------------------------------------------------------------------------------------------------


def test_a_stack_writes_no_layer(store: Store, settings: Settings, alpine: Image, made: Maker) -> None:
    made("tools", {"opt/tool": b"#!/bin/sh\n"}, 'CMD ["/opt/tool"]', "ENV PATH=/opt", "USER 7")
    before = sorted(os.listdir(store.layers))
    image = stack(store, ["alpine", "tools"], "both:1")
    assert sorted(os.listdir(store.layers)) == before
    assert image.layers == [*alpine.layers, *find(store, "tools").layers]
    assert (image.config.cmd, image.config.user, image.config.env) == (["/opt/tool"], "7", ["PATH=/opt:/bin:/usr/bin"])
    assert stack(store, ["alpine", "tools"], "again").id == image.id
    assert [str(layer.digest) for layer in image.manifest.layers] == image.layers


def test_what_cannot_be_stacked(store: Store, alpine: Image, made: Maker) -> None:
    made("arm", {"x": b""}, platform="linux/arm64" if alpine.config.architecture != "arm64" else "linux/amd64")
    with pytest.raises(InvalidArgument, match="platforms differ"):
        stack(store, ["alpine", "arm"], "x")
    with pytest.raises(InvalidArgument, match="two at least"):
        stack(store, ["alpine"], "x")
    with pytest.raises(NotFound):
        stack(store, ["alpine", "none"], "x")
    assert [image.reference.familiar for image in list_images(store)] == ["alpine:latest", "arm:latest"]


def test_explain(store: Store, made: Maker) -> None:
    made("low", {"etc": None, "etc/same": b"1", "etc/other": b"1", "etc/gone": b"1", "d": None, "d/x": b"1", "lib": None, "lib/y": b"1"})
    made("high", {"etc": None, "etc/same": b"1", "etc/other": b"2", "etc/.wh.gone": b"", "d": None, "d/.wh..wh..opq": b"",
                  "lib": ("symlink", "usr/lib")})  # fmt: skip
    assert [(each.path, each.kind, each.by, each.of) for each in explain(store, ["low", "high"])] == [
        ("/d/x", "removed", "high", "low"),
        ("/etc/gone", "removed", "high", "low"),
        ("/etc/other", "replaced", "high", "low"),
        ("/lib/y", "covered", "high", "low"),
    ]


def test_explain_of_images_that_share_a_layer(store: Store, made: Maker) -> None:
    """The shared layer is in the stack once, where it is topmost: it hides what the lower image had changed of it."""
    made("base", {"f": b"base"})
    made("change", {"f": b"changed"})
    stack(store, ["base", "change"], "low")
    assert [each.path for each in explain(store, ["low", "base"])] == ["/f"]
    assert explain(store, ["base", "base"]) == []


# --- from-host, hello ---------------------------------------------------------------------------------------------------


def test_from_host_is_the_same_each_time_and_runs_nowhere_else(store: Store, settings: Settings) -> None:
    one = from_host(store, settings, "one", ["busybox", "sh"])
    two = from_host(store, settings, "two", ["sh", "busybox"], entrypoint=True)
    assert one.layers == two.layers
    assert from_host(store, settings, "three", ["busybox", "sh"]).id == one.id
    assert (one.config.cmd[0].rpartition("/")[2], two.config.entrypoint[0].rpartition("/")[2]) == ("busybox", "sh")
    with tarfile.open(fileobj=io.BytesIO(b"".join(open_tar(store, one.layers[0])))) as layer:
        members = {info.name: info for info in layer}
    assert list(members) == sorted(members)
    assert {(info.uid, info.gid) for info in members.values()} == {(0, 0)}
    assert (members["tmp"].mode, members["root"].mode, members["etc"].isdir()) == (0o1777, 0o700, True)


def test_tools_of_this_machine_hide_nothing_but_what_they_bring(store: Store, settings: Settings, made: Maker) -> None:
    """Whether /bin and /lib are links here (merged /usr) or not: folders of the image below stay whole, users keep their names."""
    made("app", {"bin": None, "bin/own": b"", "lib": None, "lib/own": b"", "lib64": None, "etc": None, "etc/passwd": b""}, "CMD x")
    from_host(store, settings, "tools", ["/bin/sh", "ls"])
    assert explain(store, ["app", "tools"]) == []


def test_from_host_without_a_program(store: Store, settings: Settings) -> None:
    with pytest.raises(InvalidArgument):
        from_host(store, settings, "x", [])
    with pytest.raises(NotFound):
        from_host(store, settings, "x", ["sh", "no-such-program"])
    assert list_images(store) == []


def test_hello_does_not_hide_an_image_of_that_name(store: Store, settings: Settings, alpine: Image) -> None:
    tag(store, "alpine", "hello")
    assert hello.ensure(store, settings).id == alpine.id


def test_hello_is_made_once(store: Store, settings: Settings) -> None:
    image = hello.ensure(store, settings)
    assert (image.reference.familiar, image.config.cmd) == ("hello:latest", ["/hello"])
    assert hello.ensure(store, settings).id == image.id
    assert len(list_images(store)) == 1


def test_hello_without_its_program(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hello, "PROGRAM", "/nonexistent/estiba-hello")
    with pytest.raises(FailedPrecondition, match="estiba-hello is missing"):
        hello.ensure(store, settings)


# --- bundle -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every id can reach: a runtime enters the root file system as root of the container's namespace."""
    folder = Path(tempfile.mkdtemp(prefix="estiba-test-bundle-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def runc(folder: Path, tmp_path: Path) -> str:
    name = f"estiba-test-{os.getpid()}"
    command = ["runc", "--root", str(tmp_path / "runc"), "run", "--bundle", str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_runc_runs_a_bundle(store: Store, settings: Settings, tmp_path: Path, public: Path, alpine: Image) -> None:
    script = "id -u; cat /proc/self/uid_map; grep -c 'Seccomp:.2' /proc/self/status; touch /new; cat /etc/alpine-release"
    bundle(store, settings, "alpine", str(public / "b"), RunOptions("alpine", ["sh", "-c", script]))
    uid, uid_map, filtered, _ = runc(public / "b", tmp_path).splitlines()
    assert (uid, filtered) == ("0", "1")
    outside = int(uid_map.split()[1])
    assert outside != 0
    assert os.stat(public / "b/rootfs/new").st_uid == outside


def test_runc_runs_hello(store: Store, settings: Settings, tmp_path: Path, public: Path) -> None:
    hello.ensure(store, settings)
    bundle(store, settings, "hello", str(public / "b"), RunOptions("hello"))
    said = runc(public / "b", tmp_path)
    for part in ("Hello", f"Linux {os.uname().release}", "uid 0 here, uid ", "pid 1, the first"):
        assert part in said


def test_runc_runs_programs_of_this_machine(store: Store, settings: Settings, tmp_path: Path, public: Path) -> None:
    """With its libraries in the image and nothing else: git needs more than libc."""
    from_host(store, settings, "tools", ["git", "bash"])
    bundle(store, settings, "tools", str(public / "b"), RunOptions("tools", ["bash", "-c", "git --version && echo $BASH_VERSION"]))
    theirs = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    assert runc(public / "b", tmp_path).startswith(theirs)


def test_the_rootfs_is_what_an_overlay_shows(store: Store, settings: Settings, tmp_path: Path, made: Maker) -> None:
    made("low", {
        "d": None, "d/kept": b"low", "d/gone": b"low", "d/over": b"low", "opaque": None, "opaque/x": b"low", "deep/e/r": b"low",
        "orig": b"linked", "name1": ("link", "orig"), "name2": ("link", "orig"), "suid": ("file", 0o4711), "pipe": ("fifo", ""),
        "to": ("symlink", "d"), "turned": None, "turned/inner": b"low",
    })  # fmt: skip
    made("high", {
        "d": None, "d/.wh.gone": b"", "d/over": b"high", "opaque": None, "opaque/.wh..wh..opq": b"", "opaque/y": b"high",
        "orig": b"replaced", "turned": ("symlink", "/etc"),
    }, "CMD x")  # fmt: skip
    stack(store, ["low", "high"], "both")
    bundle(store, settings, "both", str(tmp_path / "b"), RunOptions("both"))
    root = tmp_path / "b/rootfs"
    contents = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    assert contents == {
        "d/kept": b"low", "d/over": b"high", "deep/e/r": b"low", "opaque/y": b"high", "orig": b"replaced", "name1": b"linked",
        "name2": b"linked", "suid": b"",
    }  # fmt: skip
    assert (root / "name1").stat().st_ino == (root / "name2").stat().st_ino != (root / "orig").stat().st_ino
    assert (os.readlink(root / "to"), os.readlink(root / "turned")) == ("d", "/etc")
    assert stat.S_ISFIFO((root / "pipe").lstat().st_mode)
    assert (stat.S_IMODE((root / "suid").stat().st_mode), (root / "d").stat().st_mtime) == (0o4711, 1_600_000_000)


def test_owners_and_named_users(store: Store, settings: Settings, tmp_path: Path, made: Maker) -> None:
    passwd = b"root:x:0:0::/root:/bin/sh\nbroken\nmary:x:1001:1002::/home/mary:/bin/sh\n"
    made("users", {"etc": None, "etc/passwd": passwd, "etc/group": b"crew:x:1003:\n"}, "CMD x", "USER mary:crew")
    bundle(store, settings, "users", str(tmp_path / "b"), RunOptions("users"))
    process = json.loads((tmp_path / "b/config.json").read_text())["process"]
    assert (process["user"]["uid"], process["user"]["gid"]) == (1001, 1003)
    assert "HOME=/home/mary" in process["env"]
    options = RunOptions("users")
    options.user = "nobody-knows"
    with pytest.raises(NotFound, match="no such name"):
        bundle(store, settings, "users", str(tmp_path / "c"), options)


def test_the_image_cannot_lead_the_reader_of_passwd_out(store: Store, settings: Settings, tmp_path: Path, made: Maker) -> None:
    (tmp_path / "evil").write_text("mary:x:0:0::/:/bin/sh\n")
    made("links", {"etc": None, "etc/passwd": ("symlink", str(tmp_path / "evil"))}, "CMD x", "USER mary")
    with pytest.raises(NotFound, match="no such name"):
        bundle(store, settings, "links", str(tmp_path / "b"), RunOptions("links"))


@pytest.mark.parametrize("layers", [[{"d": "OUT"}, {"d/x": b"evil"}], [{"d": "OUT", "d/x": b"evil"}]])
def test_no_image_writes_outside_of_the_rootfs(
    store: Store, settings: Settings, tmp_path: Path, made: Maker, layers: list[dict[str, Any]]
) -> None:
    (tmp_path / "outside").mkdir()
    trees = [{name: ("symlink", str(tmp_path / "outside")) if node == "OUT" else node for name, node in tree.items()} for tree in layers]
    for number, tree in enumerate(trees):
        made(f"part{number}", tree, "CMD x")
    names = [f"part{number}" for number in range(len(trees))]
    image = stack(store, names, "all").reference.familiar if len(names) > 1 else names[0]
    bundle(store, settings, image, str(tmp_path / "b"), RunOptions(image))
    assert [path.read_bytes() for path in (tmp_path / "b/rootfs").rglob("x")] == [b"evil"]
    assert os.listdir(tmp_path / "outside") == []
    # The twin: a reader that trusts paths writes outside.
    (tmp_path / "naive").mkdir()
    for name, node in [item for tree in trees for item in tree.items()]:
        if isinstance(node, bytes):
            (tmp_path / "naive" / name).write_bytes(node)
        else:
            (tmp_path / "naive" / name).symlink_to(node[1])
    assert os.listdir(tmp_path / "outside") == ["x"]


def test_a_folder_that_is_not_empty(store: Store, settings: Settings, tmp_path: Path, alpine: Image) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine").write_text("x")
    with pytest.raises(AlreadyExists):
        bundle(store, settings, "alpine", str(tmp_path / "b"), RunOptions("alpine"))
    assert os.listdir(tmp_path / "b") == ["mine"]


def test_capabilities_of_files_are_given_to_the_namespace() -> None:
    version2 = (0x02000001).to_bytes(4, "little") + bytes(16)
    assert capability_for(version2, 1000) == (0x03000001).to_bytes(4, "little") + bytes(16) + (1000).to_bytes(4, "little")
    assert capability_for(version2, 0) == version2
