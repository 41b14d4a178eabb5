"""A system-call filter that is not the ready-made one: other capabilities, a 386 image, or the caller's profile."""

from __future__ import annotations

import os
from collections.abc import Sequence

from estiba.errors import InvalidArgument
from estiba.runtime import seccomp

_LIMIT = 4 * 1024 * 1024


def compile_filter(document: bytes | None, name: str, machine: str, held: Sequence[str], *, with_i386: bool) -> bytes:
    """Returns the filter of a profile in Docker's JSON, or of our own profile; `name` is for messages.

    Raises InvalidArgument, DataLoss for a profile that cannot be used.
    """
    if document is None:
        return seccomp.profile_filter(machine, held, with_i386=with_i386)
    major, minor = os.uname().release.split(".")[:2]
    kernel = (int(major), int("".join(digit for digit in minor if digit.isdigit()) or 0))
    return seccomp.docker_filter(document, machine, held, kernel, name)


def read_profile(profile: str) -> bytes:
    """The content of a profile's file. Raises InvalidArgument when it cannot be read."""
    try:
        with open(profile, "rb") as file:
            return file.read(_LIMIT + 1)
    except OSError as error:
        raise InvalidArgument(
            f"cannot read seccomp profile {profile}: {(error.strerror or 'it cannot be opened').lower()}",
            hint="--security-opt seccomp=FILE, a profile in Docker's format, or seccomp=unconfined",
        ) from error
