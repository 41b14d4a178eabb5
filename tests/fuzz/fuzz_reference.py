"""Coverage-guided fuzzing of the reference parser: `python -m tests.fuzz.fuzz_reference [-runs=N] [CORPUS]`.

Whatever is accepted reads back as itself, in every form, and has a file name that stays in its folder.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["estiba"]):
    from estiba.oci.digest import parse_digest
    from estiba.oci.platform import parse_platform
    from estiba.oci.reference import parse_canonical, parse_reference
    from estiba.oci.user import parse_user
    from estiba.store.references import file_name

from estiba.errors import InvalidArgument


def one_input(data: bytes) -> None:
    """Reads `data` as a reference, a digest, a platform and a user."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (parse_digest, parse_platform, parse_user):
        try:
            parse(text)
        except InvalidArgument as error:
            if "\n" in error.message:
                raise AssertionError("a message of two lines") from None
    try:
        reference = parse_reference(text)
    except InvalidArgument as error:
        if "\n" in error.message:
            raise AssertionError("a message of two lines") from None
        return
    if parse_canonical(reference.canonical) != reference or parse_reference(reference.familiar) != reference:
        raise AssertionError("the reference does not read back")
    name = file_name(reference)
    if "/" in name or name in {".", ".."} or len(name.encode()) > 255:
        raise AssertionError("the file name leaves its folder")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
