"""A process that unpacks layers, one after another, for another process of ours that fetches them (workers.py).

Standard input holds jobs: a line of JSON, and when it was asked for the layer's compressed bytes: pieces with their length before them
(u32, little endian), at last an empty one, which says that the blob was what its digest says. An end before that is the sender's death
or its change of mind: nothing is published, and what was made is removed. Standard output holds lines of JSON with one key:

    {"want": true}                  the layer is not here: its bytes, please
    {"note": text}                  what could not be made
    {"done": true}                  it is unpacked and on the disk, or was there already
    {"error": [kind, message, hint]}
"""

from __future__ import annotations

import gc
import os
from importlib import import_module
from struct import Struct

from estiba.config.settings import unpack
from estiba.errors import Cancelled, EstibaError
from estiba.oci.digest import parse_diff_id
from estiba.oci.strict_json import as_dict, dumps, get_str, loads
from estiba.store.layers.apply import apply_layer
from estiba.store.layers.info import LayerBlob
from estiba.store.layout import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from estiba.config.settings import Settings

PIECE = Struct("<I")
_BUFFER = 1 << 18


def main(text: str) -> None:
    """The process: the settings as `config.settings.pack` gave them."""
    for name in ("isal.igzip_lib", "isal.isal_zlib", "zstandard"):
        import_module(name)  # now, and not when the first layer waits
    gc.disable()  # nothing of what is made here in great numbers is a cycle
    settings = unpack(text)
    store = Store.open(settings)
    with open(0, "rb", _BUFFER, closefd=False) as source:
        try:
            for line in source:
                _do(store, settings, line, source)
        except Cancelled:
            raise SystemExit(1) from None


def _do(store: Store, settings: Settings, line: bytes, source: BinaryIO) -> None:
    job = as_dict(loads(line, what="the job"), "the job")
    diff_id = parse_diff_id(get_str(job, "diffID", "the job"))
    blob = LayerBlob.from_json(job["blob"], "the job")
    try:
        with store.using():
            apply_layer(store, settings, diff_id, blob.media_type, _pieces(source), blob=blob, progress=_Notes())
        _say("done", value=True)
    except Cancelled:
        raise
    except EstibaError as error:
        _say("error", [type(error).__name__, error.message, error.hint])
        raise SystemExit(1) from None  # what is left of this layer's bytes is in the way of another job


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    _say("want", value=True)
    while size := PIECE.unpack(_exactly(source, PIECE.size))[0]:
        yield _exactly(source, size)


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise _gone()
    return data


class _Notes:
    def note(self, text: str, /) -> None:
        _say("note", text)


def _say(key: str, value: object) -> None:
    line = dumps({key: value}) + b"\n"
    try:
        while line:
            line = line[os.write(1, line) :]
    except BrokenPipeError:
        raise _gone() from None


def _gone() -> Cancelled:
    return Cancelled("cannot unpack layer: its sender is gone")
