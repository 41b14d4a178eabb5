"""Names of containers, and names for those that were not given one: an adjective and a thing of ships and harbours, `calm_anchor`.

``containers/names/<name>`` is a link to the container's id. The folder of a container that goes with its run, by --rm or `rm -f`, has a
link `name` to its name, by which its monitor finds the entry at the end; without the link the container stays (helper/ops.toml,
`discard`). On the start path.
"""

from __future__ import annotations

import os

from estiba.errors import Conflict
from estiba.linux.locks import wait_flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.config.settings import Settings
    from estiba.store.layout import Store

_ADJECTIVES = (
    "able amber ample azure balmy bold brave breezy bright brisk broad busy calm candid careful cheery chief civil clean clear clever "
    "coastal cool coral cosy crisp curly daring deep deft distant dry early easy eager even fair famous fast fine firm fleet fond frank "
    "free fresh gentle glad golden grand green handy happy hardy hearty humble ivory jade jolly keen kind large light lively loyal "
    "lucid lucky mellow merry mild misty modest neat nimble noble northern ochre olive open patient plain polite prime proud quick "
    "quiet rapid ready robust rosy round royal ruby rustic salty sandy serene sharp shiny silent silver simple sleek smart smooth snug "
    "sober solar solid sound southern spry stable steady still stout strong sunny sure swift tall tidy tranquil trim true upbeat vast "
    "verdant vivid warm wide willing windy wise witty young zesty"
).split()
_THINGS = (
    "albatross anchor anemone atoll backstay ballast barge bay beacon berth bilge binnacle boat boom bosun bow breeze brig bulkhead "
    "buoy cabin cable canal canoe canvas capstan caravel cargo cay chart cleat clipper coast compass coral cove crane crate current "
    "cutter davit deck dhow dinghy dock dolphin dory drift ebb eddy estuary fathom fender ferry fjord fleet foghorn forestay frigate "
    "galleon galley gangway gull gunwale halyard hamper harbour hatch haven hawser heron hold hull isle islet jetty jib junk kayak keel "
    "kelp ketch knot lagoon lantern latitude lighter limpet logbook longboat lugger mainsail manatee manifest marlin marina mast mizzen "
    "mole mooring narwhal nautilus oar orca osprey outrigger paddle pelican petrel pier pilot pinnace plank porpoise porthole puffin "
    "pulley punt quay raft reef rigging ripple rudder runner sail sampan schooner scow seal sextant shackle shoal shore skiff sloop "
    "sounding spar spinnaker spray starboard starfish stay stern strait surf swell tackle tanker tern tide tiller topsail trawler "
    "trident tugboat turtle voyage walrus wharf wherry whistle winch wind yacht yawl"
).split()
#: From here on a number is added: the lists are getting full, or chance is unkind.
_PLAIN_TRIES = 8
#: The lock of the names is held for microseconds, unless its holder was stopped.
_PATIENCE_SECONDS = 1.0


def name_for(attempt: int) -> str:
    """A name by chance; `attempt` counts from 0 those that turned out to be taken."""
    chance = int.from_bytes(os.urandom(8), "little")
    chance, first = divmod(chance, len(_ADJECTIVES))
    chance, second = divmod(chance, len(_THINGS))
    suffix = str(chance % 10 ** min(attempt - _PLAIN_TRIES + 1, 9)) if attempt >= _PLAIN_TRIES else ""
    return f"{_ADJECTIVES[first]}_{_THINGS[second]}{suffix}"


def free_name(store: Store) -> str:
    """A name by chance that nobody has at this moment."""
    attempt = 0
    while os.path.lexists(f"{store.names}/{(name := name_for(attempt))}"):
        attempt += 1
    return name


def take(store: Store, settings: Settings, container_id: str, name: str) -> str | None:
    """Takes the name for the container; returns the id of the container that has it already, if there is one.

    The link is the lock: of any number of processes one succeeds. One whose container has another name, or is gone, is what a
    killed `rm` or `rename` left, and is taken over.
    """
    path = f"{store.names}/{name}"
    while True:
        try:
            os.symlink(container_id, path)
        except FileExistsError:
            pass
        else:
            return None
        holder = _holder(path)
        if holder == container_id:
            return None
        if holder and not _release_if_left(store, settings, name):
            return holder


def release(path: str, container_id: str, condition: Callable[[str], bool] | None = None) -> bool:
    """Gives the name at `path` up where it is the container's; False when `condition` does not hold of its id then.

    Whoever removes a link locks the folder, so that it is still the link that was looked at. False, too, while somebody who stands still
    has that lock: a link that leads to no container of its name does no harm.
    """
    try:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # the whole store was removed
    try:
        try:
            wait_flock(folder, os.path.dirname(path), "the names of containers", _PATIENCE_SECONDS)
        except Conflict:
            return False
        if _holder(path) != container_id:
            return True
        if condition is not None and not condition(container_id):
            return False
        os.unlink(path)
        return True
    finally:
        os.close(folder)


def tidy(store: Store, settings: Settings, containers: int) -> None:
    """Takes away what killed commands left, where there are more names than `containers`."""
    found = os.listdir(store.names)
    for name in found if len(found) > containers else ():
        _release_if_left(store, settings, name)


def _release_if_left(store: Store, settings: Settings, name: str) -> bool:
    """Gives up a name that leads to no container, or to one of another name."""
    path = f"{store.names}/{name}"
    holder = _holder(path)
    return not holder or release(path, holder, lambda holder: _is_left(store, settings, holder, name))


def will_go(folder: str, name: str) -> None:
    """From now on the container of that name goes with the end of its run. By whoever holds its lock, or makes it."""
    may_go(folder, name)
    goes_now(folder)


def may_go(folder: str, name: str) -> None:
    """Prepares `goes_now`, which is quick then; without it this says nothing."""
    new = f"{folder}/name.new"
    try:
        os.unlink(new)  # of a command that was killed here
    except FileNotFoundError:
        pass
    os.symlink(name, new)


def goes_now(folder: str) -> None:
    """The second half of `will_go`."""
    os.rename(f"{folder}/name.new", f"{folder}/name")


def will_stay(folder: str) -> None:
    """The container is kept when its run ends."""
    try:
        os.unlink(f"{folder}/name")
    except FileNotFoundError:
        return


def goes(folder: str) -> str:
    """The name of a container that goes with its run, "" for one that stays."""
    return _holder(f"{folder}/name")


def _holder(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _is_left(store: Store, settings: Settings, holder: str, name: str) -> bool:
    """Tells whether the holder is no container, or one of another name. A container that is just being made has a record; one that is
    just being renamed is locked.
    """
    from estiba.engine import containers, records
    from estiba.errors import DataLoss, NotFound
    from estiba.linux.locks import Lock

    if records.read(settings, holder) is not None and not os.path.exists(f"{store.containers}/{holder}/state.json"):
        return False
    try:
        container = containers.read(store, holder)
        if container is not None and container.name != name:
            with Lock(f"{container.folder}/lock", timeout=0):
                container = containers.again(store, container)
    except NotFound:
        return True
    except (Conflict, DataLoss):
        return False
    return container is None or container.name != name
