"""`ps` looks at each container once, however many there are: what it opens is counted, for a test of time would be a test of the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from estiba.config.settings import Settings, load, pack
from estiba.engine.ps import ps
from estiba.store.layout import Store

FEW, MANY = 3, 40
LISTS = """
import fcntl, sys
from estiba.config.settings import unpack
from estiba.engine.ps import ps
from estiba.store.layout import Store
settings = unpack(sys.argv[1])
store = Store.open(settings)
held = [open(path) for path in sys.argv[2:]]
for file in held:
    fcntl.flock(file, fcntl.LOCK_EX)
ps(store, settings, every=True)
calls = []
sys.addaudithook(lambda event, args: calls.append(event) if event in ("open", "os.listdir", "os.scandir") else None)
rows, _ = ps(store, settings, every=True)
count = len(calls)
print(count, *{row.State for row in rows})
"""


@pytest.fixture
def alone(environment: dict[str, str], tmp_path: Path) -> Settings:
    """Settings with volatile state of their own: root's is one folder for all stores."""
    return load(environ=environment).replace(runtime_dir=str(tmp_path / "volatile"))


def add(store: Store, number: int, status: str = "") -> Path:
    """A container on the disk, and its record where it runs; returns its status file."""
    container_id = f"{number:064x}"
    folder = Path(store.containers, container_id)
    folder.mkdir()
    state = {"id": container_id, "name": f"c{number}", "created": number, "reference": "alpine", "layers": [], "command": ["true"]}
    (folder / "state.json").write_text(json.dumps(state | {"labels": {}, "remove": False}))
    (folder / "status").write_text(status)
    Path(store.names, f"c{number}").symlink_to(container_id)
    if status:
        record = Path(store.runtime, "live", container_id)
        record.parent.mkdir(exist_ok=True)
        record.write_text(f"creator 1 0\nfolder {folder}\n")
    return folder / "status"


def opened(settings: Settings, held: list[Path]) -> tuple[int, set[str]]:
    """How many files and folders `ps -a` opens while the locks of these files are held, and the states that it shows."""
    done = subprocess.run([sys.executable, "-c", LISTS, pack(settings), *held], capture_output=True, text=True, check=True)
    count, *states = done.stdout.split()
    return int(count), set(states)


@pytest.mark.parametrize(
    ("status", "state", "each"),
    [
        pytest.param("", "created", 2, id="state.json and status"),
        pytest.param("running 1 1 1\n", "running", 3, id="and before, whether it lives"),
    ],
)
def test_each_container_costs_as_few_files_as_there_are(alone: Settings, status: str, state: str, each: int) -> None:
    store = Store.open(alone)
    held = [add(store, number, status) for number in range(FEW)]
    few, states = opened(alone, held if status else [])
    assert states == {state}
    held += [add(store, number, status) for number in range(FEW, MANY)]
    many, states = opened(alone, held if status else [])
    assert states == {state}
    assert many - few == each * (MANY - FEW)


def test_one_whose_watchers_were_killed_has_ended(alone: Settings) -> None:
    store = Store.open(alone)
    add(store, 1, "running 1 1 1\n")
    Path(store.runtime, "live", f"{1:064x}").unlink()
    rows, damaged = ps(store, alone, every=True)
    assert [(row.State, row.container.exit_code) for row in rows] == [("exited", 255)]
    assert not damaged
