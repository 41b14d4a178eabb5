"""kill -9, a full disk, two processes at once: the store stays whole, and the next try works."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.errors import ResourceExhausted
from estiba.store import gc, layers
from estiba.store.layout import Store
from tests.support.tars import chunks, diff_id, gz, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.config.settings import Settings

UNPACK = """
import sys
from estiba.config.settings import load
from estiba.store import layers
from estiba.store.layout import Store
settings = load()
store = Store.open(settings)
with store.using(), open(sys.argv[2], "rb") as file:
    print("begin", flush=True)
    layers.apply_layer(store, settings, sys.argv[1], "", iter(lambda: file.read(16384), b""))
print("done", flush=True)
"""


def start(environment: dict[str, str], tar: bytes, blob: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", UNPACK, diff_id(tar), str(blob)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=60)
    return said


@pytest.fixture
def layer() -> bytes:
    made = random.Random(7)
    files = {f"d{number % 40}/f{number}": made.randbytes(made.randrange(6000)) for number in range(1500)}
    return tree_of(files | {"large": made.randbytes(3 << 20)})


def test_killed_at_any_moment(environment: dict[str, str], store: Store, settings: Settings, layer: bytes, tmp_path: Path) -> None:
    """Thirty moments between start and end; the last try lives and finds nothing that troubles it."""
    blob = tmp_path / "blob"
    blob.write_bytes(gz(layer))
    began = time.monotonic()
    timed = start(environment, layer, blob)
    assert "done" in end(timed)
    duration = time.monotonic() - began
    layers.remove_layer(store, diff_id(layer))
    moments = random.Random(11)
    finished = 0
    for _ in range(30):
        victim = start(environment, layer, blob)
        assert victim.stdout is not None
        victim.stdout.readline()
        time.sleep(moments.random() * duration * 0.6)
        victim.send_signal(signal.SIGKILL)
        finished += "done" in end(victim)
        if layers.has_layer(store, diff_id(layer)):
            assert layers.verify_layer(store, diff_id(layer), settings) == []
            layers.remove_layer(store, diff_id(layer))
    assert finished < 30
    deadline = time.monotonic() + 10
    gc.collect(store)
    while os.listdir(store.ingest) and time.monotonic() < deadline:  # the last victim's jail may be about to end
        time.sleep(0.05)
        gc.collect(store)
    assert os.listdir(store.ingest) == []
    layers.apply_layer(store, settings, diff_id(layer), "", chunks(gz(layer)))
    assert layers.verify_layer(store, diff_id(layer), settings) == []
    assert b"".join(layers.open_tar(store, diff_id(layer), settings)) == layer


def test_the_jail_ends_with_its_sender(environment: dict[str, str], store: Store, layer: bytes, tmp_path: Path) -> None:
    fifo = tmp_path / "blob"
    os.mkfifo(fifo)
    victim = start(environment, layer, fifo)
    with fifo.open("wb") as pipe:
        pipe.write(gz(layer)[: 4 << 20])
        pipe.flush()
        folder = wait_for_folder(store)
        assert gc._is_dead(str(folder)) is False, "somebody works on it"
        victim.send_signal(signal.SIGKILL)
        end(victim)
    for _ in range(1000):
        if gc._is_dead(str(folder)):
            return
        time.sleep(0.005)
    raise AssertionError("the folder is still locked: the helper lives on")


def wait_for_folder(store: Store) -> Path:
    for _ in range(1000):
        found = [path for path in Path(store.ingest).glob("layer-*") if (path / "fs").exists() and list((path / "fs").iterdir())]
        if found:
            return found[0]
        time.sleep(0.005)
    raise AssertionError("nothing is being unpacked")


def test_two_processes_unpack_once(environment: dict[str, str], store: Store, settings: Settings, layer: bytes, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(gz(layer))
    processes = [start(environment, layer, blob) for _ in range(3)]
    assert all("done" in end(process) for process in processes)
    assert layers.verify_layer(store, diff_id(layer), settings) == []
    assert os.listdir(store.ingest) == os.listdir(store.trash) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB in a mount namespace of this process' own helper."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path / "disk"
    folder.mkdir()
    if libc.mount(b"none", str(folder).encode(), b"tmpfs", 0, b"size=4m,nr_inodes=400,mode=700") != 0:
        pytest.skip(f"a tmpfs needs privilege over mounts: {os.strerror(ctypes.get_errno())}")
    yield folder
    assert libc.umount2(str(folder).encode(), 2) == 0


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_full_disk(small_disk: Path, settings: Settings, what: str) -> None:
    settings = settings.replace(root=str(small_disk / "root"))
    store = Store.open(settings)
    made = random.Random(3)
    tar = tree_of({f"d/{n}": made.randbytes(200_000 if what == "bytes" else 10) for n in range(40 if what == "bytes" else 600)})
    small = tree_of({f"e/{n}": made.randbytes(1000) for n in range(20)})
    layers.apply_layer(store, settings, diff_id(small), "", [gz(small)])
    with pytest.raises(ResourceExhausted, match="No space left"):
        layers.apply_layer(store, settings, diff_id(tar), "", chunks(gz(tar)))
    gc.collect(store) if os.listdir(store.ingest) else None
    assert os.listdir(store.ingest) == os.listdir(store.trash) == []
    another = tree_of({f"f/{n}": made.randbytes(1000) for n in range(20)})
    layers.apply_layer(store, settings, diff_id(another), "", [gz(another)])
    assert layers.verify_layer(store, diff_id(another), settings) == []
