"""`compare` through the command line, on the rung that runs everywhere."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from typing import TYPE_CHECKING

import pytest

from estiba.cli.compare_html import html
from estiba.engine.compare import Figure, Report, RungReport, measure
from estiba.engine.compare.metrics import METRICS
from estiba.engine.compare.rungs import files_of, rungs
from estiba.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from estiba.config.settings import Settings
    from estiba.store.layout import Store
    from tests.support.command import Command

pytestmark = pytest.mark.e2e


@pytest.fixture
def image(estiba: Command, alpine_tar: Path) -> str:
    estiba("import", str(alpine_tar), "local/base:1")
    return "local/base:1"


def test_a_program_that_writes_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image's own, or one of a guest: no more is kept than a figure needs, and what is none is not taken for one."""
    monkeypatch.setattr(measure, "_KEPT", 10)
    assert measure.output_of(["sh", "-c", "echo begin; head -c 10000000 /dev/zero"]) == "begin\n" + 4 * "\0"
    assert measure.output_of(["sh", "-c", "echo begin"]) == "begin\n", "the twin"
    for text in ("nan", "inf", "1e999", "-1", "1.2.3", "٣", "9" * 5000):
        with pytest.raises(Unavailable, match="what it measured is no number"):
            measure._number(text)
    assert (measure._number("12"), measure._number("0.5")) == (12, 0.5)


def test_every_figure_of_a_container_is_measured(estiba: Command, image: str) -> None:
    done = estiba("compare", "--on", "container", "--repeat", "2", "--format", "json", image, timeout=120)
    (rung,) = json.loads(done.stdout)["rungs"]
    assert rung["works"], rung
    assert not rung["notes"], rung
    figures = rung["figures"]
    assert len(figures["start"]["values"]) == len(figures["end"]["values"]) == 2
    assert all(0 < first <= end for first, end in zip(figures["start"]["values"], figures["end"]["values"], strict=True))
    for name in ("disk", "engine", "memory", "start-cold", "processor", "system-call", "process", "disk-write", "disk-random-read", "network-delay"):
        assert figures[name]["median"] > 0, name
    assert figures["memory"]["median"] < 16 * 1024 * 1024  # two small processes and the program, no interpreter


def test_nothing_is_left_and_the_image_is_as_it_was(estiba: Command, image: str) -> None:
    before = estiba("images", "--format", "{{.Repository}} {{.ID}}").stdout
    estiba("compare", image, "-q", "--on", "container", "--repeat", "1", "sh", "-c", "true", timeout=120)
    assert estiba("images", "--format", "{{.Repository}} {{.ID}}").stdout == before
    assert estiba("ps", "-aq").stdout == ""


def test_a_rung_that_does_not_run_is_named_with_its_reason(estiba: Command, image: str, tmp_path: Path) -> None:
    done = estiba("compare", "-q", "--on", "podman", "--format", "json", image, status=1, PATH=str(tmp_path))
    assert [(rung["works"], rung["reason"]) for rung in json.loads(done.stdout)["rungs"]] == [(False, "podman is not installed")]


def test_the_machine_monitor_counts_as_the_engines(estiba: Command, store: Store, settings: Settings, vmlinux: Path) -> None:
    estiba("kernel", "import", str(vmlinux))
    container, partial = (set(files_of(rung.programs())) for rung in rungs(store, settings, ["container", "partial"]))
    assert any(path.endswith("/_bin/estiba-init") for path in container)
    assert container < partial
    assert any(path.endswith("/qemu-system-x86_64") for path in partial - container)


# What a browser made of the page, as text: the widths of the page and the window, and of each bar and whisker beside its track.
LAYOUT = """<script>
const box = e => e.getBoundingClientRect();
const inside = e => box(e).left >= box(e.parentElement).left - 1 && box(e).right <= box(e.parentElement).right + 1;
document.title = JSON.stringify({
  fits: document.documentElement.scrollWidth <= window.innerWidth,
  bars: [...document.querySelectorAll('.bar')].map(e => box(e).width),
  inside: [...document.querySelectorAll('.bar, .whisker')].every(inside),
  values: [...document.querySelectorAll('.value, .times, h1, h2, h3')].every(e => e.scrollWidth <= e.clientWidth + 1),
});
</script>"""


