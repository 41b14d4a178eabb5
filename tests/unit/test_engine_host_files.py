"""What `image from-host` takes: the ELF reader, the linker's cache, links and scripts. Second opinion: ldd and ldconfig."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estiba.engine import elf, host_files
from estiba.engine.host_files import HostEntry, HostFiles
from estiba.errors import CannotExecute, DataLoss, EstibaError, InvalidArgument, NotFound

SHELL = os.path.realpath("/bin/sh")


def libraries_by_ldd(program: str) -> set[str]:
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {os.path.realpath(path) for path in re.findall(r"(/\S+) \(0x", out)}


@pytest.mark.parametrize("name", ["sh", "bash", "git", "python3", "tar"])
def test_takes_exactly_the_libraries_that_ldd_names(name: str) -> None:
    files = HostFiles()
    program = files.add_program(name)
    regular = {path for path, entry in files.entries.items() if entry.kind == "file"}
    assert regular == libraries_by_ldd(program) | {os.path.realpath(program)}


def within(entries: dict[str, HostEntry], path: str) -> str:
    """Where `path` leads by the entries alone, as in the image."""
    done, pending = "/", path.split("/")
    while pending:
        here = os.path.normpath(os.path.join(done, pending.pop(0)))
        if here != "/" and entries[here].kind == "symlink":
            pending[:0] = (
                ["/", *entries[here].target.split("/")] if entries[here].target.startswith("/") else entries[here].target.split("/")
            )
        else:
            done = here
    return done


def test_every_path_leads_to_the_same_file_as_here() -> None:
    files = HostFiles()
    paths = [files.add_program(name) for name in ("bash", "/bin/sh", "awk")]
    files.finish()
    paths += [str(elf.parse_elf(Path(SHELL).read_bytes(), SHELL).interpreter)]
    files.entries.setdefault("/etc", HostEntry("directory", 0o755))
    for path in (*paths, *files.entries):
        assert within(files.entries, path) == (os.path.realpath(path) if path not in host_files.MERGED else path)


def test_no_link_of_a_merged_usr() -> None:
    """It would hide the folder of another image. /bin/sh is there wherever a shell is: system(3) starts it."""
    files = HostFiles()
    files.add_program("sh")
    files.finish()
    assert {entry.kind for path, entry in files.entries.items() if path in host_files.MERGED} == {"directory"}
    assert "/bin/sh" in files.entries
    if os.path.islink("/bin"):
        assert [path for path in files.entries if path.startswith("/bin/")] == ["/bin/sh"]


def test_cache_names_only_what_was_taken(tmp_path: Path) -> None:
    files = HostFiles()
    files.add_program("bash")
    files.finish()
    cache = tmp_path / "cache"
    cache.write_bytes(files.entries[host_files.CACHE].content or b"")
    out = subprocess.run(["/sbin/ldconfig", "-p", "-C", cache], capture_output=True, text=True, check=True).stdout
    assert {os.path.realpath(path) for path in re.findall(r"=> (\S+)", out)} == libraries_by_ldd("/bin/bash")


def test_cache_agrees_with_ldconfig() -> None:
    out = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    theirs = {(name, path) for name, path in re.findall(r"^\t(\S+) \([^)]*\) => (\S+)$", out, re.MULTILINE)}
    ours = elf.parse_cache(Path(host_files.CACHE).read_bytes())
    assert {(name, path) for name, paths in ours.items() for path in paths} == theirs


def test_cache_of_another_format_is_empty() -> None:
    assert elf.parse_cache(b"ld.so-1.7.0\0" + bytes(100)) == {}
    assert elf.select_from_cache(b"", {("libc.so.6", "/lib/libc.so.6")}) == b""


def compile_c(folder: Path, name: str, source: str, *flags: str) -> Path:
    (folder / f"{name}.c").write_text(source)
    out = folder / name
    out.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-o", out, folder / f"{name}.c", *flags], check=True)
    return out


@pytest.mark.parametrize("tag", ["--enable-new-dtags", "--disable-new-dtags"])
def test_origin_in_the_search_path(tmp_path: Path, tag: str) -> None:
    """DT_RUNPATH and DT_RPATH with $ORIGIN; DT_RPATH also serves the library's own libraries."""
    own, deep = tmp_path / "own", tmp_path / "deep"
    own.mkdir()
    deep.mkdir()
    compile_c(tmp_path, "own/libinner.so", "int inner(void){return 2;}", "-shared")
    compile_c(tmp_path, "own/libouter.so", "int inner(void);int outer(void){return inner();}", "-shared", f"-L{own}", "-linner")
    flags = [f"-L{own}", "-louter", "-Wl,--allow-shlib-undefined", f"-Wl,{tag},-rpath,$ORIGIN/../own"]
    program = compile_c(tmp_path, "deep/program", "int outer(void);int main(void){return outer();}", *flags)
    files = HostFiles()
    if tag == "--disable-new-dtags":
        files.add_program(str(program))
        assert f"{own}/libinner.so" in files.entries
    else:  # ld.so(8): DT_RUNPATH does not apply to the libraries' own libraries
        with pytest.raises(NotFound, match=r"libinner\.so"):
            files.add_program(str(program))
    assert f"{own}/libouter.so" in files.entries


def test_script_brings_its_interpreter_and_what_env_starts(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/usr/bin/env -S A=1 python3 -I\nprint(1)\n")
    script.chmod(0o755)
    files = HostFiles()
    assert files.add_program(str(script)) == str(script)
    assert "/usr/bin/env" in files.entries
    assert os.path.realpath("/usr/bin/python3") in files.entries


def test_scripts_that_run_each_other_are_refused(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).write_text(f"#!{tmp_path}/{other}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(CannotExecute, match="too many levels of interpreters"):
        HostFiles().add_program(str(tmp_path / "a"))


def test_programs_that_are_not(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello\n")
    with pytest.raises(CannotExecute, match="not executable"):
        HostFiles().add_program(str(text))
    text.chmod(0o755)
    with pytest.raises(CannotExecute, match="neither an ELF program nor a script"):
        HostFiles().add_program(str(text))
    with pytest.raises(NotFound, match="it is not in"):
        HostFiles().add_program("no-such-program")
    with pytest.raises(InvalidArgument):
        HostFiles().add_program("")


def test_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(NotFound, match="too many levels"):
        HostFiles().add_path(str(tmp_path / "a"))


def test_static_program_needs_nothing() -> None:
    busybox = shutil.which("busybox")
    assert busybox
    parsed = elf.parse_elf(Path(busybox).read_bytes(), busybox)
    assert (parsed.interpreter, parsed.needed) == (None, ())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=8))
def test_damaged_elf_is_an_error_of_ours(at: int, damage: bytes) -> None:
    data = Path(SHELL).read_bytes()
    broken = data[:at] + damage + data[at + len(damage) :]
    for candidate in (broken, data[:at]):
        try:
            elf.parse_elf(candidate, "it")
        except EstibaError as error:
            assert isinstance(error, DataLoss)
