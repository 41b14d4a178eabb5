"""The command line's entry, and how failures become messages and exit codes.

Exit codes are Docker's: the container's own for ``run``; 126 cannot execute, 127 not found, 125 usage errors and ``run``'s own
failures, 130 interrupted, 1 otherwise.

This module is on the start path of ``run``: a verb's module is imported when it is called, and nothing before.
"""

from __future__ import annotations

import os
import sys

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, parse, switch
from estiba.cli.context import Context
from estiba.cli.verbs import find
from estiba.errors import EstibaError, InvalidArgument
from estiba.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import FrameType
    from typing import NoReturn

    from estiba.cli.arguments import Invocation


def global_command() -> Command:
    """The flags that stand before the verb."""
    return Command(
        "",
        "A container engine without a daemon: images in layers, containers on this machine's kernel",
        _no_verb,
        usage="COMMAND",
        sections={
            "Global options": [
                Flag("config", "Configuration file", value="file", complete="file"),
                switch("debug", "Show a traceback when something fails", short="D"),
                Flag("root", "Folder of the store (also ESTIBA_ROOT)", value="folder", complete="folder"),
                switch("version", "Show the version", short="v"),
            ]
        },
        most=None,
        flags_end=1,
    )


def _no_verb(_context: Context, _found: Invocation) -> int:
    from estiba.cli.help import welcome

    output.write(welcome())
    return 0


def main(words: Sequence[str]) -> int:
    """Carry out one command line and return its exit code.

    Parameter: `words`, the arguments after the program's name. Nothing is raised but SystemExit and what is a bug.
    """
    _guard_standard_descriptors()
    context = Context(debug="--debug" in words[:1] or "-D" in words[:1])
    verb = "estiba"
    failure_code = misuse = 125
    try:
        signals.pthread_sigmask(signals.SIG_UNBLOCK, (signals.SIGINT,))  # the launcher let it wait until here
        everywhere = global_command()
        first = parse(everywhere, words)
        context = Context(
            root=first.string("root") if first.given("root") else None,
            config=first.string("config") if first.given("config") else None,
            debug=first.switch("debug"),
        )
        if first.help or first.switch("version") or not first.arguments:
            return _answer_itself(first, everywhere)
        if first.arguments[0] == "runtime":
            misuse = 1  # engines know the exit codes of runc
        command, rest = find(first.arguments)
        if isinstance(command, str):
            return _show_group(command)
        failure_code, verb = command.failure, f"estiba {command.name}"
        status = _call(command, rest, context)
        _flush()
    except EstibaError as error:
        return _report(error, {1: failure_code, InvalidArgument.exit_code: misuse}, context)
    except output.OutputError as error:
        return _report_output(error.cause)
    except OSError as error:
        return _report_system(error, verb, failure_code, context)
    except KeyboardInterrupt:
        return 130
    else:
        return status


def _answer_itself(first: Invocation, everywhere: Command) -> int:
    """``--help``, ``--version``, or no verb at all."""
    if first.switch("version"):
        from estiba.cli.version import version_line

        output.write(version_line() + "\n")
    elif first.help:
        from estiba.cli.help import overview

        output.write(overview(everywhere))
    else:
        return _no_verb(Context(), first)
    return 0


def _show_group(name: str) -> int:
    from estiba.cli.help import group

    output.write(group(name))
    return 0


def _call(command: Command, words: Sequence[str], context: Context) -> int:
    found = parse(command, words)
    if found.help:
        from estiba.cli.help import command_help

        output.write(command_help(command))
        return 0
    for warning in found.warnings:
        output.warn(warning)
    return command.run(context, found)


def _flush() -> None:
    """Write what a room below printed, while a failure can still be told."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise output.OutputError(error) from error


def _report(error: EstibaError, codes: Mapping[int, int], context: Context) -> int:
    _show_traceback(context)
    output.failure(error.message, error.hint)
    return codes.get(error.exit_code, error.exit_code)


def _report_output(error: OSError) -> int:
    """A reader that went away (``| head``) needs no message; a full disk does."""
    if not isinstance(error, BrokenPipeError):
        output.failure(f"cannot write standard output: write error: {error.strerror}")
    # What Python still holds for standard output would fail again, and be told by a traceback, when it exits.
    nowhere = os.open("/dev/null", os.O_WRONLY)
    os.dup2(nowhere, output.STDOUT)
    os.close(nowhere)
    return 1


def _report_system(error: OSError, verb: str, failure_code: int, context: Context) -> int:
    """An error of the system that no room below gave a better name."""
    if isinstance(error, BrokenPipeError):
        return _report_output(error)
    import errno

    _show_traceback(context)
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    cause, hint = error.strerror or str(error), None
    if error.errno == errno.ENOENT and not path:  # getcwd(2) is the one call without a name that fails so
        cause, hint = "the current folder was removed", "change to one that exists"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cause += f" ({_free_space(path, context)})"
        hint = "'estiba system df' shows what takes space, 'estiba image prune' frees some"
    output.failure(f"cannot finish '{verb}': " + (f"{path}: {cause}" if path else cause), hint)
    return failure_code


def _free_space(path: str, context: Context) -> str:
    """What is left where the write failed: bytes and inodes, since either may have run out."""
    place = path or context.settings.root
    while place and place != "/":
        try:
            left = os.statvfs(place)
        except OSError:
            place = os.path.dirname(place)
            continue
        return f"{left.f_bavail * left.f_frsize} bytes and {left.f_favail} inodes are free on {place}"
    return "free space unknown"


def _show_traceback(context: Context) -> None:
    if context.debug:
        import traceback

        traceback.print_exc()


def _guard_standard_descriptors() -> None:
    """Make sure that descriptors 0, 1 and 2 are open, so that no file of the store is ever opened as one of them.

    A closed standard input reads as empty; a closed output fails with EBADF when something is written, as it should.
    """
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the one that is missing.
            os.set_inheritable(os.open("/dev/null", flags), True)
            if descriptor == 2:  # Python left it out when it started; warnings and tracebacks go there
                sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    """As `sys.unraisablehook`: an interrupt in what Python calls by itself, as when an import lets go of its lock, would be dropped, and
    told by a traceback. It is raised again in the next function that is called or returns.
    """
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return

    def raise_again(frame: FrameType, _event: str, _argument: object) -> None:
        if frame.f_code is not interrupt_again.__code__:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(raise_again)


def entry() -> NoReturn:
    """The program: read sys.argv, run, exit."""
    sys.unraisablehook = interrupt_again
    status = main(sys.argv[1:])
    signals.pthread_sigmask(signals.SIG_BLOCK, (signals.SIGINT,))  # the work is done; an interrupted exit would print a traceback
    _leave(status)


def _leave(status: int) -> NoReturn:
    """Exits at once, unless a module is there that may have something to do then: taking the interpreter apart takes three milliseconds."""
    if not {"atexit", "threading"} & sys.modules.keys():
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            os._exit(status)
        except OSError:
            pass  # the interpreter tells of it
    sys.exit(status)


class _OtherFolders:
    """The last finder: brings in the interpreter's other package folders when a module was not found without them.

    The launcher starts Python with ``-S`` and one folder. A dependency that the system had already (pip then installs none) is in
    another one. Nothing on the start path gets here.
    """

    done = False

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        if path is not None or cls.done:
            return None
        cls.done = True
        import site
        from importlib.machinery import PathFinder

        site.main()
        return PathFinder.find_spec(name)


def isolated() -> NoReturn:
    """The program as the launcher starts it, with ``python -I -S``."""
    sys.meta_path.append(_OtherFolders)
    entry()
