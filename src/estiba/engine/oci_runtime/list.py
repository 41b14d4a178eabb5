"""`list`: the containers of a root."""

from __future__ import annotations

import os

from estiba.engine.oci_runtime.state import every

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def containers(root: str) -> list[dict[str, Any]]:
    """One row for each container: its state, when it was created, and who owns it."""
    rows = []
    for state in every(root):
        try:
            owner = os.stat(state.folder).st_uid
        except FileNotFoundError:
            continue  # removed at this moment
        rows.append({**state.json(), "created": state.created, "owner": _user_name(owner)})
    return rows


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