def browser(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", *words],
        capture_output=True, text=True, errors="replace", timeout=120, check=True, cwd=folder,
    )  # fmt: skip
    return done.stdout


def test_a_page_is_written_to_a_file(estiba: Command, image: str, tmp_path: Path) -> None:
    estiba(
        "compare", "-q", "--on", "container", "--repeat", "1", "--format", "html", "--language", "es", "-o", "r.html", image, timeout=120
    )
    text = (tmp_path / "r.html").read_text()
    assert "Contenedores y máquinas virtuales" in text
    assert "local/base:1" in text
    browser(tmp_path, "--screenshot=r.png", "--window-size=1100,1600", f"file://{tmp_path}/r.html")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("language", ["en", "es"])
def test_page_reads_and_prints_in_a_browser(tmp_path: Path, language: str) -> None:
    """Every rung and every metric, on a wide window, on a narrow one, and on paper."""
    names = ("container", "para", "partial", "full", "docker", "podman")
    figures = {metric.name: number for number, metric in enumerate(METRICS, 1)}
    rungs = [
        RungReport(name, "1.0", figures={key: Figure((12.0 * n * k, 15.0 * n * k, 20.0 * n * k)) for key, k in figures.items()})
        for n, name in enumerate(names, 1)
    ]
    machine = {"kernel": "6.1.0-57-cloud-amd64", "processor": "A processor with a long name @ 2.0 GHz", "processors": "2", "memory": "1e9"}
    page = html(Report("registry.example.com/a/long/name:1.0", (), 10, "2026-01-01T00:00:00Z", machine, rungs), language)
    assert not re.findall(r"(?:src|href)=|url\(|@import|https?:", page), "the page needs nothing else"
    (tmp_path / "page.html").write_text(page)
    (tmp_path / "asked.html").write_text(page.replace("</body>", LAYOUT + "</body>"))
    for width in (1100, 500):
        said = browser(tmp_path, "--dump-dom", f"--window-size={width},2000", f"file://{tmp_path}/asked.html")
        found = json.loads(unescape(said.partition("<title>")[2].partition("</title>")[0]))
        assert found["fits"], f"wider than {width}"
        assert found["inside"]
        assert found["values"], f"cut off at {width}"
        assert len(found["bars"]) == len(names) * len(METRICS)
        assert min(found["bars"]) > 0
    browser(tmp_path, "--print-to-pdf=page.pdf", "--no-pdf-header-footer", f"file://{tmp_path}/page.html")
    pages = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes()))
    assert 2 <= pages <= 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--repeat", "0"], "--repeat"),
        (["--repeat", "٣"], "--repeat"),
        (["--on", "moon"], "unknown rung"),
        (["-o", "/nowhere/r.html"], "cannot write /nowhere/r.html: /nowhere cannot be written to"),
        (["-o", "/tmp"], "cannot write /tmp: it is a folder"),
    ],
)
def test_bad_words_are_one_line(estiba: Command, image: str, tmp_path: Path, words: list[str], said: str) -> None:
    done = estiba("compare", "-q", *words, image, status=None, PATH=str(tmp_path))
    assert done.returncode in (1, 125)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_a_command_that_fails_is_told_in_its_words(estiba: Command, image: str) -> None:
    done = estiba("compare", "-q", "--on", "container", "--repeat", "1", image, "nosuch", status=1)
    assert done.stderr.startswith("estiba: cannot start container: execute nosuch: not found")


def test_an_image_that_is_not_there(estiba: Command) -> None:
    assert "nothing-here" in estiba("compare", "nothing-here", status=1).stderr
