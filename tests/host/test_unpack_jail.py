"""The jail of the layer commands holds even when the sender is the enemy: each attack beside the harmless record that it resembles."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.errors import EstibaError
from estiba.plan import ops
from estiba.plan.encode import encode_op
from estiba.store.layers.jail import Jail

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.config.settings import Settings
    from estiba.store.layout import Store

META = (0o644, 0, 0, 0, 0)
KEY = "ab" * 32


class Attack:
    """Sends records, good or evil, straight to the helper."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.layer = Path(store.ingest, "layer")
        (self.layer / "fs").mkdir(parents=True)
        self.root = self.layer / "fs"
        self.outside = Path(store.root, "containers/outside")
        self.outside.mkdir()

    def send(self, *records: ops.Op, limits: tuple[int, int] = (1 << 30, 1000), folder: str = "layer") -> None:
        with Jail(self.settings, "unpack", self.store.root, what="unpack x") as jail:
            jail.send(encode_op(ops.unpack_layer(folder, *limits)), *(encode_op(record) for record in records))
            jail.finish()

    def refused(self, *records: ops.Op, cause: str | None = None, limits: tuple[int, int] = (1 << 30, 1000), folder: str = "layer") -> None:
        with pytest.raises(EstibaError, match=cause):
            self.send(*records, limits=limits, folder=folder)


@pytest.fixture
def attack(store: Store, settings: Settings) -> Attack:
    return Attack(store, settings)


def file(path: str, content: bytes = b"x") -> ops.Op:
    return ops.unpack_file(path, *META, content)


@pytest.mark.parametrize(
    "evil",
    [
        "../escape", "../../containers/outside/escape", "/containers/outside/escape", "/escape", "d/../../escape", "d/./escape", "d//escape",
        "d/..", "d/.", "", "d/",
    ],
)  # fmt: skip
def test_paths_that_leave_the_tree(attack: Attack, evil: str) -> None:
    attack.send(ops.unpack_directory("d"), file("d/fine"))
    attack.refused(file(evil))
    assert [path.name for path in attack.root.rglob("*")] == ["d", "fine"]
    assert sorted(os.listdir(attack.store.ingest)) == ["layer"]


@pytest.mark.parametrize("target", ["../..", "/", "/containers/outside", "../../../containers/outside", "d", "."])
def test_no_link_is_followed(attack: Attack, target: str) -> None:
    """Not even one that stays inside: the sender resolves links, the jail only ever meets planted ones."""
    attack.send(ops.unpack_directory("d"), file("d/fine"), ops.unpack_symlink("l", target, 0, 0, 0, 0))
    for record in (
        file("l/escape"),
        ops.unpack_directory("l/escape"),
        ops.unpack_open("l/escape"),
        ops.unpack_symlink("l/escape", "x", 0, 0, 0, 0),
        ops.unpack_whiteout("l/escape"),
        ops.unpack_fifo("l/escape", *META),
        ops.unpack_link("own", "l/fine"),
        ops.unpack_link("l/escape", "d/fine"),
        ops.unpack_attributes("l", 0o777, 5, 5, 0, 0),
        ops.unpack_xattr("l/x", "user.a", b"1"),
        ops.unpack_erase("l/fine", 0),
        ops.unpack_keep("l/fine", 1),
        ops.unpack_share("l/fine", KEY),
        ops.unpack_known("l/escape", KEY),
    ):
        attack.refused(record)
    assert (attack.root / "d/fine").read_bytes() == b"x"
    assert list(attack.outside.iterdir()) == []
    assert (attack.root / "l").lstat().st_uid == 0


def test_the_last_component_is_never_followed(attack: Attack) -> None:
    victim = attack.outside / "victim"
    victim.write_text("victim")
    attack.send(file("plain"), ops.unpack_symlink("l", "../../../containers/outside/victim", 0, 0, 0, 0))
    attack.refused(file("l"), cause="File exists")
    attack.refused(ops.unpack_open("l"), cause="File exists")
    attack.send(ops.unpack_link("second", "l"))
    assert (attack.root / "second").is_symlink(), "the link itself got a second name"
    attack.send(ops.unpack_xattr("plain", "user.a", b"1"))
    attack.refused(ops.unpack_xattr("l", "user.a", b"1"))
    assert os.listxattr(victim) == []
    assert victim.read_text() == "victim"


def test_nothing_is_overwritten(attack: Attack) -> None:
    attack.send(file("a", b"first"))
    attack.refused(file("a", b"second"), cause="'a': File exists")
    assert (attack.root / "a").read_bytes() == b"first"


@pytest.mark.parametrize("folder", ["..", ".", "", "layer/..", "../layers", "/", "missing"])
def test_the_layer_is_a_folder_of_ingest(attack: Attack, folder: str) -> None:
    Path(attack.store.root, "fs").mkdir()
    attack.refused(file("a"), folder=folder)
    attack.send(file("a"))


@pytest.mark.parametrize("key", ["../" + "a" * 61, "ab/" + "c" * 61, "AB" * 32, "ab", "", "g" * 64])
def test_keys_are_names_in_files(attack: Attack, key: str) -> None:
    attack.send(file("a"), ops.unpack_share("a", KEY), ops.unpack_known("b", KEY))
    assert (attack.root / "a").stat().st_ino == Path(attack.store.files, KEY[:2], KEY).stat().st_ino == (attack.root / "b").stat().st_ino
    attack.refused(ops.unpack_share("a", key))
    attack.refused(ops.unpack_known("c", key))


