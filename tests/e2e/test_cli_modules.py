"""The file of all modules: what the build writes is what the command runs, and where it is missing or damaged the sources serve."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import estiba
from estiba.modules import write

PACKAGE = Path(next(iter(estiba.__path__)))
# What the launcher hands to the interpreter (helper/launcher/launcher.c).
BOOT = next(
    "".join(eval(line) for line in text.partition(";\n")[0].splitlines())
    for text in [(Path(__file__).parents[2] / "helper/launcher/launcher.c").read_text().partition("BOOT[] =\n")[2]]
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a copy of the package's sources alone."""
    for path in PACKAGE.rglob("*.py"):
        target = tmp_path / "estiba" / path.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return tmp_path


def run(site: Path, *words: str, boot: str = BOOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", boot, str(site), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def loaders(site: Path) -> set[str]:
    """Who brought the package's modules to a command that worked."""
    told = BOOT.replace("isolated()\n", "import sys; print(*{type(m.__loader__).__name__ for n, m in sys.modules.items() if n[:6] == 'estiba'})")
    done = run(site, boot=told)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def test_modules_come_out_of_the_file(site: Path) -> None:
    assert loaders(site) == {"SourceFileLoader"}
    write(str(site))
    assert loaders(site) == {"Modules"}
    assert run(site, "--version").stdout == f"estiba version {estiba.__version__}\n"


def test_every_module_can_be_brought(site: Path) -> None:
    """Each one, with its own place: also those that no test of a verb comes to."""
    write(str(site))
    told = BOOT.replace(
        "isolated()\n",
        "import pkgutil, estiba, importlib, site\n"
        "site.main()\n"  # for the dependencies
        "for found in pkgutil.walk_packages(estiba.__path__, 'estiba.'):\n"
        "    if found.name != 'estiba.__main__':\n"
        "        module = importlib.import_module(found.name)\n"
        "        assert type(module.__loader__).__name__ == 'Modules', module\n"
        "        assert open(module.__file__).read(), module\n"
        "        print(found.name)\n",
    )
    done = run(site, boot=told)
    assert done.stderr == ""
    assert len(done.stdout.split()) == len([*site.rglob("*.py")]) - 2  # without `estiba` and `estiba.__main__`


@pytest.mark.parametrize("content", [b"", b"damaged", b"\xe9", b"{}"], ids=["empty", "text", "short", "other"])
def test_a_damaged_file_is_left_alone(content: bytes, site: Path) -> None:
    Path(write(str(site))).write_bytes(content)
    assert loaders(site) == {"SourceFileLoader"}


def test_a_traceback_shows_the_source(site: Path) -> None:
    write(str(site))
    done = run(site, boot=BOOT.replace("isolated()\n", "from estiba.oci.digest import hex_of\nhex_of(None)"))
    place, line = done.stderr.splitlines()[2:4]
    assert f'File "{site}/estiba/oci/digest.py", line ' in place
    number = int(place.split(", ")[1].removeprefix("line "))
    assert (site / "estiba/oci/digest.py").read_text().splitlines()[number - 1].strip() == line.strip()


def test_a_missing_standard_descriptor_is_not_filled_by_the_file(site: Path) -> None:
    write(str(site))
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", BOOT, str(site), "--version"]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
