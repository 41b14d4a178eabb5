"""What of a guest's plan can be done before the guest is parked: for all containers that begin there. Pure. On the start path of QEMU."""

from __future__ import annotations

from estiba.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from estiba.plan.ops import Op

_CODES = {name: code for code, name in ops.NAMES.items()}
_FILE, _HELD, _CONTENT = _CODES["guest_file"], _CODES["held_file"], _CODES["content"]
_STREAMS, _PIVOT, _NAMES = _CODES["streams"], _CODES["pivot"], (_CODES["hostname"], _CODES["domainname"])


def split(plan: Sequence[Op], warm: Iterable[str] = ()) -> tuple[list[Op], list[Op]]:
    """Returns a plan in two parts: up to the pivot, with `rest` at its end, and what is the container's own.

    What differs from one container to the next is in the second: its names, the content of its files, all that becomes its program. The
    size of a terminal is told when there is one. The files `warm` are read before, since the program may well need them.
    """
    first: list[Op] = []
    own: list[Op] = []
    held: list[Op] = []
    for number, op in enumerate(plan):
        if op[0] == _FILE:
            first.append((*op[:3], b""))
            own.append((_CONTENT, len(held), op[3]))
            held.append((_HELD, op[1]))
        elif op[0] in _NAMES:
            own.append(op)
        elif op[0] == _STREAMS:
            first.append((*op[:3], 0, 0))
        elif op[0] == _PIVOT:
            return [*first, *held, op, ops.warm(list(warm)), ops.rest()], [*own, *plan[number + 1 :]]
        else:
            first.append(op)
    raise ValueError("the plan makes no root")


def likely(environment: Iterable[str]) -> list[str]:
    """Returns files that are likely to be read while a program of this environment starts: what tells who it is, and a shell.

    To look for the shell in every folder of PATH brings these folders along.
    """
    path = next((word[5:] for word in environment if word.startswith("PATH=")), "")
    return ["/etc/passwd", "/etc/group", *(f"{folder}/sh" for folder in path.split(":") if folder.startswith("/"))]
