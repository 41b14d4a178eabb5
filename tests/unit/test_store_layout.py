"""Opening a store: what is made, what is refused; publishing; locks."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.errors import Conflict, DataLoss, FailedPrecondition, NotFound, PermissionDenied, ResourceExhausted
from estiba.linux import locks
from estiba.linux.locks import Lock, check_order
from estiba.store.layout import Store, folders
from estiba.store.publish import Ingest, remove_file, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.config.settings import Settings


def test_a_new_store_is_an_oci_layout(store: Store, settings: Settings) -> None:
    assert all(os.path.isdir(path) for path in folders(store))
    assert json.loads(Path(store.images, "oci-layout").read_text())["imageLayoutVersion"] == "1.0.0"
    assert json.loads(Path(store.images, "index.json").read_text())["manifests"] == []
    assert Path(store.root).stat().st_mode & 0o7777 == 0o700
    assert os.listdir(store.ingest) == []
    assert Store.open(settings).root == store.root


def test_opening_costs_two_reads(store: Store, settings: Settings) -> None:
    """The second opening makes nothing."""
    before = {path: os.stat(path).st_mtime_ns for path in folders(store)}
    Store.open(settings)
    assert {path: os.stat(path).st_mtime_ns for path in folders(store)} == before


def test_a_half_made_store_is_finished(store: Store, settings: Settings) -> None:
    Path(store.images, "oci-layout").unlink()
    Path(store.trash).rmdir()
    Store.open(settings)
    assert Path(store.trash).is_dir()
    assert Path(store.images, "oci-layout").exists()


def test_a_newer_store_is_refused(store: Store, settings: Settings) -> None:
    Path(store.images, "oci-layout").write_text('{"imageLayoutVersion":"1.0.0","org.estiba.store":2}')
    with pytest.raises(FailedPrecondition, match="its version is 2, this program knows version 1") as caught:
        Store.open(settings)
    assert "newer estiba" in str(caught.value.hint)


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"imageLayoutVersion":"1.0.0"}', '{"imageLayoutVersion":"2.0.0","org.estiba.store":1}', "x" * 5000]
)
def test_a_damaged_version_is_named(store: Store, settings: Settings, content: str) -> None:
    Path(store.images, "oci-layout").write_text(content)
    with pytest.raises(DataLoss, match="oci-layout|image layout version"):
        Store.open(settings)


def test_a_folder_with_something_else_is_left_alone(settings: Settings) -> None:
    root = Path(settings.root)
    root.mkdir(mode=0o700)
    (root / "letters").touch()
    with pytest.raises(FailedPrecondition, match="holds something else \\('letters'\\)"):
        Store.open(settings)
    assert os.listdir(root) == ["letters"]


def test_a_file_is_not_a_store(settings: Settings) -> None:
    Path(settings.root).touch(0o600)
    with pytest.raises(FailedPrecondition, match="not a folder"):
        Store.open(settings)


def test_a_store_open_to_others_is_refused(store: Store, settings: Settings) -> None:
    Path(store.root).chmod(0o777)
    with pytest.raises(PermissionDenied, match="other users may write"):
        Store.open(settings)


def test_another_users_store_is_refused(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(store.root).st_uid + 1)
    with pytest.raises(PermissionDenied, match="belongs to user"):
        Store.open(settings)


def test_many_open_a_new_store_at_once(environment: dict[str, str]) -> None:
    code = "from estiba.config.settings import load; from estiba.store.layout import Store; Store.open(load())"
    children = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(8)]
    assert [child.wait() for child in children] == [0] * 8


def test_write_file_replaces_atomically(store: Store) -> None:
    path = store.cache + "/x"
    write_file(store, path, b"one")
    before = os.stat(path).st_ino
    write_file(store, path, b"two", mode=0o600)
    assert Path(path).read_bytes() == b"two"
    assert os.stat(path).st_ino != before
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.listdir(store.ingest) == []
    assert remove_file(path)
    assert not remove_file(path)


def test_an_ingest_that_is_left_is_removed(store: Store) -> None:
    with pytest.raises(RuntimeError), Ingest(store, "x") as file:
        file.write(b"part")
        raise RuntimeError
    assert os.listdir(store.ingest) == []


def test_publish_without_replace(store: Store) -> None:
    path = store.cache + "/x"
    write_file(store, path, b"one")
    with Ingest(store, "x") as file:
        file.write(b"two")
        assert not file.publish(path, replace=False)
    assert Path(path).read_bytes() == b"one"
    assert os.listdir(store.ingest) == []


def test_a_full_disk_is_one_sentence(store: Store) -> None:
    """RLIMIT_FSIZE stands for it: EFBIG comes the way of ENOSPC, without a file system of its own."""
    write_file(store, store.cache + "/x", b"one")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ResourceExhausted) as caught:
            write_file(store, store.cache + "/x", b"2" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.message.startswith("cannot write ")
    assert Path(store.cache, "x").read_bytes() == b"one"
    assert os.listdir(store.ingest) == []


# --- locks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock until its standard input closes."""
    code = f"from estiba.linux.locks import Lock\nwith Lock({str(tmp_path / 'lock')!r}):\n    print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


