"""`compare` as one page of HTML that needs nothing else: no network, no script; it prints well.

The charts are bars of HTML and CSS: lengths in percent, the interval as a whisker over the bar.
"""

from __future__ import annotations

from html import escape

from estiba.cli.compare_text import claim_text, machine_line
from estiba.cli.compare_words import ratio, shown, words
from estiba.engine.compare import Claim, Report, RungReport
from estiba.engine.compare.metrics import BY_NAME

_COLOURS = {"container": "#0f766e", "para": "#2563eb", "partial": "#7c3aed", "full": "#b45309", "docker": "#64748b", "podman": "#94a3b8"}

_STYLE = """
:root { color-scheme: light; --ink: #1c2330; --quiet: #5b6473; --line: #e3e7ee; --paper: #ffffff; --soft: #f6f8fb }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line) }
.lead { font-size: 1.1rem; color: var(--quiet); max-width: 46rem; margin: 0 0 1.5rem }
.legend { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .4rem 1.5rem }
ul { padding: 0; margin: 0; list-style: none }
.legend b { font-weight: 600 } .legend small { color: var(--quiet) }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin-right: .45rem; background: var(--c) }
.claims { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem }
.claim { background: var(--soft); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.15rem }
.claim h3 { margin: 0 0 .6rem; font-size: 1.05rem }
.claim p { margin: .3rem 0; font-size: .93rem }
.claim b { font-variant-numeric: tabular-nums }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1.75rem 2.5rem }
figure { margin: 0; break-inside: avoid }
figcaption { margin-bottom: .5rem } figcaption b { display: block } figcaption small { color: var(--quiet) }
.row { display: grid; grid-template-columns: 5.2rem 1fr 5.2rem 3rem; gap: .6rem; align-items: center; font-size: .92rem; margin: .22rem 0 }
.row .value { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.row .times { text-align: right; font-variant-numeric: tabular-nums; color: var(--quiet); font-size: .88rem }
.track { position: relative; height: 1.05rem; background: var(--soft); border-radius: 3px }
.bar { position: absolute; inset: 0 auto 0 0; width: var(--w); min-width: 2px; background: var(--c); border-radius: 3px }
.whisker { position: absolute; top: 50%; left: var(--l); width: var(--w); height: 0; border-top: 2px solid var(--ink); opacity: .55 }
.whisker::before, .whisker::after { content: ""; position: absolute; top: -5px; height: 8px; border-left: 2px solid var(--ink) }
.whisker::before { left: 0 } .whisker::after { right: 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .4rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child { text-align: left; white-space: normal }
td small { color: var(--quiet); display: block }
.quiet { color: var(--quiet); font-size: .93rem }
@media (max-width: 34rem) { .charts { grid-template-columns: 1fr } .row { grid-template-columns: 4.6rem 1fr 5rem 2.7rem } }
@media print {
  html { font-size: 12px } main { max-width: none; padding: 0 } h2 { break-after: avoid; margin-top: 2rem }
  .claims { grid-template-columns: repeat(3, 1fr) } .charts { grid-template-columns: 1fr 1fr; gap: 1.2rem 1.8rem }
  .bar, .swatch, .track, .claim { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  .scroll { overflow: visible } th, td { padding: .25rem .35rem } tr, .claim, .legend li { break-inside: avoid }
}
"""


