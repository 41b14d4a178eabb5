"""Gathers programs of this machine with what they need to start: shared libraries, interpreters, symbolic links.

The result is a map of paths to entries. A path is walked component by component as the kernel does (path_resolution(7)),
so that each symbolic link on the way (`libfoo.so.1`, /etc/alternatives) leads to the same file inside the image. Libraries
are found in the order of ld.so(8) for a program without LD_LIBRARY_PATH.

The links of a merged /usr (/bin -> usr/bin) are not taken: in a stack of images such a link would hide the whole folder of
an image that has one there. Files are at /usr/bin, /usr/lib; /bin, /lib, /lib64 are folders with links to single files, and
only those that must be there under that name: the dynamic linker, what was asked for by that path, what `#!` names.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from estiba.engine.elf import Elf, is_elf, parse_cache, parse_elf, select_from_cache
from estiba.errors import CannotExecute, EstibaError, InvalidArgument, NotFound, PermissionDenied

SEARCH_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
CACHE = "/etc/ld.so.cache"
MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")  # hier(7): may be links into /usr
LINK_LIMIT = 40  # as the kernel's, path_resolution(7)
INTERPRETER_DEPTH = 4  # scripts whose interpreter is a script, execve(2)
LOADED_LIMIT = 512 << 20  # bytes; nothing that ld.so maps is larger

# ld.so(8): the default directories; the multiarch ones are those of Debian's build of glibc.
MULTIARCH = {
    "amd64": "x86_64-linux-gnu",
    "arm64": "aarch64-linux-gnu",
    "386": "i386-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "riscv64": "riscv64-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu",
    "s390x": "s390x-linux-gnu",
    "loong64": "loongarch64-linux-gnu",
}


@dataclass(frozen=True)
class HostEntry:
    """One path of the image: a directory, a symbolic link (`target`) or a regular file (`content`, else read from the host)."""

    kind: str
    mode: int
    target: str = ""
    content: bytes | None = None


@dataclass(frozen=True)
class _Loaded:
    """A file that the dynamic linker maps: where it was found, what it says, and who asked for it (for DT_RPATH)."""

    origin: str
    elf: Elf
    parent: _Loaded | None = None


@dataclass
class HostFiles:
    """The files gathered so far. `entries` maps absolute paths to what is there; `architecture` is an OCI name."""

    entries: dict[str, HostEntry] = field(default_factory=dict)
    architecture: str = ""
    _cache_data: bytes = b""
    _cache: dict[str, list[str]] = field(default_factory=dict)
    _cached: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        if os.path.exists(CACHE):
            with open(CACHE, "rb") as file:
                self._cache_data = file.read()
        self._cache = parse_cache(self._cache_data)

    def add_program(self, name: str) -> str:
        """Adds a program and all it needs; gives the absolute path under which it is in the image.

        `name` without a slash is looked up in SEARCH_PATH. Raises NotFound, CannotExecute, PermissionDenied, DataLoss.
        """
        path = find_program(name)
        self._add_executable(path, 0)
        return path

    def add_needs(self, data: bytes, what: str) -> None:
        """Adds what an ELF program of a stranger needs, which names libraries and not files of this machine; `what` names it in errors.

        Raises InvalidArgument where it names other files, and as `add_program`.
        """
        elf = parse_elf(data, what)
        folders = _default_directories(elf)
        others = [*(name for name in elf.needed if "/" in name), *(place for place in (*elf.rpath, *elf.runpath) if place not in folders)]
        if elf.interpreter and os.path.dirname(elf.interpreter) not in folders:
            others.append(elf.interpreter)
        if others:
            raise InvalidArgument(f"cannot take {what}: it needs {others[0]!r}, which is not among this machine's libraries")
        self._add_needs(data, what, os.path.dirname(os.path.abspath(what)), 0)

    def finish(self) -> None:
        """Adds what no program names: the linker's cache of the libraries taken, and /bin/sh where a shell was (system(3))."""
        cache = select_from_cache(self._cache_data, self._cached)
        if cache:
            self.entries[CACHE] = HostEntry("file", 0o644, content=cache)
        if unmerged("/bin/sh") in self.entries:
            self.add_path("/bin/sh")

    def add_path(self, path: str) -> str:
        """Adds `path` and each directory and link that leads to it; gives the path of what it is in the end."""
        real = unmerged(path)
        found = self._walk(real)
        if real != path:
            parent = os.path.dirname(path)
            while parent != "/":
                self.entries.setdefault(parent, HostEntry("directory", 0o755))
                parent = os.path.dirname(parent)
            self.entries[path] = HostEntry("symlink", 0o777, target=real)
        return found

    def _walk(self, path: str) -> str:
        current, hops = "", 0
        pending = path.split("/")
        while pending:
            part = pending.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                current = os.path.dirname(current)
                continue
            here = f"{current}/{part}"
            status = _lstat(here)
            if stat.S_ISLNK(status.st_mode):
                hops += 1
                if hops > LINK_LIMIT:
                    raise NotFound(f"cannot take {path}: too many levels of symbolic links")
                target = _target(here)
                self.entries[here] = HostEntry("symlink", 0o777, target=target)
                pending[:0] = target.split("/")
                current = "" if target.startswith("/") else current
            elif stat.S_ISDIR(status.st_mode):
                self.entries.setdefault(here, HostEntry("directory", stat.S_IMODE(status.st_mode)))
                current = here
            elif stat.S_ISREG(status.st_mode) and not pending:
                self.entries[here] = HostEntry("file", stat.S_IMODE(status.st_mode))
                return here
            else:
                raise InvalidArgument(f"cannot take {path}: {here} is neither a regular file nor a directory")
        return current

    def _add_executable(self, path: str, depth: int) -> None:
        real = self.add_path(path)
        data = _read(real)
        if is_elf(data):
            self._add_needs(data, path, os.path.dirname(real), depth)
        elif data[:2] == b"#!":
            if depth >= INTERPRETER_DEPTH:
                raise CannotExecute(f"cannot take {path}: too many levels of interpreters")
            for program in script_programs(data, path):
                self._add_executable(find_program(program), depth + 1)
        else:
            raise CannotExecute(f"cannot take {path}: neither an ELF program nor a script")

    def _add_needs(self, data: bytes, path: str, origin: str, depth: int) -> None:
        elf = parse_elf(data, path)
        self._note_architecture(elf, path)
        if elf.interpreter:
            self._add_executable(elf.interpreter, depth)
        self._add_libraries(_Loaded(origin, elf), path)

    def _note_architecture(self, elf: Elf, path: str) -> None:
        if not elf.architecture:
            raise CannotExecute(f"cannot take {path}: its architecture (ELF machine {elf.kind[0]}) has no OCI name")
        if self.architecture and elf.architecture != self.architecture:
            raise InvalidArgument(f"cannot take {path}: it is {elf.architecture}, the programs before it {self.architecture}")
        self.architecture = elf.architecture

    def _add_libraries(self, program: _Loaded, what: str) -> None:
        """Breadth first, each library once, as ld.so loads them."""
        waiting, seen = [program], set[str]()
        while waiting:
            loaded = waiting.pop(0)
            for name in loaded.elf.needed:
                if name in seen:
                    continue
                seen.add(name)
                path, elf = self._find_library(name, loaded, program.elf, what)
                path = path if "/" in name else self._searched(path, program.elf)
                self.add_path(path)
                waiting.append(_Loaded(os.path.dirname(path), elf, loaded))

    def _find_library(self, name: str, loaded: _Loaded, program: Elf, what: str) -> tuple[str, Elf]:
        for path in self._candidates(name, loaded, program):
            if not os.path.isfile(path):
                continue
            data = _read(path)
            elf = parse_elf(data, path) if is_elf(data) else None
            if elf and elf.kind == loaded.elf.kind:
                if path in self._cache.get(name, ()):
                    self._cached.add((name, path))
                return path, elf
        raise NotFound(f"cannot take {what}: its library {name} is not on this machine")

    def _candidates(self, name: str, loaded: _Loaded, program: Elf) -> list[str]:
        if "/" in name:
            return [_expand(name, loaded.origin)]
        places = [] if loaded.elf.runpath else _rpaths(loaded)
        places += [_expand(place, loaded.origin) for place in loaded.elf.runpath]
        found = [f"{place}/{name}" for place in places]
        cached = [] if _is_musl(program) else self._cache.get(name, [])
        return found + cached + [f"{place}/{name}" for place in _default_directories(program)]

    def _searched(self, path: str, program: Elf) -> str:
        """A library's path under /usr, where the linker looks there by itself; else as it was found."""
        real = unmerged(path)
        return real if os.path.dirname(real) in _default_directories(program) else path


