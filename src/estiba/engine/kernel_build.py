"""`kernel build`: the small kernels of guests from source, by the project's configuration fragments (machine/kernels/*.config).

It is compiled in a folder of its own (make's `O=`), so a source tree stays as it is. What comes out becomes images as by `kernel import`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from estiba.config.settings import Settings
from estiba.engine import tools
from estiba.engine.kernel_import import import_kernel
from estiba.engine.progress import Progress
from estiba.errors import FailedPrecondition, InvalidArgument, NotFound, NotImplemented, OnFailure
from estiba.oci.platform import host_platform
from estiba.store.images import Image
from estiba.store.layout import Store

DEBIAN = "debian"
#: The package whose dependency is the current source.
SOURCE_PACKAGE = "linux-source"
#: Files between two lines of progress.
_STEP = 100


class Kind:
    """What is built for a rung: make's ARCH, its target, the files that come out of it, and programs and headers that are needed besides,
    each with its package.
    """

    def __init__(self, arch: str, target: str, files: Sequence[str], needs: Mapping[str, str], headers: Mapping[str, str]) -> None:
        self.arch = arch
        self.target = target
        self.files = files
        self.needs = {"make": "make", "gcc": "gcc", "ld": "binutils", "flex": "flex", "bison": "bison", "bc": "bc", **needs}
        self.headers = headers


#: A firmware boots the bzImage; QEMU itself starts the vmlinux, which need not unpack itself. Linux's objtool reads ELF files.
KINDS = {
    "para": Kind("um", "linux", ["linux"], {}, {}),
    "machine": Kind("x86_64", "bzImage", ["arch/x86/boot/bzImage", "vmlinux"], {"lz4": "lz4"}, {"libelf.h": "libelf-dev"}),
}


def build(
    store: Store,
    settings: Settings,
    kind: str,
    source: str,
    *,
    fragments: Sequence[str] = (),
    folder: str | None = None,
    jobs: int | None = None,
    progress: Progress,
) -> list[Image]:
    """Builds the kernel of `kind` (`KINDS`) and returns the images that were made of it.

    Parameters: `source`, a source tree, a tarball of one, or "debian" for the package manager's; `fragments`, files of further
    options, which win; `folder`, where to compile and to leave what was compiled, for the next time; `jobs`, how many compilers at
    once, as many as there are processors without it. Raises NotFound, InvalidArgument for a source that is none, NotImplemented on
    another architecture than amd64, FailedPrecondition for missing packages and failing programs.
    """
    if host_platform().architecture != "amd64":
        raise NotImplemented("cannot build a kernel: the configurations are for amd64", hint="estiba kernel import FILE takes any")
    what = KINDS[kind]
    options = configuration(kind, fragments)
    lacking = tools.missing(what.needs) or [package for header, package in what.headers.items() if not _has_header(header)]
    if lacking:
        raise FailedPrecondition("cannot build a kernel: packages are missing", hint=f"install the packages {' '.join(lacking)}")
    with tools.Workshop(store) as shop:
        tree = _tree(source, shop.path, progress)
        place = os.path.abspath(folder or f"{shop.path}/build")
        os.makedirs(place, exist_ok=True)
        _configure(what, tree, place, options, progress)
        _compile(what, tree, place, jobs or len(os.sched_getaffinity(0)), progress)
        return [import_kernel(store, settings, f"{place}/{name}") for name in what.files]


def configuration(kind: str, fragments: Sequence[str] = ()) -> str:
    """The options of a kind, then those of the files `fragments`. Raises NotFound."""
    own = os.path.join(os.path.dirname(os.path.dirname(__file__)), "machine", "kernels")
    parts = []
    for path in [f"{own}/common.config", f"{own}/{kind}.config", *fragments]:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                parts.append(file.read())
        except OSError as error:
            raise NotFound(f"cannot build a kernel: fragment {path}: {(error.strerror or 'it cannot be read').lower()}") from None
    return "\n".join(parts)


def _has_header(name: str) -> bool:
    words = ["gcc", "-fsyntax-only", "-include", name, "-x", "c", "/dev/null"]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def command(what: Kind, tree: str, place: str, *words: str) -> list[str]:
    """The command line of make."""
    return ["make", "-C", tree, f"O={place}", f"ARCH={what.arch}", *words]


# --- the source --------------------------------------------------------------------------------------------------------------


def _tree(source: str, folder: str, progress: Progress) -> str:
    """The folder of the source tree, unpacked below `folder` where it is not one already."""
    if source == DEBIAN:
        source = _debian_source(folder, progress)
    if os.path.isdir(source):
        return _checked(os.path.abspath(source), source)
    if not os.path.exists(source):
        raise NotFound(f"cannot build a kernel: source {source} does not exist", hint=f"a source tree, a tarball of one, or {DEBIAN}")
    progress.start("source", f"unpacking {os.path.basename(source)}")
    unpacked = f"{folder}/source"
    os.mkdir(unpacked)
    tools.run("build a kernel", "tar", "tar", "-x", "--no-same-owner", "-f", os.path.abspath(source), "-C", unpacked)
    names = os.listdir(unpacked)
    tree = _checked(f"{unpacked}/{names[0]}" if len(names) == 1 else unpacked, source)
    progress.done("source", "unpacked")
    return tree


def _checked(tree: str, source: str) -> str:
    if not all(os.path.exists(f"{tree}/{name}") for name in ("Makefile", "Kconfig", "scripts")):
        raise InvalidArgument(f"cannot build a kernel: {source} is no source of Linux")
    return tree


def _debian_source(folder: str, progress: Progress) -> str:
    """Downloads the package of the source and takes its tarball out."""
    progress.start("source", f"asking apt-get for {SOURCE_PACKAGE}")
    what = "get the source of Linux"
    found = [
        line.split()[1]
        for line in tools.run(what, "apt-cache", "apt", "depends", SOURCE_PACKAGE).splitlines()
        if line.strip().startswith(f"Depends: {SOURCE_PACKAGE}-")
    ]
    if not found:
        raise NotFound(f"cannot {what}: the package manager knows no {SOURCE_PACKAGE}", hint="apt-get update")
    package = found[0]
    path = f"{folder}/package"
    os.mkdir(path)
    tools.run(what, "apt-get", "apt", "-q", "download", package, folder=path, environment=os.environ)
    (deb,) = (name for name in os.listdir(path) if name.endswith(".deb"))
    tools.run(what, "dpkg-deb", "dpkg", "-x", f"{path}/{deb}", path)
    progress.done("source", f"downloaded {package}")
    return f"{path}/usr/src/{package}.tar.xz"


# --- make --------------------------------------------------------------------------------------------------------------------


def _configure(what: Kind, tree: str, place: str, options: str, progress: Progress) -> None:
    fragment = f"{place}/estiba.config"
    with open(fragment, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(options)
    _make(command(what, tree, place, f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig"), "configure")
    with open(f"{place}/.config", encoding="utf-8") as file:
        refused = sorted(set(asked(options)) - set(file.read().splitlines()))
    if refused:
        progress.note(f"this source does not take: {' '.join(refused)}")


def asked(options: str) -> Iterator[str]:
    """What fragments switch on or give a value, as `.config` would have it: the last word on each option."""
    last: dict[str, str] = {}
    for line in options.splitlines():
        if line.startswith("CONFIG_"):
            last[line.partition("=")[0]] = line
        elif line.startswith("# CONFIG_") and line.endswith(" is not set"):
            last[line.split()[1]] = ""
    yield from (line for line in last.values() if line and not line.endswith("=n"))


def _compile(what: Kind, tree: str, place: str, jobs: int, progress: Progress) -> None:
    progress.start("kernel", f"compiling with {jobs} {'job' if jobs == 1 else 'jobs'}")
    count = 0
    for line in _output(command(what, tree, place, f"-j{jobs}", what.target), "compile"):
        words = line.split()
        if len(words) == 2 and words[0] in ("CC", "AS", "LD", "AR"):
            count += 1
            if count % _STEP == 0:
                progress.start("kernel", f"compiled {count} files, {words[1]}")
    progress.done("kernel", f"compiled {count} files")


def _make(words: list[str], step: str) -> None:
    for _ in _output(words, step):
        pass


def _output(words: list[str], step: str) -> Iterator[str]:
    """The lines that make says. Raises FailedPrecondition with the first error when it fails."""
    environment = {**os.environ, "LC_ALL": "C", "KBUILD_BUILD_USER": "estiba", "KBUILD_BUILD_HOST": "estiba"}
    kept: list[str] = []
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors="replace", env=environment
    ) as process:
        assert process.stdout is not None
        with OnFailure(process.terminate):
            for line in process.stdout:
                kept = [*kept[-200:], line]
                yield line
    if process.returncode:
        trouble = next((line for line in kept if "error" in line.lower()), kept[-1] if kept else "it said nothing")
        raise FailedPrecondition(f"cannot {step} a kernel: make: {trouble.strip()}")