def html(report: Report, language: str) -> str:
    """The page."""
    word = words(language)
    measured = report.measured()
    body = [
        f"<h1>{escape(word['title'])}</h1>",
        f'<p class="lead">{escape(word["subject"].format(image=report.image))}</p>',
        '<ul class="legend">' + "".join(_legend(rung, language) for rung in measured) + "</ul>",
        f"<h2>{escape(word['claims-title'])}</h2>",
        _claims(report, language),
        f"<h2>{escape(word['charts'])}</h2>",
        '<div class="charts">',
        *(_chart(report, metric, language) for metric in report.metrics()),
        "</div>",
        f"<h2>{escape(word['all'])}</h2>",
        _table(report, language),
        *_missing(report, language),
        f"<h2>{escape(word['how'])}</h2>",
        f"<p>{escape(word['how-text'].format(repeat=report.repeat))}</p>",
        f'<p class="quiet">{escape(machine_line(report, language))}</p>',
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(word['title'])}: {escape(report.image)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def _colour(rung: RungReport) -> str:
    return f"--c:{_COLOURS[rung.name]}"


def _legend(rung: RungReport, language: str) -> str:
    word = words(language)
    _, what = word["rungs"][rung.name]
    by = f", {word['carried']} {rung.version}" if rung.version else ""
    return f'<li><span class="swatch" style="{_colour(rung)}"></span><b>{rung.name}</b> <small>{escape(what + by)}</small></li>'


def _claims(report: Report, language: str) -> str:
    word = words(language)
    claims = report.claims()
    if not claims:
        return f"<p>{escape(word['no-claims'])}</p>"
    cards = []
    for key in dict.fromkeys(claim.key for claim in claims):
        lines = "".join(f"<p>{_claim(claim, language)}.</p>" for claim in claims if claim.key == key)
        cards.append(f'<div class="claim"><h3>{escape(word["claims"][key])}</h3>{lines}</div>')
    return '<div class="claims">' + "".join(cards) + "</div>"


def _claim(claim: Claim, language: str) -> str:
    """The sentence, its ratio in bold."""
    begin, end = "\ue000", "\ue001"  # of the private use area: no word has them, and escape() leaves them
    return escape(claim_text(claim, language, begin + "{}" + end)).replace(begin, "<b>").replace(end, "</b>")


def _chart(report: Report, metric: str, language: str) -> str:
    word = words(language)
    title, what = word["metrics"][metric]
    better = word["less"] if BY_NAME[metric].less_is_better else word["more"]
    rows = [rung for rung in report.measured() if metric in rung.figures]
    longest = max(rung.figures[metric].interval[1] for rung in rows) or 1.0
    drawn = "".join(_row(report, rung, metric, longest, language) for rung in rows)
    return f"<figure><figcaption><b>{escape(title)}</b><small>{escape(what)}; {escape(better)}</small></figcaption>{drawn}</figure>"


def _row(report: Report, rung: RungReport, metric: str, longest: float, language: str) -> str:
    figure = rung.figures[metric]
    low, high = figure.interval
    whisker = ""
    if high > low:
        whisker = f'<span class="whisker" style="--l:{low / longest * 100:.2f}%;--w:{(high - low) / longest * 100:.2f}%"></span>'
    bar = f'<span class="bar" style="{_colour(rung)};--w:{figure.median / longest * 100:.2f}%"></span>'
    value = escape(shown(figure.median, BY_NAME[metric].unit, language))
    times = _beside(report, rung, metric, language)
    return (
        f'<div class="row"><span>{rung.name}</span><span class="track">{bar}{whisker}</span>'
        f'<span class="value">{value}</span><span class="times">{times}</span></div>'
    )


def _beside(report: Report, rung: RungReport, metric: str, language: str) -> str:
    """How many times better the container is."""
    times = report.ratio(metric, rung)
    return f"{ratio(times, language)}×" if times is not None and rung.name != "container" else ""


def _table(report: Report, language: str) -> str:
    word = words(language)
    rungs = report.measured()
    head = "".join(f"<th>{rung.name}</th>" for rung in rungs)
    rows = []
    for metric in report.metrics():
        cells = "".join(f"<td>{_cell(report, rung, metric, language)}</td>" for rung in rungs)
        rows.append(f"<tr><td>{escape(word['metrics'][metric][0])}</td>{cells}</tr>")
    note = f'<p class="quiet">{escape(word["median"])}, {escape(word["interval"])}, {escape(word["ratio"])}</p>'
    return f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>{note}'


def _cell(report: Report, rung: RungReport, metric: str, language: str) -> str:
    figure = rung.figures.get(metric)
    if figure is None:
        return ""
    unit = BY_NAME[metric].unit
    low, high = figure.interval
    spread = f"{shown(low, unit, language)} – {shown(high, unit, language)}" if len(figure.values) > 1 else ""
    small = "".join(f"<small>{escape(text)}</small>" for text in (spread, _beside(report, rung, metric, language)) if text)
    return escape(shown(figure.median, unit, language)) + small


def _missing(report: Report, language: str) -> list[str]:
    word = words(language)
    lines = [f"{rung.name}: {rung.reason}" for rung in report.rungs if rung.reason]
    lines += [f"{rung.name}: {note}" for rung in report.rungs for note in rung.notes]
    if not lines:
        return []
    return [f"<h2>{escape(word['not-here'])}</h2>", *(f"<p>{escape(line)}</p>" for line in lines)]
