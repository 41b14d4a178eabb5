"""Errors that a start meets seldom: a bind whose source cannot be opened, a layer whose owners the container does not have."""

from __future__ import annotations

from estiba.errors import EstibaError, FailedPrecondition, InvalidArgument, PermissionDenied
from estiba.oci.digest import DiffID
from estiba.store.layers import layer_info
from estiba.store.layout import Store


def cannot_bind(source: str, target: str, error: OSError) -> EstibaError:
    """Returns what to raise; a missing folder is not made as root behind the caller's back."""
    message = f"cannot mount {source} on {target}: {(error.strerror or 'it cannot be opened').lower()}"
    if source.startswith("/dev/") and isinstance(error, FileNotFoundError):
        return InvalidArgument(f"cannot use device {source}: there is no such device")
    if isinstance(error, PermissionError):
        return PermissionDenied(message)
    if isinstance(error, FileNotFoundError):
        return InvalidArgument(message, hint=f"make it first: mkdir -p {source}; or --mount type=bind,bind-create-src,...")
    return InvalidArgument(message)


def cannot_map(store: Store, diff_id: DiffID, reference: str, room: int) -> EstibaError:
    """Returns what to raise for a layer with a file whose owner is outside the container's ids, 0 to `room` - 1."""
    info = layer_info(store, diff_id)
    kind, (number, path) = max((("uid", info.highest_uid), ("gid", info.highest_gid)), key=lambda entry: entry[1][0])
    return FailedPrecondition(
        f"cannot run {reference}: {path} belongs to {kind} {number}, and a container has the ids 0 to {room - 1}",
        hint="root can run it without a user namespace: --userns host",
    )
