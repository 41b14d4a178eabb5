"""``estiba login``: keep credentials for a registry."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch
from estiba.cli.confirm import ask
from estiba.errors import InvalidArgument, Unauthenticated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.login import login

    host = found.arguments[0] if found.arguments else None
    if found.given("password") and found.switch("password-stdin"):
        raise InvalidArgument("cannot log in: --password and --password-stdin exclude each other")
    user = found.string("username")
    if found.switch("password-stdin"):
        if not user:
            raise InvalidArgument("cannot log in: --password-stdin needs --username")
        password = _from_stdin()
    else:
        user = user or _ask("Username: ", hidden=False)
        if found.given("password"):
            output.warn("a password on the command line can be read by everybody on this machine; use --password-stdin")
        password = found.string("password") or _ask("Password: ", hidden=True)
    if not user or not password:
        raise InvalidArgument("cannot log in: user name and password must not be empty")
    output.lines([login(context.settings, host, user, password)])
    return 0


def _from_stdin() -> str:
    """The password: standard input without its last line end."""
    import os

    data = b""
    while chunk := os.read(0, 65536):
        data += chunk
        if len(data) > 65536:
            raise InvalidArgument("cannot log in: the password on standard input is longer than 64 KiB")
    try:
        return data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidArgument("cannot log in: the password on standard input is not UTF-8") from None


def _ask(prompt: str, *, hidden: bool) -> str:
    if not output.is_terminal(0):
        raise Unauthenticated(
            "cannot log in: there is no terminal to ask for user name and password",
            hint="estiba login -u NAME --password-stdin HOST < file",
        )
    if not hidden:
        return ask(prompt)
    from getpass import getpass

    try:
        return getpass(prompt)
    except EOFError:
        raise Unauthenticated("cannot log in: no answer") from None


COMMAND = Command(
    "login",
    "Keep a user name and password for a registry",
    _run,
    usage="[REGISTRY]",
    sections={
        "Options": [
            Flag("password", "Password; others on this machine can read it here", short="p"),
            switch("password-stdin", "Read the password from standard input"),
            Flag("username", "User name", short="u"),
        ]
    },
    about="Credentials are kept where Docker keeps them: in its config.json, or with the credential helper that this file names.",
    examples=[("estiba login -u me --password-stdin registry.example.org < token", "without a question")],
    most=1,
)
