"""The reference page is what the parser says, and the manual pages are pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from estiba.cli.help import commands
from tools import reference


def test_the_page_is_up_to_date() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run: python tools/reference.py docs"


def test_every_command_and_flag_has_its_manual(tmp_path: Path) -> None:
    assert reference.main(["man", str(tmp_path)]) == 0
    assert len(list(tmp_path.iterdir())) == len(commands()) + 1
    for command in commands():
        text = (tmp_path / f"estiba-{command.name.replace(' ', '-')}.1").read_text()
        for flag in command.flags():
            assert (f"\\-\\-{flag.name.replace('-', chr(92) + '-')}\\fR" in text) is not flag.hidden


def test_pages_hold_known_requests_only(tmp_path: Path) -> None:
    """A line of text that begins with a dot would be obeyed (groff_man(7))."""
    reference.main(["man", str(tmp_path)])
    for page in tmp_path.iterdir():
        lines = page.read_text().splitlines()
        assert lines[0].startswith(".TH ESTIBA")
        assert {line.split()[0] for line in lines if line[:1] in {".", "'"}} <= {".TH", ".SH", ".PP", ".TP", ".B", ".br"}


@pytest.mark.parametrize(("text", "roff"), [(".x", "\\&.x"), ("a\\b", "a\\eb"), ("a-b", "a\\-b"), ("'x'", "\\&\\(aqx\\(aq")])
def test_text_cannot_become_a_request(text: str, roff: str) -> None:
    assert reference._roff(text) == roff
