"""Signals as commands need them, from the builtin module beneath `signal`, which brings `enum` and takes three milliseconds to import."""

from __future__ import annotations

from _signal import (  # type: ignore[import-not-found]  # the typeshed leaves it out
    SIG_BLOCK,
    SIG_IGN,
    SIG_UNBLOCK,
    SIGBUS,
    SIGCHLD,
    SIGFPE,
    SIGILL,
    SIGINT,
    SIGKILL,
    SIGPWR,
    SIGSEGV,
    SIGSTOP,
    SIGTERM,
    SIGWINCH,
    getsignal,
    pidfd_send_signal,
    pthread_sigmask,
    signal,
    valid_signals,
)

__all__ = [
    "SIGBUS", "SIGCHLD", "SIGFPE", "SIGILL", "SIGINT", "SIGKILL", "SIGPWR", "SIGSEGV", "SIGSTOP", "SIGTERM", "SIGWINCH",
    "SIG_BLOCK", "SIG_IGN", "SIG_UNBLOCK", "getsignal", "pidfd_send_signal", "pthread_sigmask", "signal", "valid_signals",
]  # fmt: skip
