"""The error for a bind whose source cannot be opened."""

from __future__ import annotations

from estiba.errors import EstibaError, InvalidArgument, PermissionDenied


def cannot_bind(source: str, target: str, error: OSError) -> EstibaError:
    """Returns what to raise; a missing folder is not made as root behind the caller's back."""
    message = f"cannot mount {source} on {target}: {(error.strerror or 'it cannot be opened').lower()}"
    if isinstance(error, PermissionError):
        return PermissionDenied(message)
    if isinstance(error, FileNotFoundError):
        return InvalidArgument(message, hint=f"make it first: mkdir -p {source}; or --mount type=bind,bind-create-src,...")
    return InvalidArgument(message)
