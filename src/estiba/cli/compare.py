"""``estiba compare``: the same image on every rung, from a container to a full virtual machine, measured."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, many, switch
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context
    from estiba.engine.compare import Report

_FORMS = ("table", "json", "html", "markdown")


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.progress import progress_for
    from estiba.engine.compare import NAMES, compare

    image, *command = found.arguments
    path = found.string("output")
    if path:
        _check_place(path)  # what is measured for minutes is not lost
    chosen = [name for value in found.strings("on") for name in value.split(",") if name] or list(NAMES)
    with progress_for(quiet=found.switch("quiet")) as progress:
        report = compare(
            context.store,
            context.settings,
            image,
            command,
            on=chosen,
            repeat=_repeat(found.string("repeat")),
            config=context.config,
            progress=progress,
        )
    text = _text(report, found.string("format"), found.string("language") or _language())
    if path:
        _write(path, text)
    else:
        output.write(text)
    return 0 if report.measured() else 1


def _repeat(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text[:6]) < 100000:
        return int(text)
    raise InvalidArgument(f"cannot use --repeat {text!r}: it is not a number from 1 to 99999")


def _language() -> str:
    import os

    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)
        if value:
            return "es" if value.startswith("es") else "en"
    return "en"


def _text(report: Report, form: str, language: str) -> str:
    if form == "json":
        import json

        return json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n"
    if form == "html":
        from estiba.cli.compare_html import html

        return html(report, language)
    from estiba.cli import compare_text

    if form == "markdown":
        lines = compare_text.markdown(report, language)
    else:
        lines = compare_text.terminal(report, language, output.width(), colour=output.has_colour(output.STDOUT))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _check_place(path: str) -> None:
    import os

    folder = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.access(folder, os.W_OK):
        raise InvalidArgument(f"cannot write {path}: {'it is a folder' if os.path.isdir(path) else f'{folder} cannot be written to'}")


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InvalidArgument(f"cannot write {path}: {(error.strerror or 'failed').lower()}") from error


COMMAND = Command(
    "compare",
    "Measure an image as a container and as virtual machines",
    _run,
    usage="IMAGE [COMMAND] [ARG...]",
    sections={
        "Options": [
            Flag("format", "How to write the report", value="form", default="table", choices=_FORMS),
            Flag("language", "Language of the report, else that of the environment", value="which", choices=("en", "es")),
            many("on", "Rungs to measure: container, para, partial, full, docker, podman", value="rung,..."),
            Flag("output", "Write the report to this file", short="o", value="file", complete="file"),
            switch("quiet", "Show no progress", short="q"),
            Flag("repeat", "How often times are taken", value="number", default="10"),
        ]
    },
    about="""Every rung runs the same image with the same small program. Rungs that do not work on this machine are named with the
    reason. COMMAND, when given, is what the times are taken of, instead of that program's own start.""",
    examples=[
        ("estiba compare alpine", "all rungs that work here, as a table with bars"),
        ("estiba compare --on container,para --repeat 30 alpine", "two of them, more exactly"),
        ("estiba compare --format html -o report.html alpine", "a page with charts to read or to print"),
    ],
    least=1,
    most=None,
    flags_end=2,
    complete="image",
)
