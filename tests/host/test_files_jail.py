"""The jail in which a container's files are looked at and changed: what it is, and that a sender who is the enemy gets nowhere."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine import containers
from estiba.engine.files.jail import ALL, LINK, UPPER, FileJail, JailError
from estiba.engine.files.views import open_changes, open_root
from estiba.errors import Conflict, EstibaError
from estiba.plan import ops
from estiba.plan.encode import encode_op
from estiba.store.layers.jail import Helper
from estiba.store.layout import Store
from tests.support.plans import children

if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from tests.support.live import Live

META = (0, 0, 0o644, 0, 0)
SCRIPT = """mkdir -p /d/e; echo hello > /d/f; ln -s f /d/l; ln -s /d /abs; ln -s ../../../../../.. /d/up; mkfifo /d/p
ln -s /proc/1/root /d/magic; ln -s loop /d/loop; ln -s / /d/root"""


class View:
    """Opens jails of the container `box`."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.settings: Settings = load(environ=live.environment)
        self.store = Store.open(self.settings)

    def __call__(self, *, write: bool = False, volumes: bool = True, settings: Settings | None = None) -> FileJail:
        container = containers.find(self.store, "box")
        return open_root(self.store, settings or self.settings, container, what="try it", write=write, volumes=volumes)

    def changes(self) -> FileJail:
        return open_changes(self.store, self.settings, containers.find(self.store, "box"), what="try it")

    def sends(self, *records: ops.Op) -> None:
        with self(write=True) as jail:
            jail.send(*(encode_op(record) for record in records))
            jail.finish()

    def refused(self, *records: ops.Op) -> str:
        with pytest.raises(EstibaError) as error:
            self.sends(*records)
        return error.value.message


@pytest.fixture(params=["running", "stopped"])
def view(request: pytest.FixtureRequest, live: Live) -> View:
    live.start(SCRIPT, "-v", "/vol")
    if request.param == "stopped":
        live.stop()
    return View(live)


def jailed(jail: FileJail) -> int:
    """The pid of the jail's child."""
    (child,) = children(jail._pid)
    return child


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}


@pytest.mark.parametrize("write", [False, True])
def test_what_the_jail_is(view: View, write: bool) -> None:
    with view(write=write) as jail:
        jail.stat(b"")  # it is locked when it answers
        child = jailed(jail)
        status = status_of(child)
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        # chown, dac_override, dac_read_search, fowner, fsetid, mknod, setfcap
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 27 | 1 << 31
        for kind in ("user", "mnt", "net", "ipc", "uts"):
            assert os.readlink(f"/proc/{child}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind
        mounts = [line.split() for line in Path(f"/proc/{child}/mountinfo").read_text().splitlines()]
        assert {mount[4] for mount in mounts} == {"/", "/vol", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
        for mount in mounts:
            assert {"nosuid", "nodev", "noexec"} <= set(mount[5].split(",")), mount
            assert write or "ro" in mount[5].split(","), mount
            assert "shared" not in mount[6], mount
        held = {os.readlink(f"/proc/{child}/fd/{number}") for number in os.listdir(f"/proc/{child}/fd")}
        assert all(path == "/" or path.startswith("pipe:") for path in held), held
        jail.finish()


def test_it_is_not_of_the_containers_processes(live: Live) -> None:
    """A container that sees the host's processes can neither trace it nor read its memory."""
    live.start("true", "--pid", "host")
    view = View(live)
    with view() as jail:
        jail.stat(b"")
        child = jailed(jail)
        assert live.inside(f"cat /proc/{child}/environ /proc/{child}/maps >/dev/null 2>&1 && echo read || echo refused") == "refused"
        assert live.inside("cat /proc/self/maps >/dev/null 2>&1 && echo read || echo refused") == "read"
        jail.finish()


def test_answers(view: View) -> None:
    with view() as jail:
        assert [name for name, _ in jail.list(b"d").entries] == [b"e", b"f", b"l", b"loop", b"magic", b"p", b"root", b"up"]
        content = jail.read(b"d/f")
        assert b"".join(b"".join(jail.take(length)) for _, length in content.parts) == b"hello\n"
        jail.end_of_content(b"d/f")
        assert jail.stat(b"/d/l", LINK).target == b"f"
        assert jail.stat(b"/d/l", ALL).is_file
        assert jail.stat(b"/abs/f", LINK).is_file
        assert jail.stat(b"/d/up/d/f", LINK).is_file, "up ends at the container's root"
        jail.base(b"/abs/e/../root/d")
        assert jail.stat(b"f").size == 6
        jail.finish()


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("none", errno.ENOENT), ("d/l/x", errno.ELOOP), ("d/f/x", errno.ENOTDIR), ("abs/f", errno.ELOOP), ("d/up/etc", errno.ELOOP),
        ("../d", errno.EINVAL), ("d/../d/f", errno.EINVAL), ("/d/f", errno.EINVAL), ("d//f", errno.EINVAL), ("d/.", errno.EINVAL),
        ("d/", errno.EINVAL), ("d/magic/etc", errno.ELOOP), ("x" * 5000, errno.ENAMETOOLONG), ("y/" * 3000 + "y", errno.ENAMETOOLONG),
    ],
)  # fmt: skip
def test_no_link_is_followed_below_the_base(view: View, path: str, number: int) -> None:
    with view() as jail:
        for question in (ops.files_stat(0, path, 0), ops.files_list(0, path), ops.files_read(0, path)):
            jail.ask(question)
            answer = jail._number()
            assert answer in {number, errno.ENOTDIR if number == errno.ELOOP else number}, question
        assert jail.stat(b"d/f").is_file
        jail.finish()


