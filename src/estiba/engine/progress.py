"""How a use case tells what it is doing. The command line draws it (`cli.progress`); a library's user may pass his own object."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receiver of progress; every method may be called from any thread.

    `piece` names a piece of work (a layer's short digest), `label` says what is being done with it.
    """

    def start(self, piece: str, label: str, total: int | None = None, /) -> None:
        """A piece of work begins, or enters another stage; `total` bytes when known."""

    def advance(self, piece: str, n: int, /) -> None:
        """`n` further bytes are done."""

    def done(self, piece: str, label: str, /) -> None:
        """The piece is finished, and how."""

    def note(self, text: str) -> None:
        """A line for the user, also for one who wants no progress."""


class Silent:
    """Tells nobody."""

    def start(self, piece: str, label: str, total: int | None = None, /) -> None: ...

    def advance(self, piece: str, n: int, /) -> None: ...

    def done(self, piece: str, label: str, /) -> None: ...

    def note(self, text: str) -> None: ...
