"""What every verb is given: the global flags, and settings and store, each made when first asked for.

This module is on the start path of ``run``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.store.layout import Store


class Context:
    """The global part of one command line.

    Parameters:
        root: the store's folder (``--root``), or None for the usual one.
        config: the configuration file (``--config``), or None for the usual one.
        debug: whether failures show a traceback.
    """

    __slots__ = ("_settings", "_store", "config", "debug", "root")

    def __init__(self, *, root: str | None = None, config: str | None = None, debug: bool = False) -> None:
        self.root = root
        self.config = config
        self.debug = debug
        self._settings: Settings | None = None
        self._store: Store | None = None

    @property
    def settings(self) -> Settings:
        """The settings, read at the first use. Raises InvalidArgument for a bad configuration."""
        if self._settings is None:
            import os

            from estiba.config.settings import load

            environ = dict(os.environ)
            if self.config is not None:
                environ["ESTIBA_CONFIG"] = self.config
            if self.debug:
                environ["ESTIBA_DEBUG"] = "1"
            self._settings = load(self.root, environ)
        return self._settings

    @property
    def store(self) -> Store:
        """The store, opened (and made) at the first use."""
        if self._store is None:
            from estiba.store.layout import Store

            self._store = Store.open(self.settings)
        return self._store