@pytest.mark.parametrize("path", ["/d/loop", "/d/loop/x", "/d/magic", "/d/f/..", "/none/..", "/d/p"])
def test_bases_that_are_none(view: View, path: str) -> None:
    with view() as jail:
        with pytest.raises(JailError):
            jail.base(os.fsencode(path))
        jail.base(b"/d")
        jail.finish()


def test_only_files_and_folders_are_opened(view: View) -> None:
    """A pipe does not hold the jail up, and nothing but a file has content."""
    with view() as jail:
        for path in ("d", "d/p"):
            jail.ask(ops.files_read(0, path))
            assert jail._number() in {errno.EISDIR, errno.ENOTSUP}
        jail.ask(ops.files_list(0, "d/p"))
        assert jail._number() == errno.ENOTDIR
        jail.finish()


def test_changes(view: View) -> None:
    view.sends(
        ops.files_make(0, "n", "", *META),
        ops.files_open(0, "n/f", 6, 3, 4), ops.unpack_data(2, b"xy"), ops.files_xattr("user.a", b"1"), ops.files_close(0o4711, 5, 6),
        ops.files_make(1, "n/l", "anywhere", 5, 6, 0, 7, 8),
        ops.files_make(2, "n/p", "", 0, 0, 0o640, 0, 0),
        ops.files_make(3, "n/h", "n/f", *META),
        ops.files_open(1, "n", 0, 9, 9), ops.files_close(0o750, 11, 0),
    )  # fmt: skip
    with view() as jail:
        found = dict(jail.list(b"n").entries)
        top = jail.stat(b"n")
        file = found[b"f"]
        assert (top.mode & 0o7777, top.uid, top.mtime) == (0o750, 9, 11)
        assert (file.mode & 0o7777, file.uid, file.gid, file.size, file.mtime, file.nanoseconds, file.links) == (0o4711, 3, 4, 6, 5, 6, 2)
        assert (found[b"l"].target, found[b"l"].uid, found[b"l"].gid, found[b"l"].mtime) == (b"anywhere", 5, 6, 7)
        assert found[b"p"].mode == 0o10640
        assert found[b"h"].inode == file.inode
        content = jail.read(b"n/f")
        assert b"".join(b"".join(jail.take(length)) for _, length in content.parts).strip(b"\0") == b"xy"
        assert content.xattrs[b"user.a"] == b"1"
        jail.end_of_content(b"n/f")
        jail.finish()


EVIL = ["../x", "/x", "d/../x", "d//x", "d/l/x", "abs/x", "d/up/x", "d/root/x", "d/magic/x", "", ".", "..", "d/f/x", "none/x"]


@pytest.mark.parametrize("path", EVIL)
def test_paths_that_lead_elsewhere(view: View, path: str) -> None:
    before = sorted(view.live("diff", "box").splitlines())
    view.refused(ops.files_open(0, path, 0, 0, 0))
    for kind in range(4):
        view.refused(ops.files_make(kind, path, "d/f", *META))
    if path:
        view.refused(ops.files_open(1, path, 0, 5, 5))
        view.refused(ops.files_make(3, "own", path, *META))
    assert sorted(view.live("diff", "box").splitlines()) == before


