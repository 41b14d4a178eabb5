"""`compare` as text: a table with bars for a terminal, and Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from estiba.cli import output
from estiba.cli.compare_words import ratio, shown, words
from estiba.engine.compare import Claim, Report
from estiba.engine.compare.metrics import BY_NAME

_EIGHTHS = " ▏▎▍▌▋▊▉"
_NAME, _VALUE, _INTERVAL, _RATIO = 11, 11, 23, 8


def terminal(report: Report, language: str, columns: int, *, colour: bool) -> list[str]:
    """Lines for a terminal of so many columns."""
    word = words(language)
    bold, dim, off = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if colour else ("", "", "")
    room = max(10, min(40, columns - _NAME - _VALUE - _INTERVAL - _RATIO - 4))
    lines = [f"{bold}{word['title']}{off}", word["subject"].format(image=output.escape(report.image)), ""]
    for metric in report.metrics():
        title, what = word["metrics"][metric]
        better = word["less"] if BY_NAME[metric].less_is_better else word["more"]
        lines += _title(title, f"{what}; {better}", columns, (bold, dim, off))
        lines += [*_bars(report, metric, language, room, colour=colour), ""]
    lines += [f"{bold}{word['claims-title']}{off}", *claim_lines(report, language, mark="  ")]
    for rung in report.rungs:
        if rung.reason:
            lines += ["", f"{word['not-here']}: {rung.name}: {output.escape(rung.reason)}"]
        lines += [f"{rung.name}: {output.escape(note)}" for note in rung.notes]
    return lines


def _title(title: str, what: str, columns: int, marks: tuple[str, str, str]) -> list[str]:
    """A chart's title, and what it shows: behind it where there is room, else below."""
    bold, dim, off = marks
    if len(title) + len(what) + 2 <= columns:
        return [f"{bold}{title}{off}  {dim}{what}{off}"]
    return [f"{bold}{title}{off}", *(f"  {dim}{line}{off}" for line in textwrap.wrap(what, max(20, columns - 2)))]


def _bars(report: Report, metric: str, language: str, room: int, *, colour: bool) -> Iterator[str]:
    unit = BY_NAME[metric].unit
    largest = max(rung.figures[metric].median for rung in report.rungs if metric in rung.figures)
    for rung in report.rungs:
        figure = rung.figures.get(metric)
        if figure is None:
            continue
        low, high = figure.interval
        spread = f"{shown(low, unit, language)} – {shown(high, unit, language)}" if len(figure.values) > 1 else ""
        times = report.ratio(metric, rung)
        bar = _bar(figure.median / largest if largest else 0, room)
        painted = f"\x1b[36m{bar}\x1b[0m" if colour else bar
        yield f"  {rung.name:<{_NAME - 2}} {painted}{shown(figure.median, unit, language):>{_VALUE}}  {spread:<{_INTERVAL}}" + (
            f"{ratio(times, language):>{_RATIO - 1}}×" if times is not None else ""
        )


def _bar(part: float, room: int) -> str:
    eighths = max(1, round(part * room * 8))
    text = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    return text.ljust(room)


def claim_lines(report: Report, language: str, mark: str) -> list[str]:
    """Each sentence with its measured ratios below it."""
    word = words(language)
    claims = report.claims()
    if not claims:
        return [mark + word["no-claims"]]
    lines = []
    for key in dict.fromkeys(claim.key for claim in claims):
        lines.append(f"{mark}{word['claims'][key]}")
        lines += [f"{mark}  {claim_text(claim, language)}" for claim in claims if claim.key == key]
    return lines


def claim_text(claim: Claim, language: str, around: str = "{}") -> str:
    """One measured ratio as a sentence, also when it speaks against the claim. `around` marks the ratio."""
    word = words(language)
    form = "claim" if BY_NAME[claim.metric].less_is_better else "claim-slower"
    value = claim.ratio
    if not claim.clear:
        form = "claim-same"
    elif value < 1:
        form, value = "claim-less", 1 / value
    return str(word[form].format(metric=word["metrics"][claim.metric][0], rung=claim.rung, ratio=around.format(ratio(value, language))))


def markdown(report: Report, language: str) -> list[str]:
    """A Markdown document."""
    word = words(language)
    rungs = report.measured()
    lines = [f"# {word['title']}", "", word["subject"].format(image=f"`{report.image}`"), ""]
    lines += ["| |" + "".join(f" {rung.name} |" for rung in rungs), "|---|" + "---:|" * len(rungs)]
    for metric in report.metrics():
        cells = []
        for rung in rungs:
            figure, times = rung.figures.get(metric), report.ratio(metric, rung)
            text = shown(figure.median, BY_NAME[metric].unit, language) if figure else ""
            cells.append(text + (f" ({ratio(times, language)}×)" if times is not None and rung.name != "container" else ""))
        lines.append(f"| {word['metrics'][metric][0]} |" + "".join(f" {cell} |" for cell in cells))
    lines += ["", f"## {word['claims-title']}", "", *[f"- {line.strip()}" for line in claim_lines(report, language, "")]]
    lines += [f"- {word['not-here']}: {rung.name}: {rung.reason}" for rung in report.rungs if rung.reason]
    lines += ["", f"## {word['how']}", "", word["how-text"].format(repeat=report.repeat), "", machine_line(report, language)]
    return lines


def machine_line(report: Report, language: str) -> str:
    """What the figures were taken on, and when."""
    word, facts = words(language), report.machine
    memory = shown(float(facts["memory"]), "B", language)
    parts = [facts["processor"], word["processors"].format(count=facts["processors"], memory=memory, kernel=facts["kernel"])]
    return "; ".join([part for part in parts if part] + [word["started"].format(time=report.started)])