def test_timeout_names_the_holder(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(Conflict, match=f"cannot lock the thing: process {holder.pid} uses it"):
        Lock(str(tmp_path / "lock"), what="the thing", timeout=0).acquire()


def test_a_killed_holder_holds_nothing(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    with Lock(str(tmp_path / "lock"), timeout=0):
        pass


def test_a_waiter_says_what_for(
    holder: subprocess.Popen[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "MESSAGE_AFTER", 0.05)
    waiter = threading.Thread(target=lambda: Lock(str(tmp_path / "lock"), what="the thing").acquire().release())
    waiter.start()
    said = ""
    while not said:
        said = capfd.readouterr().err
        time.sleep(0.01)
    assert said == f"estiba: waiting for process {holder.pid}, which uses the thing\n"
    assert holder.stdin is not None
    holder.stdin.close()
    waiter.join()
    assert capfd.readouterr().err == ""


def test_shared_and_exclusive(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with Lock(path, shared=True), Lock(path, shared=True, timeout=0):
        with pytest.raises(Conflict):
            Lock(path, timeout=0).acquire()
    with Lock(path), pytest.raises(Conflict):
        Lock(path, shared=True, timeout=0).acquire()


def test_a_removed_lock_file_is_not_trusted(tmp_path: Path) -> None:
    """One who waited on a file that its holder removed must not think that it has the lock of the new one."""
    path = str(tmp_path / "lock")
    first = Lock(path).acquire()
    took: list[int] = []
    waiter = threading.Thread(target=lambda: took.append(os.fstat(Lock(path).acquire().descriptor).st_ino))
    waiter.start()
    time.sleep(0.02)
    first.remove()
    first.release()
    waiter.join()
    assert took == [os.stat(path).st_ino]


def test_order_is_checked(store: Store) -> None:
    check_order(True)
    try:
        with store.using(), store.using(), store.lock("reference"), store.lock("layer", "a"), store.lock("layer", "b"):
            pass
        with store.lock("layer", "a"), pytest.raises(AssertionError, match="lock order"):
            store.lock("reference").acquire()
        with store.lock("reference"), pytest.raises(AssertionError, match="lock order"):
            store.lock("reference", "x").acquire()
        with store.lock("reference"):
            pass
    finally:
        check_order(False)


def test_order_is_each_threads_own(store: Store) -> None:
    check_order(True)
    try:
        with store.lock("layer", "a"):
            thread = threading.Thread(target=lambda: store.lock("reference").acquire().release())
            thread.start()
            thread.join()
        with store.lock("reference", timeout=0):
            pass
    finally:
        check_order(False)


def test_debug_checks_the_order(settings: Settings) -> None:
    store = Store.open(settings.replace(debug=True))
    try:
        with store.lock("layer", "a"), pytest.raises(AssertionError, match="lock order"):
            store.lock("index").acquire()
    finally:
        check_order(False)


def test_volatile_folder_comes_back(settings: Settings, tmp_path: Path) -> None:
    """A restart of the machine empties /run."""
    settings = settings.replace(runtime_dir=f"{tmp_path}/volatile/estiba")
    os.rmdir(Store.open(settings).runtime)
    Store.open(settings)
    assert os.stat(settings.runtime_dir).st_mode & 0o777 == 0o700


def test_a_lock_in_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cannot lock"):
        Lock(str(tmp_path / "none" / "lock")).acquire()


def test_descriptors_are_not_leaked(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with Lock(path):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            with pytest.raises(Conflict):
                Lock(path, timeout=0).acquire()
        assert len(os.listdir("/proc/self/fd")) == before
