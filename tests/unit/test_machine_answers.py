"""What a guest answers, which may send what it likes."""

from __future__ import annotations

import io

from estiba.engine import machine_exec


def part(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def test_names_and_contents() -> None:
    answers = part(b"/proc/1/stat") + part(b"1 (init)") + part(b"/proc/2\xff") + part(b"")
    assert dict(machine_exec._parts(io.BytesIO(answers))) == {"/proc/1/stat": b"1 (init)", "/proc/2\ufffd": b""}


def test_a_cut_answer() -> None:
    answers = part(b"/proc/1/stat") + part(b"1 (init)")
    for size in range(len(answers)):
        found = dict(machine_exec._parts(io.BytesIO(answers[:size])))
        assert all("/proc/1/stat".startswith(name) and b"1 (init)".startswith(content) for name, content in found.items())


class Endless(io.RawIOBase):
    """A guest that does not end its answer."""

    taken = 0

    def read(self, size: int = -1, /) -> bytes:
        self.taken += size
        return b"\xff" * size


def test_an_answer_without_end_is_left() -> None:
    endless = Endless()
    for _ in machine_exec._parts(endless):  # type: ignore[arg-type]  # it reads, which is all that is asked of it
        pass
    assert machine_exec._MOST <= endless.taken < 2 * machine_exec._MOST
