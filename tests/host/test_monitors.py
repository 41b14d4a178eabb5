"""QEMU as an image: what a jail is given of this machine's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine import host_files, make_monitor, monitors
from estiba.errors import FailedPrecondition
from estiba.oci.digest import DiffID, hex_of
from estiba.store import images
from estiba.store.layout import Store

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "qemu-system-x86_64"


def test_image_is_made_once_and_after_an_upgrade(environment: dict[str, str], tmp_path: Path) -> None:
    settings = load(environ=environment)
    store = Store.open(settings)
    first = monitors.find(store, settings, PROGRAM)
    assert images.find(store, "localhost/qemu:x86_64").layers == [first.layer]
    taken = tmp_path / "root" / "layers" / hex_of(first.layer) / "fs"
    assert (taken / first.path[1:]).is_file()
    note = tmp_path / "root" / "cache" / "monitors" / PROGRAM
    made = note.stat().st_mtime_ns
    assert monitors.find(store, settings, PROGRAM).layer == first.layer
    assert note.stat().st_mtime_ns == made
    current = note.read_text()
    note.write_text(current.replace(f" {first.path}", f"1 {first.path}"))
    monitors.find(store, settings, PROGRAM)
    assert note.stat().st_mtime_ns != made


def test_image_of_an_older_version_is_made_anew(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lack a part, as those made before `full` lacked the firmware that a PC has."""
    settings = load(environ=environment)
    store = Store.open(settings)
    first = monitors.find(store, settings, PROGRAM)
    note = tmp_path / "root" / "cache" / "monitors" / PROGRAM
    current = note.read_text()
    made: list[str] = []

    def make(*_: object, **__: object) -> tuple[DiffID, str, list[str]]:
        made.append(note.read_text())
        return first.layer, first.path, []

    monkeypatch.setattr(make_monitor, "make", make)
    monitors.find(store, settings, PROGRAM)
    assert not made
    for older in (current.split("\n", 1)[1], current.replace(" bios-256k.bin", "", 1)):
        note.write_text(older)
        monitors.find(store, settings, PROGRAM)
        assert made.pop() == older


def test_missing_program(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(environ=environment)
    monkeypatch.setattr(host_files, "SEARCH_PATH", ())
    with pytest.raises(FailedPrecondition, match="qemu-system-x86_64 is missing") as caught:
        monitors.find(Store.open(settings), settings, PROGRAM)
    assert "qemu-system-x86" in str(caught.value.hint)
