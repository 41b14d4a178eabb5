"""`compare` through the command line, on the rung that runs everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import Command

pytestmark = pytest.mark.e2e


@pytest.fixture
def image(estiba: Command, alpine_tar: Path) -> str:
    estiba("import", str(alpine_tar), "local/base:1")
    return "local/base:1"


def test_every_figure_of_a_container_is_measured(estiba: Command, image: str) -> None:
    done = estiba("compare", "--on", "container", "--repeat", "2", "--format", "json", image, timeout=120)
    (rung,) = json.loads(done.stdout)["rungs"]
    assert rung["works"], rung
    assert not rung["notes"], rung
    figures = rung["figures"]
    assert len(figures["start"]["values"]) == len(figures["end"]["values"]) == 2
    assert all(0 < first <= end for first, end in zip(figures["start"]["values"], figures["end"]["values"], strict=True))
    for name in ("disk", "memory", "start-cold", "processor", "system-call", "process", "disk-write", "disk-random-read", "network-delay"):
        assert figures[name]["median"] > 0, name
    assert figures["memory"]["median"] < 16 * 1024 * 1024  # two small processes and the program, no interpreter


def test_nothing_is_left_and_the_image_is_as_it_was(estiba: Command, image: str) -> None:
    before = estiba("images", "--format", "{{.Repository}} {{.ID}}").stdout
    estiba("compare", "-q", "--on", "container", "--repeat", "1", image, "true", timeout=120)
    assert estiba("images", "--format", "{{.Repository}} {{.ID}}").stdout == before
    assert estiba("ps", "-aq").stdout == ""


def test_a_rung_that_does_not_run_is_named_with_its_reason(estiba: Command, image: str, tmp_path: Path) -> None:
    done = estiba("compare", "-q", "--on", "podman", "--format", "json", image, status=1, PATH=str(tmp_path))
    assert [(rung["works"], rung["reason"]) for rung in json.loads(done.stdout)["rungs"]] == [(False, "podman is not installed")]


def test_a_page_is_written_to_a_file(estiba: Command, image: str, tmp_path: Path) -> None:
    estiba(
        "compare", "-q", "--on", "container", "--repeat", "1", "--format", "html", "--language", "es", "-o", "r.html", image, timeout=120
    )
    text = (tmp_path / "r.html").read_text()
    assert "Contenedores y máquinas virtuales" in text
    assert "local/base:1" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--repeat", "0"], "--repeat"),
        (["--repeat", "٣"], "--repeat"),
        (["--on", "moon"], "unknown rung"),
        (["-o", "/nowhere/r.html", "--on", "podman"], "/nowhere/r.html"),
    ],
)
def test_bad_words_are_one_line(estiba: Command, image: str, tmp_path: Path, words: list[str], said: str) -> None:
    done = estiba("compare", "-q", *words, image, status=None, PATH=str(tmp_path))
    assert done.returncode in (1, 125)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_an_image_that_is_not_there(estiba: Command) -> None:
    assert "nothing-here" in estiba("compare", "nothing-here", status=1).stderr
