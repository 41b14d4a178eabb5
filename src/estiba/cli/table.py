"""Lists on standard output: Docker's columns, ``--format`` and ``--quiet``. On the start path of ``ps``."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Docker's tabwriter: cells at least 10 wide, 3 spaces between them (cli/command/formatter/formatter.go).
_LEAST_WIDTH = 10
_PADDING = 3


def format_flag(what: str = "Go template") -> Flag:
    """``--format`` for a list."""
    return Flag("format", f"'table', 'table TEMPLATE', 'json' or a {what} for each line", value="template")


def cell_width(text: str) -> int:
    """Columns of the terminal that `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def aligned(rows: Sequence[Sequence[str]], *, least: int = _LEAST_WIDTH) -> list[str]:
    """Lines with their cells under each other; the last cell of a line is not padded."""
    shown = [[output.escape(cell) for cell in row] for row in rows]
    widths: list[int] = []
    for row in shown:
        for at, cell in enumerate(row[:-1]):
            need = max(least, cell_width(cell) + _PADDING)
            if at == len(widths):
                widths.append(need)
            widths[at] = max(widths[at], need)
    return ["".join(cell + " " * (widths[at] - cell_width(cell)) for at, cell in enumerate(row[:-1])) + row[-1] for row in shown]


def show(
    rows: Sequence[object],
    columns: Mapping[str, str],
    *,
    default: Sequence[str] | None = None,
    form: str = "",
    redraw: bool = False,
    gives_way: str = "",
) -> None:
    """Write a list of objects as a table, as JSON lines or through a template.

    Parameters:
        rows: objects whose attributes are the fields.
        columns: field -> heading, for every field that there is.
        default: the fields of the usual table, if not all.
        form: the value of ``--format``.
        redraw: whether a usual table takes the place of what the terminal shows, and no more is rewritten than that: it does not flicker.
        gives_way: the field that is cut short where a table that is redrawn would be wider than its terminal.
    Raises InvalidArgument for a wrong template, also when there are no rows.
    """
    if form == "json":
        _show_json(rows, columns)
    elif form in ("", "table"):
        fields = list(default or columns)
        table = [[columns[field] for field in fields], *([_cell(row, field) for field in fields] for row in rows)]
        if redraw and gives_way in fields:
            _narrow(table, fields.index(gives_way))
        _show_table(table, redraw=redraw)
    else:
        _show_template(rows, columns, form)


def _narrow(table: list[list[str]], at: int) -> None:
    """Cuts the cells of a column short, as far as lines would be too long for the terminal, and its heading is not."""
    too_long = max(map(cell_width, aligned(table))) - output.width()
    longest = max(cell_width(row[at]) for row in table)
    room = max(longest - max(too_long, 0), cell_width(table[0][at]), _LEAST_WIDTH - _PADDING)
    for row in table:
        row[at] = clipped(row[at], room)


def clipped(text: str, width: int) -> str:
    """The text in as many columns of the terminal, with an ellipsis for what is cut off."""
    if cell_width(text) <= width:
        return text
    while text and cell_width(text) >= width:
        text = text[:-1]
    return f"{text}…"


def _cell(row: object, field: str) -> str:
    value = getattr(row, field)
    if type(value) is str:
        return value
    from estiba.cli.template_functions import to_text

    return to_text(value)


def _show_json(rows: Sequence[object], columns: Mapping[str, str]) -> None:
    from estiba.cli.template_functions import to_json

    output.raw("".join(to_json({field: getattr(row, field) for field in sorted(columns)}) + "\n" for row in rows))


def _show_template(rows: Sequence[object], columns: Mapping[str, str], form: str) -> None:
    from estiba.cli.template import Template

    source = form.removeprefix("table").strip(" ") if form.startswith("table ") else form
    template = Template(source.replace("\\t", "\t").replace("\\n", "\n"))
    heading = template.render(_Headings(columns))  # names a wrong field even when there are no rows
    texts = [template.render(row) for row in rows]
    if form.startswith("table "):
        _show_table([text.split("\t") for text in (heading, *texts)])
    else:
        output.raw("".join(text + "\n" for text in texts))


class _Headings(dict[str, object]):
    """The headings as an object of the template; a row's methods (``.Label "k"``) give their argument."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        super().__init__(columns)
        self["Label"] = str


def _show_table(rows: Sequence[Sequence[str]], *, redraw: bool = False) -> None:
    lines = aligned(rows)
    if output.has_colour(output.STDOUT):
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    # ECMA-48: cursor to the top, erase to the end of each line, and behind the last.
    begin, rest, end = ("\x1b[H", "\x1b[K", "\x1b[J") if redraw else ("", "", "")
    output.write(begin + "".join(f"{line.rstrip()}{rest}\n" for line in lines) + end)
