"""Images of kernels that others made, and files of kernels that nobody vouches for."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine import kernel_layer, machine_disk, parked
from estiba.engine.kernels import of_image
from estiba.errors import InvalidArgument
from estiba.store.images import find
from estiba.store.layout import Store
from tests.unit.test_machine_kernel_file import BZIMAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.config.settings import Settings
    from estiba.engine.kernels import Kernel
    from tests.support.command import Command

Stored = tuple[Store, "Settings", "Kernel"]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("treasure\n")
    return path


@pytest.fixture
def kernel_with(estiba: Command, environment: dict[str, str], tmp_path: Path, secret: Path) -> Callable[..., Stored]:
    """An image of a kernel whose labels and entrypoint name these files."""

    def make(path: str = "/boot/vmlinuz", modules: str = "/boot/a.ko") -> Stored:
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            for name, content in (("boot/vmlinuz", BZIMAGE), ("boot/a.ko", b"module")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            for name, target in (("boot/absolute", str(secret)), ("boot/up", "../" * 40 + str(secret)), ("host", str(secret.parent))):
                member = tarfile.TarInfo(name)
                member.type, member.linkname = tarfile.SYMTYPE, target
                archive.addfile(member)
            member = tarfile.TarInfo("boot/pipe")
            member.type = tarfile.FIFOTYPE
            archive.addfile(member)
        words = ["-c", f'ENTRYPOINT ["{path}"]', "-c", "LABEL kernel.kind=bzimage", "-c", f"LABEL kernel.modules={modules}"]
        estiba("import", *words, "-", "evil", stdin=tar.getvalue())
        settings = load(environ=environment)
        store = Store.open(settings)
        return store, settings, of_image(find(store, "evil"), "evil")

    return make


def out_of(secret: Path) -> list[str]:
    """Paths by which an image could mean a file that is none of its own."""
    return ["/" + "../" * 40 + str(secret)[1:], "/boot/absolute", "/boot/up", "/host/secret", "/boot/../boot/absolute", "/boot/pipe", "/boot", "/boot/a.ko/", ""]


def test_files_outside_of_the_layer_are_out_of_reach(kernel_with: Callable[..., Stored], secret: Path) -> None:
    store, _, kernel = kernel_with()
    for path in out_of(secret):
        with pytest.raises(InvalidArgument, match="its image has no file"):
            kernel_layer.read_file(store, kernel, path)
    assert kernel_layer.read(store, kernel) == (BZIMAGE, [b"module"]), "the twin"


def test_who_follows_links_reads_them(kernel_with: Callable[..., Stored]) -> None:
    """The twin: what stands in the layer does lead there."""
    store, _, kernel = kernel_with()
    base = f"{store.layers}/{kernel.layer.partition(':')[2]}/fs"
    assert Path(f"{base}/boot/absolute").read_text() == Path(f"{base}/host/secret").read_text() == "treasure\n"


@pytest.mark.parametrize("where", ["path", "modules"])
def test_a_disk_of_a_kernel_holds_no_file_of_this_machine(kernel_with: Callable[..., Stored], secret: Path, estiba: Command, where: str) -> None:
    """That the guest, or whoever gets the disk, would read."""
    for path in out_of(secret)[:4]:
        store, settings, kernel = kernel_with(**{where: path})
        with pytest.raises(InvalidArgument, match="its image has no file"):
            machine_disk.boot_disk(store, settings, kernel, "quiet")
        assert not os.path.exists(f"{store.cache}/boot") or os.listdir(f"{store.cache}/boot") == []


def test_no_image_makes_the_disk_of_another(kernel_with: Callable[..., Stored], monkeypatch: pytest.MonkeyPatch) -> None:
    """One layer, and other files of it or another command line."""
    monkeypatch.setattr(machine_disk, "_make", lambda store, _settings, _kernel, _options, path: Path(path).write_bytes(b""))
    store, settings, kernel = kernel_with()
    os.makedirs(f"{store.cache}/boot")
    first = machine_disk.boot_disk(store, settings, kernel, "quiet")
    assert machine_disk.boot_disk(store, settings, kernel, "quiet") == first, "the twin"
    assert machine_disk.boot_disk(store, settings, kernel, "console=ttyS1") != first
    for words in ({"modules": ""}, {"path": "/boot/a.ko"}):
        _, _, other = kernel_with(**words)
        assert other.layer == kernel.layer
        assert machine_disk.boot_disk(store, settings, other, "quiet") != first


# --- files of kernels ---------------------------------------------------------------------------------------------------------

PROGRAM = 'static const char marks[] __attribute__((used)) = "uml_dir= Linux version 1.2.3 (x)"; int main(void) { return 0; }'


def linked(folder: Path, *flags: str) -> str:
    """A program that is taken for User-Mode Linux, linked with these flags."""
    subprocess.run(["gcc", "-x", "c", "-", "-x", "none", "-o", "linux", *flags], input=PROGRAM.encode(), cwd=folder, check=True)
    return str(folder / "linux")


def test_a_kernel_takes_no_file_of_this_machine_with_it(estiba: Command, tmp_path: Path, secret: Path) -> None:
    """What it says that it is linked with goes into its image."""
    secret.write_text("#!/bin/sh\ntreasure\n")
    secret.chmod(0o755)
    named = ["-shared", "-nostdlib", "-Wl,-soname,/proc/kcore", "-x", "c", "/dev/null", "-o", "libnamed.so"]
    subprocess.run(["gcc", *named], cwd=tmp_path, check=True)
    for flags, what in (
        ([f"-Wl,--dynamic-linker={secret}"], str(secret)),
        (["-Wl,--dynamic-linker=/lib64/../" + str(secret)[1:]], "secret"),
        ([f"-Wl,-rpath,{tmp_path}"], str(tmp_path)),
        ([f"-Wl,--disable-new-dtags,-rpath,{tmp_path}"], str(tmp_path)),
        (["-Wl,--no-as-needed", "libnamed.so"], "/proc/kcore"),
    ):
        said = estiba("kernel", "import", linked(tmp_path, *flags), status=125)
        assert "which is not among this machine's libraries" in said.stderr
        assert what in said.stderr
    assert estiba("kernel", "ls", "-q").stdout == ""
    estiba("kernel", "import", linked(tmp_path))
    assert len(estiba("kernel", "ls", "-q").stdout.splitlines()) == 1, "the twin"


# --- archives -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["layout", "docker"])
def test_no_archive_brings_the_kernel_of_later_machines(estiba: Command, tmp_path: Path, form: str) -> None:
    """The newest of its repository is taken unasked, and its image says itself how new it is."""
    (tmp_path / "bzImage").write_bytes(BZIMAGE)
    estiba("kernel", "import", "bzImage")
    name = estiba("kernel", "ls", "--format", "{{.Name}}").stdout.strip()
    estiba("tag", name, "kernel:theirs")
    fresh = ""
    for each in (name, "kernel:theirs"):
        estiba("save", "-o", "archive.tar", each)
        if form == "docker":
            without(tmp_path / "archive.tar", "index.json")
        fresh = str(tmp_path / f"fresh-{each.partition(':')[2]}")
        done = estiba("load", "-i", "archive.tar", status=125 if each == name else 0, ESTIBA_ROOT=fresh)
        assert ("machines take their kernel from there unasked" in done.stderr) == (each == name)
        assert estiba("kernel", "ls", "-q", ESTIBA_ROOT=fresh).stdout == ""
    estiba("tag", "kernel:theirs", "localhost/kernel:mine", ESTIBA_ROOT=fresh)
    assert "localhost/kernel:mine" in estiba("kernel", "ls", ESTIBA_ROOT=fresh).stdout, "the twin: who owns the store says so"


def without(path: Path, name: str) -> None:
    """Takes a member out of an archive."""
    kept = io.BytesIO()
    with tarfile.open(path) as source, tarfile.open(fileobj=kept, mode="w") as target:
        for member in source:
            if member.name != name:
                target.addfile(member, source.extractfile(member) if member.isfile() else None)
    path.write_bytes(kept.getvalue())


# --- parked guests ------------------------------------------------------------------------------------------------------------


def test_no_kernel_is_taken_for_another(environment: dict[str, str]) -> None:
    """Whoever parks a guest under the name of another's would have that one's containers begin in it."""
    settings = load(environ=environment)
    honest = ["layer", "-kernel", "/boot/vmlinuz" + "x" * 40]
    number = int.from_bytes(honest[-1].encode(), "little")
    for step in range(1, 100):
        other = (number + step * ((1 << 127) - 1)).to_bytes(64, "little").rstrip(b"\0").decode("utf-8", "surrogateescape")
        assert parked._fingerprint(settings, [*honest[:-1], other]) != parked._fingerprint(settings, honest)
    assert parked._fingerprint(settings, ["a\nb"]) != parked._fingerprint(settings, ["a", "b"])
    assert parked._fingerprint(settings, list(honest)) == parked._fingerprint(settings, honest), "the twin"
