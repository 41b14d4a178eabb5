"""Makes the image of a machine monitor: QEMU with its libraries, its loadable parts and its firmware, as this machine has them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from estiba.config.settings import Settings
from estiba.engine.from_host import layer_tar, newest_time
from estiba.engine.host_files import MULTIARCH, HostFiles
from estiba.engine.new_image import add_image, add_layer, encode, new_config, new_name
from estiba.engine.units import format_time
from estiba.errors import FailedPrecondition, NotFound
from estiba.oci.digest import DiffID
from estiba.oci.platform import parse_platform
from estiba.store.layout import Store

REPOSITORY = "localhost/qemu"
#: The packages that have each program: Debian's and Ubuntu's, then Fedora's.
_PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86 (Fedora: qemu-system-x86-core)",
    "qemu-system-aarch64": "qemu-system-arm (Fedora: qemu-system-aarch64-core)",
}


def make(
    store: Store, settings: Settings, name: str, *, modules: Sequence[str], firmware: Sequence[str], state: Callable[[str], str]
) -> tuple[DiffID, str, list[str]]:
    """Makes the image of the program `name`, under a name of its own, with those of its `modules` and files of `firmware` that there are.

    Returns its layer, its path there, and the `state` of each file of this machine that it was made of, asked before that was read.
    Raises FailedPrecondition when this machine has no such program, PermissionDenied, DataLoss, ResourceExhausted.
    """
    files = HostFiles()
    try:
        path = files.add_program(name)
    except NotFound as error:
        raise FailedPrecondition(f"cannot run a machine: {name} is missing", hint=f"install the package {_PACKAGES[name]}") from error
    machine = name.removeprefix("qemu-system-")
    for part in (*_modules(files.architecture, machine, modules), *_firmware(path, firmware)):
        files.add_path(part)
    files.finish()
    taken = [path for path, entry in files.entries.items() if entry.kind == "file" and entry.content is None]
    states = [state(each) for each in taken]
    newest = newest_time(files.entries)
    with store.using():
        layer = add_layer(store, settings, layer_tar(files.entries, newest))
        moment = format_time(datetime.fromtimestamp(newest, UTC))
        document = new_config(parse_platform(f"linux/{files.architecture}"), moment, [layer], {"Entrypoint": [path]})
        document["history"] = [{"created": moment, "created_by": f"estiba: {name} of this machine"}]
        add_image(store, encode(document), [layer], new_name(store, f"{REPOSITORY}:{machine}", "name a machine monitor"))
    return DiffID(layer.digest), path, states


def _modules(architecture: str, machine: str, wanted: Sequence[str]) -> list[str]:
    """QEMU looks for its modules in one folder, which its build chose (configure, --libdir)."""
    folders = [f"/usr/lib/{MULTIARCH.get(architecture, '')}/qemu", "/usr/lib64/qemu", "/usr/lib/qemu"]
    names = [name.format(machine=machine) for name in wanted]
    return [path for folder in folders for name in names if os.path.isfile(path := f"{folder}/{name}")]


def _firmware(program: str, wanted: Sequence[str]) -> list[str]:
    """QEMU says in which folders it looks for its data files, in their order."""
    done = subprocess.run([program, "-L", "help"], capture_output=True, text=True, check=False, env={})
    folders = done.stdout.split()
    found = [next((path for folder in folders if os.path.isfile(path := f"{folder}/{name}")), None) for name in wanted]
    return [path for path in found if path is not None]
