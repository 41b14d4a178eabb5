"""estiba: a container engine that is a Python library.

The names below are the library's face. Each is loaded when it is first used, so that ``import estiba`` costs nothing and the
command line pays only for the verb that was called (PEP 562). What a name takes, returns and raises stands in its docstring.

    >>> import estiba
    >>> settings = estiba.load_settings()
    >>> store = estiba.Store.open(settings)
    >>> estiba.pull(store, settings, "alpine").id
    >>> estiba.run(store, settings, estiba.RunOptions("alpine", ["true"]), stay=True)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings as Settings
    from estiba.config.settings import load as load_settings  # noqa: F401 - the type checkers' twin of _FACE
    from estiba.engine.bundle import bundle as bundle
    from estiba.engine.check import check as check
    from estiba.engine.commit import commit as commit
    from estiba.engine.cp import cp as cp
    from estiba.engine.df import df as df
    from estiba.engine.diff import diff as diff
    from estiba.engine.events import events as events
    from estiba.engine.exec import exec_ as exec_
    from estiba.engine.exec_child import capture as capture
    from estiba.engine.export import export as export
    from estiba.engine.from_host import from_host as from_host
    from estiba.engine.history import history as history
    from estiba.engine.images import images as images
    from estiba.engine.import_ import import_ as import_
    from estiba.engine.inspect import inspect as inspect
    from estiba.engine.inspect_container import inspect_container as inspect_container
    from estiba.engine.kill import kill as kill
    from estiba.engine.load import load as load
    from estiba.engine.login import login as login
    from estiba.engine.logout import logout as logout
    from estiba.engine.logs import logs as logs
    from estiba.engine.progress import Progress as Progress
    from estiba.engine.prune import prune as prune
    from estiba.engine.ps import ps as ps
    from estiba.engine.pull import pull as pull
    from estiba.engine.push import push as push
    from estiba.engine.rename import rename as rename
    from estiba.engine.restart import restart as restart
    from estiba.engine.rm import rm as rm
    from estiba.engine.rmi import rmi as rmi
    from estiba.engine.run import run as run
    from estiba.engine.save import save as save
    from estiba.engine.stack import stack as stack
    from estiba.engine.start import start as start
    from estiba.engine.stop import stop as stop
    from estiba.engine.tag import tag as tag
    from estiba.engine.top import top as top
    from estiba.engine.tree import tree as tree
    from estiba.engine.wait import wait as wait
    from estiba.errors import EstibaError as EstibaError
    from estiba.oci.platform import Platform as Platform
    from estiba.oci.reference import Reference as Reference
    from estiba.oci.reference import parse_reference as parse_reference
    from estiba.runtime.options import MountRequest as MountRequest
    from estiba.runtime.options import RunOptions as RunOptions
    from estiba.store.images import Image as Image
    from estiba.store.layout import Store as Store

__version__ = "0.1.0"

# name -> (module, its name there)
_FACE = {
    "EstibaError": ("estiba.errors", "EstibaError"),
    "Image": ("estiba.store.images", "Image"),
    "MountRequest": ("estiba.runtime.options", "MountRequest"),
    "Platform": ("estiba.oci.platform", "Platform"),
    "Progress": ("estiba.engine.progress", "Progress"),
    "Reference": ("estiba.oci.reference", "Reference"),
    "RunOptions": ("estiba.runtime.options", "RunOptions"),
    "Settings": ("estiba.config.settings", "Settings"),
    "Store": ("estiba.store.layout", "Store"),
    "bundle": ("estiba.engine.bundle", "bundle"),
    "capture": ("estiba.engine.exec_child", "capture"),
    "check": ("estiba.engine.check", "check"),
    "commit": ("estiba.engine.commit", "commit"),
    "cp": ("estiba.engine.cp", "cp"),
    "df": ("estiba.engine.df", "df"),
    "diff": ("estiba.engine.diff", "diff"),
    "events": ("estiba.engine.events", "events"),
    "exec_": ("estiba.engine.exec", "exec_"),
    "export": ("estiba.engine.export", "export"),
    "from_host": ("estiba.engine.from_host", "from_host"),
    "history": ("estiba.engine.history", "history"),
    "images": ("estiba.engine.images", "images"),
    "import_": ("estiba.engine.import_", "import_"),
    "inspect": ("estiba.engine.inspect", "inspect"),
    "inspect_container": ("estiba.engine.inspect_container", "inspect_container"),
    "kill": ("estiba.engine.kill", "kill"),
    "load": ("estiba.engine.load", "load"),
    "load_settings": ("estiba.config.settings", "load"),
    "login": ("estiba.engine.login", "login"),
    "logout": ("estiba.engine.logout", "logout"),
    "logs": ("estiba.engine.logs", "logs"),
    "parse_reference": ("estiba.oci.reference", "parse_reference"),
    "prune": ("estiba.engine.prune", "prune"),
    "ps": ("estiba.engine.ps", "ps"),
    "pull": ("estiba.engine.pull", "pull"),
    "push": ("estiba.engine.push", "push"),
    "rename": ("estiba.engine.rename", "rename"),
    "restart": ("estiba.engine.restart", "restart"),
    "rm": ("estiba.engine.rm", "rm"),
    "rmi": ("estiba.engine.rmi", "rmi"),
    "run": ("estiba.engine.run", "run"),
    "save": ("estiba.engine.save", "save"),
    "stack": ("estiba.engine.stack", "stack"),
    "start": ("estiba.engine.start", "start"),
    "stop": ("estiba.engine.stop", "stop"),
    "tag": ("estiba.engine.tag", "tag"),
    "top": ("estiba.engine.top", "top"),
    "tree": ("estiba.engine.tree", "tree"),
    "wait": ("estiba.engine.wait", "wait"),
}

__all__ = ["__version__", *_FACE]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> object:
    place = _FACE.get(name)
    if place is None:
        raise AttributeError(f"module 'estiba' has no attribute {name!r}")
    import sys

    module, member = place
    __import__(module)
    value: object = getattr(sys.modules[module], member)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
