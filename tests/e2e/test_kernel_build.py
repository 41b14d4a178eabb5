"""`kernel build` with real make on a tiny tree that stands for Linux: the command lines, the configuration, what comes out and what fails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.engine import kernel_build
from estiba.errors import FailedPrecondition
from tests.unit.test_machine_kernel_file import BZIMAGE, VMLINUX

if TYPE_CHECKING:
    from tests.support.command import Command

MAKEFILE = """
HERE := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
allnoconfig:
	grep '^CONFIG_' $(KCONFIG_ALLCONFIG) | grep -v CONFIG_NVME_REFUSED > $(O)/.config
	echo $(ARCH) > $(O)/arch
bzImage:
	@test $$(cat $(O)/arch) = x86_64
	@mkdir -p $(O)/arch/x86/boot
	@echo '  CC      init/main.o'
	@$(if $(wildcard $(HERE)broken),echo 'init/main.c:1:1: error: no such thing' >&2; exit 1,true)
	@cp $(HERE)bzImage.bin $(O)/arch/x86/boot/bzImage
	@cp $(HERE)vmlinux.bin $(O)/vmlinux
""".replace("mkdir -p $(O)/arch/x86/boot", "rm $(O)/arch; mkdir -p $(O)/arch/x86/boot")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "linux-6.1.2"
    (made / "scripts").mkdir(parents=True)
    (made / "Kconfig").touch()
    (made / "Makefile").write_text(MAKEFILE)
    (made / "bzImage.bin").write_bytes(BZIMAGE)
    (made / "vmlinux.bin").write_bytes(VMLINUX)
    return made


def names(estiba: Command) -> set[str]:
    return {json.loads(line)["Name"] for line in estiba("kernel", "ls", "--format", "json").stdout.splitlines()}


BUILT = {"localhost/kernel:vmlinux-6.1.2-test", "localhost/kernel:bzimage-5.9.9"}


def test_builds_from_a_tree_and_leaves_it_as_it_is(estiba: Command, tree: Path, environment: dict[str, str]) -> None:
    before = sorted(tree.rglob("*"))
    done = estiba("kernel", "build", "machine", "--source", str(tree), "-j", "2")
    assert names(estiba) == BUILT
    assert "compiling with 2 jobs" in done.stderr
    assert sorted(tree.rglob("*")) == before
    root = Path(environment["ESTIBA_ROOT"])
    assert [list((root / name).iterdir()) for name in ("ingest", "trash")] == [[], []]


def test_each_rung_takes_the_kind_that_suits_it(estiba: Command, tree: Path) -> None:
    (tree / "bzImage.bin").write_bytes(BZIMAGE.replace(b"5.9.9", b"6.1.2-test"))
    estiba("kernel", "build", "machine", "--source", str(tree))
    rows = [json.loads(line) for line in estiba("kernel", "ls", "--format", "json").stdout.splitlines()]
    assert {row["Kind"]: row["Default"] for row in rows} == {"vmlinux": "partial", "bzimage": "full"}


def test_builds_from_a_tarball_with_further_options_in_a_folder(estiba: Command, tree: Path, tmp_path: Path) -> None:
    tarball = tmp_path / "linux.tar.xz"
    subprocess.run(["tar", "-C", str(tmp_path), "-cJf", str(tarball), tree.name], check=True)
    fragment, folder = tmp_path / "more.config", tmp_path / "kept"
    fragment.write_text('CONFIG_LOCALVERSION="-mine"\nCONFIG_NVME_REFUSED=y\n')
    done = estiba("kernel", "build", "machine", "--source", str(tarball), "--config", str(fragment), "--directory", str(folder))
    assert names(estiba) == BUILT
    assert "does not take: CONFIG_NVME_REFUSED=y" in done.stderr
    assert (folder / ".config").read_text().splitlines()[-1] == 'CONFIG_LOCALVERSION="-mine"'
    assert (folder / "vmlinux").read_bytes() == VMLINUX


def test_failure_is_the_compilers_own_words(estiba: Command, tree: Path, environment: dict[str, str]) -> None:
    (tree / "broken").touch()
    done = estiba("kernel", "build", "machine", "--source", str(tree), status=1)
    assert "estiba: cannot compile a kernel: make: init/main.c:1:1: error: no such thing" in done.stderr
    assert names(estiba) == set()
    root = Path(environment["ESTIBA_ROOT"])
    assert [list((root / name).iterdir()) for name in ("ingest", "trash")] == [[], []]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("partial", "--source", "/"), "there is no such kind"),
        (("machine",), "no --source"),
        (("machine", "--source", "/nosuch"), "does not exist"),
        (("machine", "--source", "/usr"), "is no source of Linux"),
        (("machine", "--source", "/etc/passwd"), "tar: "),
        (("machine", "--source", "/usr", "--config", "/nosuch"), "fragment /nosuch: no such file"),
    ],
)
def test_what_cannot_be_built(estiba: Command, words: tuple[str, ...], said: str) -> None:
    done = estiba("kernel", "build", *words, status=None)
    assert done.returncode != 0
    assert said in done.stderr


def test_configuration(estiba: Command) -> None:
    for kind, option in (("para", "CONFIG_HOSTFS=y"), ("machine", "CONFIG_PVH=y")):
        lines = estiba("kernel", "build", kind, "--print-config").stdout.splitlines()
        assert {option, "CONFIG_EROFS_FS=y", "CONFIG_OVERLAY_FS=y"} <= set(lines)
        options = [line.split("=")[0] for line in lines if line.startswith("CONFIG_")]
        assert len(options) == len(set(options)), "an option is named twice"


def test_last_word_on_an_option_counts() -> None:
    assert list(kernel_build.asked("CONFIG_A=y\n# CONFIG_A is not set\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_C=m\nCONFIG_D=n\n")) == [
        "CONFIG_B=y",
        "CONFIG_C=m",
    ]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, store: object, settings: object) -> None:
    monkeypatch.setattr("estiba.engine.tools.FOLDERS", ())
    with pytest.raises(FailedPrecondition) as caught:
        kernel_build.build(store, settings, "machine", "/usr", progress=None)  # type: ignore[arg-type]  # it fails before it looks
    assert caught.value.hint == "install the packages bc binutils bison flex gcc lz4 make"


def test_a_missing_header_is_found_before_the_work(monkeypatch: pytest.MonkeyPatch, store: object, settings: object) -> None:
    monkeypatch.setattr(kernel_build.KINDS["machine"], "headers", {"stdio.h": "libc6-dev", "no/such.h": "such-dev"})
    with pytest.raises(FailedPrecondition) as caught:
        kernel_build.build(store, settings, "machine", "/usr", progress=None)  # type: ignore[arg-type]  # it fails before it looks
    assert caught.value.hint == "install the packages such-dev"
