"""What a new container is made of: the stack of its images, and the rung that it runs on. On the start path."""

from __future__ import annotations

import sys

from estiba.engine.resolve import foreign_note, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.engine.missing_image import ProgressMaker
    from estiba.engine.resolve import Stack
    from estiba.runtime.options import RunOptions
    from estiba.store.layout import Store


def select(store: Store, settings: Settings, options: RunOptions, progress: ProgressMaker | None = None) -> tuple[Stack, str]:
    """Finds the images, says what their user should know before the program starts, and decides what `--isolation auto` takes.

    Returns the stack, and why the rung is the one that it is, where that was not the caller's choice.
    Raises what `resolve` and `auto_rung.choose` raise.
    """
    stack = resolve(store, settings, options, progress)
    _tell(stack, options)
    if options.isolation != "auto":
        return stack, ""
    from estiba.engine.auto_rung import choose

    options.isolation, reason = choose(store, settings, options, stack.platform.architecture)
    return stack, f"auto takes {options.isolation}" + (f", for {reason}" if reason else "")


def _tell(stack: Stack, options: RunOptions) -> None:
    """Says on standard error what the user should know before the program starts."""
    for warning in stack.config.warnings:
        sys.stderr.write(f"estiba: warning: {warning}\n")
    note = foreign_note(stack.platform, options)
    if note:
        sys.stderr.write(f"estiba: warning: {note}\n")
