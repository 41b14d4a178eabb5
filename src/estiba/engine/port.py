"""`port`: the ports of a container that are published on the host. There are no networks yet, so it has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estiba.engine import containers
from estiba.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from estiba.store.layout import Store


def port(store: Store, name: str, private: str = "") -> list[str]:
    """Returns lines as Docker's `80/tcp -> 0.0.0.0:8080`, or for one `private` port its addresses.

    Raises NotFound (no container, or no such port of it), Conflict (an ambiguous id), InvalidArgument.
    """
    container = containers.find(store, name)
    if not private:
        return []
    number, _, protocol = private.partition("/")
    protocol = protocol.lower() or "tcp"
    is_port = number.isascii() and number.isdigit() and len(number) < 6 and 0 < int(number) < 65536
    if not is_port or protocol not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f"cannot show port {private[:60]!r}: not PORT[/PROTOCOL]", hint="for example 80 or 53/udp")
    raise NotFound(f"cannot show port {number}/{protocol} of container {container.name}: no public port '{number}/{protocol}' published")
