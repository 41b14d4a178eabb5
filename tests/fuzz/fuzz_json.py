"""Coverage-guided fuzzing of the JSON readers: `python -m tests.fuzz.fuzz_json [-runs=N] [CORPUS]` (libFuzzer's options).

The fast reader and the careful one must agree on every input, and what they accept the standard module accepts, equally.
"""

from __future__ import annotations

import json
import sys

import atheris

with atheris.instrument_imports(include=["estiba"]):
    from estiba.errors import DataLoss
    from estiba.oci.image_config import parse_image_config
    from estiba.oci.json_reader import Invalid, read
    from estiba.oci.manifest import parse_manifest
    from estiba.oci.strict_json import dumps, loads

from estiba.errors import EstibaError


def one_input(data: bytes) -> None:
    """Reads `data` in every way there is."""
    for parse in (parse_manifest, parse_image_config):
        try:
            parse(data)
        except EstibaError:
            continue
    try:
        value = loads(data, what="x")
    except DataLoss:
        refused = True
    else:
        refused = False
        if repr(json.loads(data)) != repr(value):
            raise AssertionError("the standard module reads something else")
        if repr(loads(dumps(value), what="x")) != repr(value):
            raise AssertionError("what is written does not read back")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        read(text, depth_max=64)
    except Invalid:
        if not refused:
            raise AssertionError("only the careful reader refuses") from None
    else:
        if refused and not data.startswith(b"\xef\xbb\xbf"):
            raise AssertionError("only the fast reader refuses")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
