"""Hooks of a bundle that run on the host (runtime-spec, config.md#posix-platform-hooks)."""

from __future__ import annotations

from estiba.errors import FailedPrecondition, InvalidArgument
from estiba.oci import strict_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.engine.oci_runtime.config import Bundle, Section
    from estiba.engine.oci_runtime.state import State

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class Hook:
    """One hook: its path, argv, environment, and how many seconds it has, 0 for ever."""

    __slots__ = ("arguments", "environment", "path", "seconds")

    def __init__(self, section: Section) -> None:
        self.path = section.text("path")
        if not self.path.startswith("/"):
            raise InvalidArgument(f"cannot use hook {self.path}: its path is not absolute")
        self.arguments = section.texts("args") or [self.path]
        self.environment = section.texts("env")
        self.seconds = section.number("timeout", 0, maximum=1 << 31)
        if section.has("timeout") and self.seconds == 0:
            raise InvalidArgument(f"cannot use hook {self.path}: its timeout is not above 0")


def hooks(bundle: Bundle, kind: str) -> list[Hook]:
    """The hooks of a kind, in order."""
    return [Hook(section) for section in bundle.config.section("hooks").sections(kind)]


def run_every_hook(bundle: Bundle, kind: str, state: State, status: str) -> list[str]:
    """As `run_hooks`, but the others run when one fails. Returns what was wrong."""
    wrong = []
    for hook in hooks(bundle, kind):
        try:
            _run(hook, kind, strict_json.dumps(state.json(status)))
        except FailedPrecondition as error:
            wrong.append(error.message)
    return wrong


def run_hooks(bundle: Bundle, kind: str, state: State, status: str) -> None:
    """Runs the hooks of a kind with the state of `status` on their standard input. Raises FailedPrecondition for the first that fails."""
    for hook in hooks(bundle, kind):
        _run(hook, kind, strict_json.dumps(state.json(status)))


def _run(hook: Hook, kind: str, state: bytes) -> None:
    import subprocess

    environment = dict(entry.split("=", 1) for entry in hook.environment if "=" in entry)
    try:
        done = subprocess.run(
            hook.arguments,
            executable=hook.path,
            input=state,
            env=environment,
            capture_output=True,
            timeout=hook.seconds or None,
            check=False,
        )
    except OSError as error:
        raise FailedPrecondition(f"cannot run {kind} hook {hook.path}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise FailedPrecondition(f"cannot run {kind} hook {hook.path}: it did not end within {hook.seconds} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
        raise FailedPrecondition(f"cannot run {kind} hook {hook.path}: exit status {done.returncode}" + (f": {said}" if said else ""))