def test_a_planted_link_in_files_is_not_followed(attack: Attack) -> None:
    os.symlink(attack.outside, f"{attack.store.files}/ab")
    attack.refused(file("a"), ops.unpack_share("a", KEY))
    assert list(attack.outside.iterdir()) == []


def test_budgets_hold_in_the_jail_itself(attack: Attack) -> None:
    attack.send(file("ok", b"x" * 1000), limits=(1000, 1))
    attack.refused(file("a", b"x" * 1001), limits=(1000, 10), cause="budget")
    attack.refused(*(file(f"n{number}") for number in range(4)), limits=(1000, 3), cause="budget")
    close = ops.unpack_close(1 << 40, *META)
    attack.refused(ops.unpack_open("hole"), ops.unpack_data(0, b"x"), close, limits=(1000, 10), cause="budget")
    attack.refused(ops.unpack_open("far"), ops.unpack_data(5000, b"x"), limits=(1000, 10), cause="budget")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100,
        encode_op(file("a"))[:-1],
        encode_op(ops.unpack_directory("a")) + b"\0",
        encode_op(ops.unpack_layer("layer", 1, 1)),
        encode_op(ops.unpack_data(0, b"x")),
        encode_op(ops.unpack_open("a")) + encode_op(file("b")),
        encode_op(ops.unpack_open("a")),
        encode_op(ops.unpack_read("fs/a", 0, 1)),
        encode_op(ops.mount("proc", "/proc", 0, [])),
        encode_op(ops.unpack_directory("a")).replace(b"a", b"\0"),
        b"\x01\x01\0\0\xff\xff\xff\x7f",
    ],
)
def test_malformed_records_end_the_jail(attack: Attack, data: bytes) -> None:
    attack.send(file("fine"))
    with pytest.raises(EstibaError), Jail(attack.settings, "unpack", attack.store.root, what="unpack x") as jail:
        jail.send(encode_op(ops.unpack_layer("layer", 1 << 30, 1000)), data)
        jail.finish()


def test_reading_follows_nothing(attack: Attack) -> None:
    (attack.outside / "secret").write_text("secret")
    attack.send(file("a", b"hello"), ops.unpack_symlink("l", "../../../containers/outside", 0, 0, 0, 0), ops.unpack_symlink("s", "a", 0, 0, 0, 0))
    os.mkfifo(attack.root / "fifo")

    def read(path: str, length: int, offset: int = 0) -> tuple[int, bytes]:
        with Jail(attack.settings, "read", str(attack.layer), what="read x") as jail:
            jail.send(encode_op(ops.unpack_read(path, offset, length)))
            jail.flush()
            number = int.from_bytes(jail.receive(4), "little")
            return number, jail.receive(length) if not number else b""

    assert read("fs/a", 5) == (0, b"hello")
    assert read("fs/a", 3, 2) == (0, b"llo")
    for path in ("fs/l/secret", "fs/s", "fs/fifo", "fs", "../layer/fs/a", "/fs/a", "fs/../fs/a", "fs/missing"):
        assert read(path, 5)[0] != 0, path
    assert read("fs/a", 6)[0] != 0
    assert read("fs/a", 1, 1 << 63)[0] != 0


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not happen")


def test_what_the_jail_is(attack: Attack) -> None:
    """Namespaces of its own, the store as its root with nothing but ingest and files, few capabilities, a filter, nothing open."""
    with Jail(attack.settings, "unpack", attack.store.root, what="unpack x") as jail:
        jail.send(encode_op(ops.unpack_layer("layer", 1 << 20, 1000)), encode_op(ops.unpack_sync()))
        jail.expect(b"synced\n")
        (child,) = map(int, Path(f"/proc/{jail._pid}/task/{jail._pid}/children").read_text().split())
        status = status_of(child)
        assert status["Seccomp"] == "2"
        assert status["NoNewPrivs"] == "1"
        # chown, dac_override, dac_read_search, fowner, fsetid, mknod, setfcap
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 27 | 1 << 31
        for kind in ("user", "mnt", "net", "ipc", "uts", "pid"):
            assert os.readlink(f"/proc/{child}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind
        root = Path(f"/proc/{child}/root")
        visible = {path.name for path in root.iterdir() if path.is_dir() and list(path.iterdir())}
        assert visible <= {"ingest", "files"}
        mounts = Path(f"/proc/{child}/mountinfo").read_text().splitlines()
        assert all(" tmpfs " in line and "ro," in line for line in mounts[1:])
        assert {"nosuid", "nodev", "noexec"} <= set(mounts[0].split()[5].split(","))
        limits = Path(f"/proc/{child}/limits").read_text()
        assert "Max file size             1048576" in limits
        jail.finish()


def test_without_openat2_the_walk_gives_the_same_answers(attack: Attack) -> None:
    helper = Path(__file__).parents[2] / "helper"
    subprocess.run(["make", "-s", "-C", str(helper), "fallbacks"], check=True)
    attack.settings = attack.settings.replace(helper_path=str(helper / "build/estiba-init-fallbacks"))
    attack.send(ops.unpack_directory("d"), ops.unpack_directory("d/e"), file("d/e/f"), ops.unpack_symlink("l", "d", 0, 0, 0, 0))
    assert (attack.root / "d/e/f").read_bytes() == b"x"
    for evil in ("../x", "l/x", "d/../x", "/d/x", "d/e/f/x", "missing/x"):
        attack.refused(file(evil))
