"""The reports of `compare`: medians, intervals, ratios, and what each form says, on figures that are written here."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser

import pytest

from estiba.cli import compare_html, compare_text, compare_words
from estiba.cli.compare_words import LANGUAGES, shown, words
from estiba.engine.compare import NAMES, Figure, Report, RungReport
from estiba.engine.compare.metrics import METRICS


def report(**rungs: dict[str, list[float]]) -> Report:
    measured = [RungReport(name, "1.0", figures={key: Figure(tuple(v)) for key, v in figures.items()}) for name, figures in rungs.items()]
    measured.append(RungReport("podman", reason="<b>podman</b> is not installed"))
    machine = {"kernel": "6.1", "processor": "P & Co", "processors": "2", "memory": "1000000000"}
    return Report("<alpine>", (), 10, "2026-01-01T00:00:00Z", machine, measured)


BOTH = {"container": {"start": [10.0, 30.0, 20.0], "processor": [300.0]}, "para": {"start": [80.0], "processor": [150.0]}}


def test_the_median_and_the_widest_interval_that_is_sure_enough() -> None:
    figure = Figure(tuple(float(n) for n in range(1, 11)))
    assert figure.median == 5.5
    assert figure.interval == (2.0, 9.0)  # 1 - 2 * (1 + 10) / 1024 = 97.9 %; (3, 8) would be 89 %
    assert Figure((3.0, 1.0, 2.0)).interval == (1.0, 3.0)
    assert Figure((4.0,)).interval == (4.0, 4.0)


@pytest.mark.parametrize("count", range(6, 60))
def test_an_interval_covers_95_percent_and_a_narrower_one_would_not(count: int) -> None:
    low, _ = Figure(tuple(float(n) for n in range(count))).interval

    def coverage(rank: int) -> float:
        return 1.0 - 2 * sum(math.comb(count, k) for k in range(rank + 1)) / float(2**count)

    assert coverage(int(low)) >= 0.95 > coverage(int(low) + 1)


def test_a_ratio_is_how_many_times_better_the_container_is() -> None:
    made = report(**BOTH)
    para = made.rungs[1]
    assert made.ratio("start", para) == 4.0  # less is better
    assert made.ratio("processor", para) == 2.0  # more is better
    assert made.ratio("memory", para) is None
    assert [(claim.key, claim.metric, claim.rung, claim.ratio) for claim in made.claims()] == [
        ("at-once", "start", "para", 4.0),
        ("faster", "processor", "para", 2.0),
    ]


def test_figures_that_overlap_say_nothing() -> None:
    made = report(container={"start": [10.0, 30.0, 20.0]}, para={"start": [15.0, 40.0, 28.0]})
    (claim,) = made.claims()
    assert not claim.clear
    assert "says nothing" in compare_text.claim_text(claim, "en")
    assert "no dice nada" in compare_text.claim_text(claim, "es")
    equal = report(container={"disk": [10.0]}, para={"disk": [10.0]})
    assert equal.claims()[0].clear  # counted, not measured


def test_ratio_of_a_claim_is_bold_and_beside_its_bar() -> None:
    page = compare_html.html(report(**BOTH), "en")
    assert "para takes <b>4.0</b> times" in page
    assert '<span class="times">4.0×</span>' in page


@pytest.mark.parametrize(("value", "unit", "text"), [(15792.0, "ns", "15.8 µs"), (999.0, "ns", "999 ns"), (2_500_000.0, "us", "2.50 s"), (1500.0, "M/s", "1500 M/s")])
def test_times_have_the_unit_that_fits(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_a_title_is_wrapped_where_the_terminal_is_narrow() -> None:
    made = report(**BOTH)
    assert all(len(line) <= 60 or "╱" in line or "–" in line or "█" in line for line in compare_text.terminal(made, "en", 60, colour=False)[3:5])
    wide = compare_text.terminal(made, "en", 200, colour=False)
    assert any(line.startswith("Time to the first instruction  from the command") for line in wide)


def test_a_figure_that_speaks_against_a_claim_is_said_as_it_is() -> None:
    made = report(container={"start": [20.0]}, para={"start": [10.0]})
    (claim,) = made.claims()
    assert compare_text.claim_text(claim, "en").endswith("no: para does better, the container's is 2.0 times worse")


def test_without_a_container_or_a_machine_nothing_is_claimed() -> None:
    assert report(container=BOTH["container"]).claims() == []
    assert report(para=BOTH["para"]).claims() == []
    assert words("en")["no-claims"] in "\n".join(compare_text.terminal(report(para=BOTH["para"]), "en", 100, colour=False))


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_languages_have_all_words(language: str) -> None:
    table = words(language)
    assert set(table) == set(words("en"))
    assert set(table["metrics"]) == {metric.name for metric in METRICS}
    assert set(table["rungs"]) == set(NAMES)
    for form in ("claim", "claim-slower", "claim-less"):
        assert table[form].format(metric="M", rung="R", ratio="2")


def test_values_have_three_digits_and_their_unit() -> None:
    assert [shown(8_086_000, "B"), shown(25.44, "ms"), shown(1234.5, "us"), shown(2.345, "ms", "es")] == [
        "8.09 MB",
        "25.4 ms",
        "1.23 ms",
        "2,35 ms" if compare_words.digits(2.345) == "2.35" else "2,34 ms",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("columns", [20, 80, 200])
def test_a_table_for_a_terminal(language: str, columns: int) -> None:
    lines = compare_text.terminal(report(**BOTH), language, columns, colour=False)
    rows = [line for line in lines if line.startswith(("  container", "  para"))]
    assert len(rows) == 4
    assert rows[1].count("█") > 3 * rows[0].count("█")
    assert any("podman" in line and "<b>" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_markdown_is_one_table() -> None:
    lines = compare_text.markdown(report(**BOTH), "en")
    table = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {4}
    assert any("80.0 ms (4.0×)" in line for line in table)


class Page(HTMLParser):
    """Notes what a page refers to, and whether its elements are closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.outside: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.outside += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_stands_alone_and_shows_hostile_names_as_text(language: str) -> None:
    text = compare_html.html(report(**BOTH), language)
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.outside == []
    assert "url(" not in text
    assert "<script" not in text
    assert "<alpine>" in page.text
    assert "<b>podman</b> is not installed" in page.text
    assert f'lang="{language}"' in text


def test_json_holds_every_value() -> None:
    document = json.loads(json.dumps(report(**BOTH).to_json()))
    container, para, podman = document["rungs"]
    assert container["figures"]["start"] == {"unit": "ms", "median": 20.0, "low": 10.0, "high": 30.0, "values": [10.0, 30.0, 20.0]}
    assert para["works"]
    assert podman == {
        "name": "podman",
        "version": "",
        "works": False,
        "reason": "<b>podman</b> is not installed",
        "notes": [],
        "figures": {},
    }