def unmerged(path: str) -> str:
    """`path` without a link of a merged /usr at its beginning: /bin/sh is /usr/bin/sh where /bin is a link."""
    top, slash, rest = path[1:].partition("/")
    return os.path.realpath(f"/{top}") + slash + rest if f"/{top}" in MERGED else path


def find_program(name: str) -> str:
    """The absolute path of a program of this machine. Raises NotFound, CannotExecute."""
    if "\0" in name or not name:
        raise InvalidArgument("cannot take a program: its name is empty or holds a NUL")
    places = [os.path.abspath(name)] if "/" in name else [f"{place}/{name}" for place in SEARCH_PATH]
    found = [place for place in places if os.path.isfile(place)]
    for place in found:
        if os.access(place, os.X_OK):
            return place
    if found:
        raise CannotExecute(f"cannot take {name}: {found[0]} is not executable")
    where = "there is no such file" if "/" in name else f"it is not in {':'.join(SEARCH_PATH)}"
    raise NotFound(f"cannot take {name}: {where}", hint="give the path of the program")


def script_programs(data: bytes, path: str) -> list[str]:
    """The programs that a script's first line names: its interpreter, and what env(1) would start."""
    line = data[2:].split(b"\n", 1)[0].decode("utf-8", "surrogateescape").strip(" \t")
    words = line.split()
    if not words:
        raise CannotExecute(f"cannot take {path}: its first line names no interpreter")
    programs = [words[0]]
    if os.path.basename(words[0]) == "env":
        # `env [-S] [NAME=VALUE]... PROGRAM`; other options of env make no difference to which program starts.
        programs += [word for word in words[1:] if not word.startswith("-") and "=" not in word][:1]
    return programs


