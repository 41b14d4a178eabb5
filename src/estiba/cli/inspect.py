"""``estiba inspect``: everything about containers and images, as JSON."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch
from estiba.errors import EstibaError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.template import Template

    form = found.string("format")
    template = Template(form) if form not in ("", "json") else None
    documents: list[dict[str, object]] = []
    failures: list[EstibaError] = []
    for name in found.arguments:
        try:
            documents.append(_inspect(context, found, name))
        except EstibaError as error:
            failures.append(error)
    if template:
        output.raw("".join(template.render(document) + "\n" for document in documents))
    else:
        output.raw(_as_json(documents, indent=None if form == "json" else 4))
    return output.failures(failures)


def _inspect(context: Context, found: Invocation, name: str) -> dict[str, object]:
    """A container, else an image, as Docker looks for them."""
    from estiba.engine.inspect import inspect
    from estiba.engine.inspect_container import inspect_container

    kind = found.string("type")
    if kind != "image":
        try:
            return inspect_container(context.store, context.settings, name, size=found.switch("size"))
        except NotFound:
            if kind == "container":
                raise
    try:
        return inspect(context.store, name, platform=found.string("platform") or None)
    except NotFound:
        if kind:
            raise
        raise NotFound(f"cannot inspect {name!r}: no such container or image") from None


def _as_json(documents: list[dict[str, object]], indent: int | None) -> str:
    import json

    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(documents, indent=indent, separators=separators, ensure_ascii=False) + "\n"


COMMAND = Command(
    "inspect",
    "Show everything about containers and images, as JSON",
    _run,
    usage="NAME [NAME...]",
    sections={
        "Options": [
            Flag("format", "'json' or a Go template", short="f", value="template"),
            Flag("platform", "Platform of the image, if it has several", value="os/arch"),
            switch("size", "Also the bytes that a container wrote", short="s"),
            Flag("type", "What the names are, else a container or an image", value="type", choices=("container", "image")),
        ]
    },
    examples=[
        ("estiba inspect alpine", "all of it"),
        ("estiba inspect -f '{{.State.Status}}' web", "of a container"),
        ("estiba inspect -f '{{json .RootFS.Layers}}' alpine", "its layers"),
        ("estiba inspect -f '{{index .Config.Labels \"version\"}}' app", "one label"),
    ],
    aliases=("image inspect", "container inspect", "kernel inspect"),
    least=1,
    most=None,
    complete="image",
)
