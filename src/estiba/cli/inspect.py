"""``estiba inspect``: everything about images, as JSON."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag
from estiba.errors import EstibaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.template import Template
    from estiba.engine.inspect import inspect

    form = found.string("format")
    template = Template(form) if form not in ("", "json") else None
    documents: list[dict[str, object]] = []
    failures: list[EstibaError] = []
    for name in found.arguments:
        try:
            documents.append(inspect(context.store, name, platform=found.string("platform") or None))
        except EstibaError as error:
            failures.append(error)
    if template:
        output.raw("".join(template.render(document) + "\n" for document in documents))
    else:
        output.raw(_as_json(documents, indent=None if form == "json" else 4))
    return output.failures(failures)


def _as_json(documents: list[dict[str, object]], indent: int | None) -> str:
    import json

    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(documents, indent=indent, separators=separators, ensure_ascii=False) + "\n"


COMMAND = Command(
    "inspect",
    "Show everything about images, as JSON",
    _run,
    usage="IMAGE [IMAGE...]",
    sections={
        "Options": [
            Flag("format", "'json' or a Go template", short="f", value="template"),
            Flag("platform", "Platform of the image, if it has several", value="os/arch"),
            Flag("type", "What the names are", value="type", default="image", choices=("image",)),
        ]
    },
    examples=[
        ("estiba inspect alpine", "all of it"),
        ("estiba inspect -f '{{json .RootFS.Layers}}' alpine", "its layers"),
        ("estiba inspect -f '{{index .Config.Labels \"version\"}}' app", "one label"),
    ],
    aliases=("image inspect", "kernel inspect"),
    least=1,
    most=None,
    complete="image",
)
