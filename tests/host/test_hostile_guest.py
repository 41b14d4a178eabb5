"""A guest whose kernel, or whose root, says on its channel whatever it likes: what this machine makes of it."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.command import command_under_test
from tests.support.containers import IMAGE
from tests.support.live import Live, listing
from tests.support.machines import impostor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.containers import Remains
    from tests.support.machines import GuestRoot

BEGIN = "say(READY, 0, 0, VERSION, 0, 0, 0); say(STARTED, 0, 0, 0, 0, 0, 0);"
# Its program is the loop of `Live`; each further one writes `answer`, whatever it is asked, and ends with its input if it `ends`.
ANSWERS = (
    BEGIN
    + """
    static const unsigned char answer[] = {%(answer)s};
    say(OUTPUT, 0, 1, 0, 0, "ready\\n", 6);
    for (;;) {
        struct frame frame = hear();
        if (frame.type == INPUT_END && (frame.session == 0 || %(ends)d))
            say(EXITED, frame.session, 0, 0, 0, 0, 0);
        if (frame.type == INPUT_END && frame.session == 0)
            say(SYNCED, 0, 0, 0, 0, 0, 0);
        if (frame.type != PLAN || frame.offset + frame.size != frame.number)
            continue;
        say(STARTED, frame.session, 0, 0, 0, 0, 0);
        say(OUTPUT, frame.session, 1, 0, 0, answer, sizeof answer);
    }
"""
)
FILE, FOLDER = 0o100644, 0o040755


def answering(folder: Path, answer: bytes, *, ends: bool = True) -> tuple[str, ...]:
    """The flags of `run` for such a guest."""
    body = ANSWERS % {"answer": ",".join(map(str, answer)), "ends": ends}
    return ("--isolation", "para", "--kernel", str(impostor(folder, body)))


# --- answers of `estiba-init files` (helper/PROTOCOL.md) ----------------------------------------------------------------------


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def status(mode: int, size: int = 0) -> bytes:
    return struct.pack("<IIIIQQQqIIII", mode, 0, 0, 1, 1, 1, size, 0, 0, 0, 0, 0)


def folder_with_a_file(name: bytes, content: bytes) -> bytes:
    """What `cp` is answered that copies a folder."""
    found, none = number(0), number(0)
    looked_up = found + status(FOLDER) + found + found + status(FOLDER)  # stat, base, stat
    listed = found + status(FOLDER) + none + number(len(name)) + name + status(FILE, len(content)) + none + none
    return looked_up + listed + found + status(FILE, len(content)) + none + number(1) + struct.pack("<QQ", 0, len(content)) + content + none


@pytest.mark.parametrize("name", ["../../escaped", "..", "sub/file", "cut\0off", "."])
@pytest.mark.parametrize("ends", [True, False], ids=["ends", "goes on"])
def test_a_name_that_leads_out_of_the_copy(live: Live, tmp_path: Path, name: str, *, ends: bool) -> None:
    target = tmp_path / "place" / "target"
    target.mkdir(parents=True)
    live.start("true", *answering(tmp_path, folder_with_a_file(name.encode(), b"evil"), ends=ends))
    assert "its kernel answers what makes no sense" in live.fails("cp", "box:/d", str(target))
    assert set(listing(tmp_path / "place")) <= {"target", "target/d"}


def test_a_name_of_a_guest_is_copied(live: Live, tmp_path: Path) -> None:
    """The twin: the same guest is believed as far as what it says can be."""
    (tmp_path / "target").mkdir()
    live.start("true", *answering(tmp_path, folder_with_a_file(b"file", b"content")))
    live("cp", "box:/d", "target")
    assert (tmp_path / "target" / "d" / "file").read_bytes() == b"content"


# --- its host's end -----------------------------------------------------------------------------------------------------------


def test_input_that_is_taken_back(live: Live, tmp_path: Path, remains: Remains) -> None:
    """How much more may be sent is counted from what the guest has taken: less than before would be more than there is room for."""
    body = """
        for (uint64_t taken = 0;;) {
            struct frame frame = hear();
            taken += frame.type == INPUT ? frame.size : 0;
            for (int i = 0; i < 20; i++) {
                say(ACCEPTED, 0, 0, 0, taken, 0, 0);
                say(ACCEPTED, 0, 0, 0, 0, 0, 0);
            }
            say(ACCEPTED, 0, 0, 0, taken, 0, 0);
        }
    """
    words = [*command_under_test(), "run", "--rm", "-i", "--isolation", "para", "--kernel", str(impostor(tmp_path, BEGIN + body))]
    with open("/dev/zero", "rb") as zeros:
        done = subprocess.run([*words, IMAGE, "cat"], stdin=zeros, capture_output=True, env=live.environment, timeout=60, check=False)
    assert done.returncode == 125, done
    assert b"the machine ended before its program: it sent what makes no sense" in done.stderr


def test_input_that_is_taken_goes_on(live: Live, tmp_path: Path) -> None:
    """The twin: it counts up."""
    body = """
        for (uint64_t taken = 0; taken < 1000000;) {
            struct frame frame = hear();
            taken += frame.type == INPUT ? frame.size : 0;
            say(ACCEPTED, 0, 0, 0, taken, 0, 0);
        }
        say(EXITED, 0, 0, 3, 0, 0, 0);
        say(SYNCED, 0, 0, 0, 0, 0, 0);
        pause();
    """
    kernel = str(impostor(tmp_path, BEGIN + body))
    live("run", "--rm", "-i", "--isolation", "para", "--kernel", kernel, IMAGE, "cat", stdin=bytes(1_000_000), status=3)


def test_console_that_a_process_holds(guest_root: GuestRoot, tmp_path: Path) -> None:
    """The last words of a kernel are waited for no longer than there can be any."""
    done = guest_root("true", kernel=impostor(tmp_path, "if (fork() == 0) { close(3); close(4); pause(); } return 1;"))
    assert done.returncode == 125
    assert "its kernel ended: booting" in done.stderr


@pytest.mark.parametrize("said", [b"\x1b[31m", "\u009b31m".encode(), "\u202e".encode(), b"\x07"])
def test_last_words_control_no_terminal(live: Live, tmp_path: Path, said: bytes) -> None:
    """They stand in a sentence of this machine's."""
    text = "".join(f"\\{byte:03o}" for byte in said)
    kernel = str(impostor(tmp_path, BEGIN + f'puts("Kernel panic: {text}words"); fflush(stdout); usleep(100000); return 1;'))
    done = live.full("run", "--rm", "--isolation", "para", "--kernel", kernel, IMAGE, "true", status=125)
    line = done.stderr.decode().strip()
    assert line.startswith("estiba: the machine ended before its program: its kernel ended: Kernel panic: ?")
    assert line.endswith("words")
    assert line.isprintable()
