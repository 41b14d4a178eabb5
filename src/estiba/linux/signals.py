"""Signals as commands need them, from the builtin module beneath `signal`, which brings `enum` and takes three milliseconds to import."""

from __future__ import annotations

from _signal import (  # type: ignore[import-not-found]  # the typeshed leaves it out
    SIG_BLOCK,
    SIG_UNBLOCK,
    SIGINT,
    SIGKILL,
    SIGPWR,
    SIGTERM,
    pidfd_send_signal,
    pthread_sigmask,
)

__all__ = ["SIGINT", "SIGKILL", "SIGPWR", "SIGTERM", "SIG_BLOCK", "SIG_UNBLOCK", "pidfd_send_signal", "pthread_sigmask"]