def test_what_replaces_what(view: View) -> None:
    view.sends(ops.files_make(0, "d", "", *META))  # a folder takes the one that is there
    assert "something is there that is no folder" in view.refused(ops.files_make(0, "d/f", "", *META))
    assert "something is there that is no folder" in view.refused(ops.files_make(0, "d/l", "", *META))
    for record in (ops.files_open(0, "d/e", 0, 0, 0), ops.files_make(1, "d/e", "x", *META), ops.files_make(2, "d/e", "", *META)):
        assert "a folder is there" in view.refused(record)
    view.sends(ops.files_open(0, "d/l", 0, 0, 0), ops.files_close(0o600, 0, 0))
    with view() as jail:
        assert jail.stat(b"d/l").is_file, "the link was replaced, not followed"
        assert jail.stat(b"d/f").size == 6
        jail.finish()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100,
        encode_op(ops.files_open(0, "a", 0, 0, 0))[:-1],
        encode_op(ops.files_make(4, "a", "", *META)),
        encode_op(ops.files_make(0xFFFFFFFF, "a", "", *META)),
        encode_op(ops.files_close(0, 0, 0)),
        encode_op(ops.unpack_data(0, b"x")),
        encode_op(ops.files_xattr("user.a", b"")),
        encode_op(ops.files_open(0, "a", 0, 0, 0)) + encode_op(ops.files_open(0, "b", 0, 0, 0)),
        encode_op(ops.files_open(0, "a", 0, 0, 0)) + encode_op(ops.files_make(0, "b", "", *META)),
        encode_op(ops.files_open(1, "d", 0, 0, 0)) + encode_op(ops.unpack_data(0, b"x")),
        encode_op(ops.files_open(0, "a", 0, 0, 0)),
        encode_op(ops.files_stat(1, "", 0)),
        encode_op(ops.files_stat(2, "", 0)),
        encode_op(ops.files_list(0xFFFFFFFF, "")),
        encode_op(ops.unpack_directory("a")),
        encode_op(ops.unpack_erase("d/f", 0)),
        encode_op(ops.mount("proc", "/proc", 0, [])),
        encode_op(ops.slot(0, 0, "")),
        encode_op(ops.files_open(0, "a", 0, 0, 0)).replace(b"a", b"\0"),
        b"\x26\x01\0\0\xff\xff\xff\x7f",
    ],
)
def test_malformed_records_end_the_jail(view: View, data: bytes) -> None:
    with pytest.raises(EstibaError), view(write=True) as jail:
        jail.send(data)
        jail.finish()


def test_who_may_only_look_changes_nothing(view: View) -> None:
    for record in (ops.files_make(0, "a", "", *META), ops.files_open(0, "d/f", 0, 0, 0), ops.files_open(1, "d", 0, 0, 0)):
        with pytest.raises(EstibaError), view() as jail:
            jail.send(encode_op(record))
            jail.finish()
    with view() as jail:
        assert jail.stat(b"d/f").size == 6
        jail.finish()


def test_owners_that_the_container_does_not_have(live: Live) -> None:
    live.start(SCRIPT)
    assert "its owner has no place" in View(live).refused(ops.files_open(0, "a", 0, 70_000, 0))


def test_without_openat2_the_walk_gives_the_same_answers(view: View) -> None:
    helper = Path(__file__).parents[2] / "helper"
    subprocess.run(["make", "-s", "-C", str(helper), "fallbacks"], check=True)
    settings = view.settings.replace(helper_path=str(helper / "build/estiba-init-fallbacks"))
    with view(settings=settings) as jail:
        assert jail.stat(b"/d/up/d/l", ALL).size == 6
        for path in (b"d/l/x", b"../d", b"abs/f", b"d/magic/etc"):
            with pytest.raises(JailError):
                jail.stat(path)
        for path in (b"/d/magic/etc", b"/d/loop"):
            with pytest.raises(JailError):
                jail.stat(path, ALL)
        jail.finish()


def test_the_changes_alone(view: View) -> None:
    with view.changes() as jail:
        assert jail.list(b"d", UPPER).status.is_folder
        assert jail.find(b"d") is None
        assert jail.stat(b"etc/passwd").is_file
        assert jail.find(b"etc/passwd", tree=UPPER) is None
        jail.base(b"/../../../etc", UPPER)  # `..` ends at the tree's own root
        assert [name for name, _ in jail.list(b"", UPPER).entries] == [b"resolv.conf"]
        jail.finish()


