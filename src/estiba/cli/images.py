"""``estiba images``: list the images of the store."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, many, switch
from estiba.cli.table import format_flag, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_COLUMNS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
}
_USUAL = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_WITH_DIGESTS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")


def _run(context: Context, found: Invocation) -> int:
    if found.switch("tree"):
        from estiba.engine.tree import tree

        output.lines(tree(context.store, found.arguments).lines())
        return 0

    from estiba.engine.images import images

    rows = images(
        context.store,
        all=found.switch("all"),
        filters=found.strings("filter"),
        reference=found.arguments[0] if found.arguments else None,
    )
    if not found.switch("no-trunc"):
        for row in rows:
            row.ID = short_id(row.ID)
    if found.switch("quiet"):
        output.lines(row.ID for row in rows)
    else:
        show(rows, _COLUMNS, default=_WITH_DIGESTS if found.switch("digests") else _USUAL, form=found.string("format"))
    return 0


def short_id(image: str) -> str:
    """The twelve digits that Docker shows of ``sha256:...``."""
    return image.partition(":")[2][:12] or image


COMMAND = Command(
    "images",
    "List images",
    _run,
    usage="[REPOSITORY[:TAG]]",
    sections={
        "Options": [
            switch("all", "Also what has no name", short="a"),
            switch("digests", "Show the digests of the manifests"),
            many("filter", "dangling=, label=, before=, since=, until=, reference=", short="f", value="key=value"),
            format_flag("Go template"),
            switch("no-trunc", "Show ids in full"),
            switch("quiet", "Show ids only", short="q"),
            switch("tree", "Show the layers and who shares them, as 'estiba image tree'"),
        ]
    },
    examples=[
        ("estiba images 'local/*'", "those of a repository"),
        ("estiba images --filter dangling=true -q", "the ids of images without a name"),
        ("estiba images --format '{{.Repository}}:{{.Tag}} {{.Size}}'", "lines of one's own"),
    ],
    aliases=("image ls", "image list"),
    most=1,
    complete="image",
)
