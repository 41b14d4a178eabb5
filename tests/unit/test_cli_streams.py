"""Archives as files and streams: a file has its name when it is complete, and never before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from estiba.cli.streams import open_input, open_output
from estiba.errors import EstibaError, InvalidArgument, NotFound


@pytest.fixture(params=["nameless", "named"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With O_TMPFILE, and as on a file system that does not have it."""
    if request.param == "named":
        real = os.open

        def open_without(path: str, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "Operation not supported")
            return real(path, flags, mode)

        monkeypatch.setattr("os.open", open_without)
    return str(request.param)


@pytest.mark.usefixtures("either")
def test_complete_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out.tar"
    target.write_text("old")
    mask = os.umask(0o027)
    try:
        with open_output(str(target), "save") as stream:
            stream.write(b"new")
            assert target.read_text() == "old"
    finally:
        os.umask(mask)
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["out.tar"]


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("error", [KeyboardInterrupt, NotFound("cannot")])
def test_failure_leaves_what_was_there(error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "out.tar"
    target.write_text("old")
    with pytest.raises((KeyboardInterrupt, NotFound)), open_output(str(target), "save") as stream:
        stream.write(b"half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.tar"]


def test_nameless_file_leaves_nothing_even_when_killed(tmp_path: Path) -> None:
    with open_output(str(tmp_path / "out.tar"), "save") as stream:
        stream.write(b"half")
        assert os.listdir(tmp_path) == []


def test_a_pipe_or_device_is_written_as_it_is(tmp_path: Path) -> None:
    with open_output("/dev/null", "save") as stream:
        stream.write(b"x")
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize(
    ("path", "message"),
    [("missing/out.tar", "there is no folder"), (".", "it is a folder"), ("", "")],
)
def test_refused_outputs(path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("estiba.cli.output.is_terminal", lambda descriptor: True)
    with pytest.raises(EstibaError, match=message or "standard output is a terminal"), open_output(path, "save"):
        pass


@pytest.mark.parametrize(("path", "error"), [("missing", NotFound), (".", InvalidArgument), ("a\0b", InvalidArgument)])
def test_refused_inputs(path: str, error: type[EstibaError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match="cannot load"), open_input(path, "load"):
        pass