def _rpaths(loaded: _Loaded) -> list[str]:
    """DT_RPATH of the file, then of those that loaded it, each without a DT_RUNPATH of its own (ld.so(8))."""
    places: list[str] = []
    at: _Loaded | None = loaded
    while at:
        if not at.elf.runpath:
            places += [_expand(place, at.origin) for place in at.elf.rpath]
        at = at.parent
    return places


def _expand(place: str, origin: str) -> str:
    return place.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)


def _musl_directories(interpreter: str) -> list[str]:
    """As musl's ldso/dynlink.c: reads /etc/ld-musl-<arch>.path, lines or colons between directories."""
    architecture = os.path.basename(interpreter).removeprefix("ld-musl-").split(".")[0]
    listing = f"/etc/ld-musl-{architecture}.path"
    if os.path.exists(listing):
        return [place for line in os.fsdecode(_read(listing)).splitlines() for place in line.split(":") if place]
    return ["/lib", "/usr/local/lib", "/usr/lib"]


def _is_musl(program: Elf) -> bool:
    return "/ld-musl-" in (program.interpreter or "")


def _default_directories(program: Elf) -> list[str]:
    if _is_musl(program):
        return _musl_directories(program.interpreter or "")
    triplet = MULTIARCH.get(program.architecture, "")
    return [f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64", "/lib", "/usr/lib"]


def _target(link: str) -> str:
    """What a link leads to; absolute and under /usr where it would lead through a link of a merged /usr."""
    target = os.readlink(link)
    whole = os.path.normpath(os.path.join(os.path.dirname(link), target))
    return target if unmerged(whole) == whole else unmerged(whole)


def _lstat(path: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except FileNotFoundError as error:
        raise NotFound(f"cannot take {path}: no such file") from error
    except OSError as error:
        raise EstibaError(f"cannot take {path}: {error.strerror}") from error


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(LOADED_LIMIT)
    except PermissionError as error:
        raise PermissionDenied(f"cannot read {path}: {error.strerror}") from error
