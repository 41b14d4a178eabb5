"""Trees of all kinds: copied in and out again, exported and imported, committed, they are the same."""

from __future__ import annotations

import os
import random
import stat
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.soak import times

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.live import Live

ROOT = os.geteuid() == 0


def name_of(dice: random.Random, folder: Path) -> bytes:
    while True:
        kind = dice.randrange(4)
        if kind == 0:
            name = bytes(dice.choice([byte for byte in range(1, 256) if byte != 47]) for _ in range(dice.randrange(1, 30)))
        elif kind == 1:
            name = b"n" * dice.choice([100, 101, 155, 255])
        else:
            name = b"%d" % dice.randrange(1000)
        if name not in (b".", b"..") and not name.startswith(b".wh.") and not os.path.lexists(os.path.join(os.fsencode(folder), name)):
            return name


def grow(dice: random.Random, folder: Path, depth: int, files: list[bytes]) -> None:
    """Fills a folder with entries of all kinds."""
    for _ in range(dice.randrange(1, 8)):
        path = os.path.join(os.fsencode(folder), name_of(dice, folder))
        kind = dice.randrange(8)
        if kind < 3:
            with open(path, "wb") as file:
                if dice.randrange(5) == 0:
                    file.seek(dice.choice([4096, 1 << 20, 1 << 33]))
                file.write(dice.randbytes(dice.choice([0, 1, 511, 512, 513, 70_000, 600_000])))
                file.truncate(file.tell() + dice.choice([0, 0, 1 << 20]))
            if dice.randrange(3) == 0:
                os.setxattr(path, "user.note", dice.randbytes(20))
            if dice.randrange(4) == 0 and ROOT:
                os.setxattr(path, "security.capability", bytes.fromhex("0100000202000000000000000000000000000000"))
            files.append(path)
        elif kind == 3 and files:
            os.link(dice.choice(files), path)
            continue
        elif kind == 4:
            os.symlink(bytes(dice.choice(range(1, 256)) for _ in range(dice.randrange(1, 300))), path)
        elif kind == 5:
            os.mkfifo(path)
        elif depth:
            os.mkdir(path)
            grow(dice, Path_(path), depth - 1, files)
        else:
            os.mkdir(path)
        describe(dice, path)


def Path_(path: bytes) -> Any:  # noqa: N802 - a folder's name need not be text
    from pathlib import Path

    return Path(os.fsdecode(path))


def describe(dice: random.Random, path: bytes) -> None:
    capability = None
    if stat.S_ISREG(os.lstat(path).st_mode) and ROOT:
        try:
            capability = os.getxattr(path, "security.capability")
        except OSError:
            capability = None
    if ROOT:
        os.chown(path, dice.randrange(65536), dice.randrange(65536), follow_symlinks=False)
    if not os.path.islink(path):
        mode = dice.choice([0o644, 0o755, 0o4755, 0o2711, 0o600, 0o1777, 0o777])
        os.chmod(path, mode & 0o1777 if stat.S_ISFIFO(os.lstat(path).st_mode) else mode)
    if capability:  # a change of owner takes it away
        os.setxattr(path, "security.capability", capability)
    when = dice.randrange(1 << 31) * 10**9 + dice.randrange(10**9)
    os.utime(path, ns=(when, when), follow_symlinks=False)


def snapshot(folder: Path, *, nanoseconds: bool = True) -> dict[bytes, Any]:
    """Everything of a tree that a copy should keep."""
    found: dict[bytes, Any] = {}
    inodes: dict[int, bytes] = {}
    top = os.fsencode(folder)
    paths = [os.path.join(path, name) for path, folders, files in os.walk(top) for name in [*folders, *files]]
    for path in [top, *sorted(paths)]:
        status = os.lstat(path)
        content: Any = None
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = (status.st_size, digest(path, status), inodes.setdefault(status.st_ino, path[len(top) :]))
        xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path, follow_symlinks=False)} if not stat.S_ISLNK(status.st_mode) else {}
        when = status.st_mtime_ns if nanoseconds else status.st_mtime_ns // 10**9
        mode = 0 if stat.S_ISLNK(status.st_mode) else status.st_mode
        found[path[len(top) :]] = (mode, status.st_uid, status.st_gid, when, content, xattrs)
    return found


def differences(before: dict[bytes, Any], after: dict[bytes, Any]) -> list[str]:
    """What is not the same, a line each."""
    lines = [f"{path[-40:]!r} is missing" for path in before if path not in after]
    lines += [f"{path[-40:]!r} is new" for path in after if path not in before]
    for path, values in before.items():
        for was, now in zip(values, after.get(path, values), strict=True):
            if was != now:
                lines.append(f"{path[-40:]!r}: {str(was)[:100]} {str(now)[:100]}")
    return lines


def digest(path: bytes, status: os.stat_result) -> list[tuple[int, bytes]]:
    """The stretches that are not zero."""
    found = []
    with open(path, "rb") as file:
        at = 0
        while at < status.st_size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            data = os.pread(file.fileno(), 1 << 16, at)
            if data.strip(b"\0"):
                found.append((at, data))
            at += len(data)
    return [(at + place, data[place : place + 4096]) for at, data in found for place in range(0, len(data), 4096) if data[place : place + 4096].strip(b"\0")]


@pytest.mark.parametrize("seed", times(4, 200))
def test_copied_in_and_out(live: Live, seed: int) -> None:
    dice = random.Random(seed)
    tree = live.folder / "tree"
    tree.mkdir()
    grow(dice, tree, 3, [])
    before = snapshot(tree)
    live.start("mkdir /in")
    if seed % 2:
        live.stop()
    live("cp", "-a", "tree", "box:/in")
    live("cp", "-a", "box:/in/tree", "back")
    assert differences(before, snapshot(live.folder / "back")) == []
    # The same through tar streams, which keep whole seconds.
    data = live.full("cp", "box:/in/tree", "-").stdout
    live("cp", "-", "box:/mnt", stdin=data)
    live("cp", "-a", "box:/mnt/tree", "again")
    seconds = {path: (*values[:3], values[3] // 10**9, *values[4:]) for path, values in before.items()}
    assert differences(seconds, snapshot(live.folder / "again", nanoseconds=False)) == []


@pytest.mark.parametrize("seed", times(3, 100))
def test_committed_exported_and_imported(live: Live, seed: int) -> None:
    dice = random.Random(1000 + seed)
    tree = live.folder / "tree"
    tree.mkdir()
    grow(dice, tree, 3, [])
    live.start()
    live("cp", "-a", "tree", "box:/srv")
    live("cp", "-a", "box:/srv", "first")
    expected = snapshot(live.folder / "first", nanoseconds=False)
    live("commit", "--no-pause", "box", "local/committed")
    live("export", "-o", "box.tar", "box")
    live("import", "box.tar", "local/imported")
    with tarfile.open(live.folder / "box.tar") as archive:
        flat = sum(1 for _ in archive)
    assert flat > 400
    for name in ("committed", "imported"):
        live("create", "--name", name, f"local/{name}", "true")
        live("cp", "-a", f"{name}:/srv", name)
        assert differences(expected, snapshot(live.folder / name, nanoseconds=False)) == []
    live("diff", "committed")
    live.end()
    live("rmi", "local/committed", "local/imported")