def test_a_stopped_container_is_locked_meanwhile(live: Live) -> None:
    live.start(SCRIPT)
    live.stop()
    view = View(live)
    lock = f"{containers.find(view.store, 'box').folder}/lock"
    with view(write=True) as jail:
        jail.stat(b"")
        assert subprocess.run(["flock", "--nonblock", lock, "true"], check=False).returncode == 1
        jail.finish()
    assert subprocess.run(["flock", "--nonblock", lock, "true"], check=False).returncode == 0


def test_a_container_that_ends_meanwhile(live: Live) -> None:
    """What was begun is finished: the mounts live as long as the jail."""
    live.start("mkdir /d; echo hello > /d/f")
    with View(live)() as jail:
        assert jail.stat(b"d/f").size == 6
        live.stop()
        assert jail.stat(b"d/f").size == 6
        jail.finish()


def test_a_container_is_not_started_while_its_mounts_are_seen(live: Live) -> None:
    live.start("[ -e /d ] || mkdir /d; echo hello > /d/f")
    with View(live)() as jail:
        assert jail.stat(b"d/f").size == 6
        live.stop()
        command = subprocess.Popen([*live.command, "start", "box"], env=live.environment, stdout=subprocess.PIPE)
        time.sleep(0.3)
        assert command.poll() is None
        assert jail.stat(b"d/f").size == 6
        jail.finish()
    assert command.communicate(timeout=60)[0] == b"box\n"
    live("stop", "-t", "0", "box")


def test_copies_and_starts_at_once(live: Live) -> None:
    """Whatever the container does meanwhile, a copy succeeds or says that it is about to start or end."""
    live.start("mkdir -p /d; echo hello > /d/f")
    live.stop()
    (live.folder / "new").write_text("new")
    churn = subprocess.Popen(
        ["sh", "-c", 'for i in 1 2 3 4 5 6 7 8; do "$@" start box; "$@" stop -t 0 box; done', "sh", *live.command],
        env=live.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    copies = 0
    while churn.poll() is None:
        for words in (("cp", "new", "box:/d/new"), ("cp", "box:/d/f", "f")):
            done = live.full(*words, status=None)
            copies += done.returncode == 0
            assert done.returncode == 0 or b"about to start or to end" in done.stderr or b"it ended at this moment" in done.stderr, done
    out, err = churn.communicate()
    assert (out.split(), err) == ([b"box"] * 16, b"")
    assert copies
    live("cp", "box:/d/new", "back")
    assert (live.folder / "back").read_text() == "new"


def test_a_container_that_has_just_ended(live: Live) -> None:
    live.start()
    view = View(live)
    container = containers.find(view.store, "box")
    live.stop()
    with pytest.raises(Conflict, match="ended"), open_root(view.store, view.settings, container, what="try it") as jail:
        jail.stat(b"")


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ([], "it needs one root"),
        ([ops.container_mount("/x")], "it needs one root"),
        ([ops.slot(0, 0, ""), ops.container_root(1, 1)], "container_root names a slot that is not bound"),
        ([ops.slot(0, 0, ""), ops.container_root(0, 0)], "it needs one user namespace"),
        ([ops.slot(0, 0, ""), ops.container_root(0, 1), ops.container_root(0, 1)], "container_root stands twice"),
        ([ops.slot(0, 0, ""), ops.container_root(0, 1), ops.readonly_root()], "readonly_root does not fit its root"),
        ([ops.slot(0, 0, ""), ops.container_root(0, 1), ops.mount("proc", "/proc", 0, [])], "mount does not belong here"),
        ([ops.slot(0, 0, ""), ops.container_root(0, 1), ops.execute(["sh"], [])], "execute does not belong here"),
        ([ops.slot(0, 0, ""), ops.idmap(0, 0), ops.container_root(0, 1)], "idmap does not belong here"),
    ],
)
@pytest.mark.parametrize("mode", ["files", "files-write"])
def test_plans_that_make_no_sense(environment: dict[str, str], plan: list[ops.Op], reason: str, mode: str) -> None:
    with open(os.devnull, "rb") as held:
        bound = [(*op[:2], held.fileno(), *op[3:]) if op[0] == 1 else op for op in plan]
        with Helper(load(environ=environment), mode, bound, [held.fileno()], what="try it") as helper:
            assert reason in helper.last_words().decode()
