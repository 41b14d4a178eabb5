"""Docker's `config.json`: who we are to which registry (docker(1), "config.json"; docker-credential-helpers' protocol).

Read: `auths` (base64 of `user:password`, identity tokens), `credHelpers` (a helper for one registry), `credsStore` (one for all).
Written by `login` and `logout`: mode 0600, atomically, every key that is not ours kept as it is.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from estiba import errors
from estiba.config import docker
from estiba.oci import strict_json

#: The name under which Docker keeps what belongs to docker.io.
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_HELPER_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_HELPER_SECONDS = 60
#: What a helper prints when it has nothing (docker-credential-helpers, credentials/error.go).
_HELPER_HAS_NONE = "credentials not found in native keychain"
#: The user name under which a helper keeps an identity token.
_TOKEN_USER = "<token>"


class Credential(NamedTuple):
    """A user with a password, or an identity token (OAuth2 refresh token). Never printed."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Credential({self.username!r})"


class Credentials:
    """Docker's configuration folder, `$DOCKER_CONFIG` or `~/.docker` unless given."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder or docker.config_directory()
        self.path = os.path.join(self._folder, "config.json")

    def get(self, registry: str) -> Credential | None:
        """The credential for `registry` (as in a reference), or None.

        Raises DataLoss for a damaged file, FailedPrecondition for a helper that is configured and does not work.
        """
        config = self._read()
        helper = _helper_for(config, registry)
        if helper is not None:
            return _ask_helper(helper, registry)
        entry = _find_entry(config, registry)
        return None if entry is None else _from_entry(entry, self.path)

    def store(self, registry: str, credential: Credential) -> str:
        """Keep a credential; returns where: the path of the file or the name of the helper."""
        with self._changing() as config:
            key = server_key(registry)
            auths = config["auths"] = _section(config, "auths")
            helper = _helper_for(config, registry)
            if helper is not None:
                secret = {"ServerURL": key, "Username": credential.username, "Secret": credential.password}
                if credential.identity_token:
                    secret |= {"Username": _TOKEN_USER, "Secret": credential.identity_token}
                _run_helper(helper, "store", strict_json.dumps(secret))
                auths[key] = {}  # so that a list of log-ins can be had without the helper, as Docker does
                return f"docker-credential-{helper}"
            pair = f"{credential.username}:{credential.password}".encode()
            entry: dict[str, object] = {"auth": base64.b64encode(pair).decode("ascii")}
            if credential.identity_token:
                entry = {
                    "auth": base64.b64encode(f"{credential.username}:".encode()).decode("ascii"),
                    "identitytoken": credential.identity_token,
                }
            auths[key] = entry
            return self.path

    def erase(self, registry: str) -> bool:
        """Forget the credential of `registry`; False when there was none."""
        with self._changing() as config:
            auths = _section(config, "auths")
            found = [key for key in auths if _registry_of(key) == registry]
            for key in found:
                del auths[key]
            helper = _helper_for(config, registry)
            if helper is not None:
                found += ["helper"] if _ask_helper(helper, registry) is not None else []
                _run_helper(helper, "erase", server_key(registry).encode())
            return bool(found)

    def _read(self) -> dict[str, object]:
        try:
            with open(self.path, "rb") as file:
                data = file.read((4 << 20) + 1)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise errors.PermissionDenied(f"cannot read {self.path}: {error.strerror}") from error
        config = strict_json.loads(data, what=self.path) if data.strip() else {}
        if not isinstance(config, dict):
            raise errors.DataLoss(f"cannot read {self.path}: not a JSON object")
        return config

    @contextmanager
    def _changing(self) -> Iterator[dict[str, object]]:
        """Read, let the caller change, write; under a lock on the folder, so that two log-ins lose neither."""
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.PermissionDenied(f"cannot use {self._folder}: {error.strerror}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            config = self._read()
            before = strict_json.dumps(config)
            yield config
            if strict_json.dumps(config) != before:
                self._write(config)
        finally:
            os.close(folder)

    def _write(self, config: dict[str, object]) -> None:
        import tempfile

        target = os.path.realpath(self.path)  # the file may be a link into a folder of dot files
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=".config.json.", dir=os.path.dirname(target))
            with errors.OnFailure(os.unlink, temporary):
                with os.fdopen(descriptor, "wb") as file:  # mkstemp(3) makes it 0600
                    file.write(strict_json.dumps(config, indent=2) + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(temporary, target)
        except OSError as error:
            raise errors.PermissionDenied(f"cannot write {target}: {error.strerror}") from error


def anonymous(_registry: str) -> Credential | None:
    """A source of credentials that has none."""
    return None


#: Gives the credential for a registry's name, or None; asked only when a registry wants one.
CredentialSource = Callable[[str], Credential | None]


def server_key(registry: str) -> str:
    """The key of `registry` in Docker's file and for its helpers."""
    return _DOCKER_HUB_KEY if registry == "docker.io" else registry


def _registry_of(key: str) -> str:
    """The registry that a key of `auths` stands for: Docker's older versions wrote URLs."""
    host = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return "docker.io" if host in {"index.docker.io", "docker.io", "registry-1.docker.io"} else host


def _section(config: dict[str, object], name: str) -> dict[str, object]:
    """The object under `name`, an empty one where there is none (Go writes null)."""
    section = config.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise errors.DataLoss(f"cannot read Docker's config.json: {name} is not a JSON object")
    return section


def _helper_for(config: dict[str, object], registry: str) -> str | None:
    name: object = config.get("credsStore")
    for key, value in _section(config, "credHelpers").items():
        if _registry_of(key) == registry:
            name = value
    if name is None or name == "":
        return None
    if not isinstance(name, str) or not _HELPER_NAME.issuperset(name):
        raise errors.DataLoss("cannot read Docker's config.json: the name of a credential helper is malformed")
    return name


def _find_entry(config: dict[str, object], registry: str) -> dict[str, object] | None:
    auths = _section(config, "auths")
    exact = auths.get(server_key(registry))
    entries = [exact] if exact is not None else [auths[key] for key in auths if _registry_of(key) == registry]
    for entry in entries:
        if isinstance(entry, dict) and entry:
            return entry
    return None


def _from_entry(entry: dict[str, object], path: str) -> Credential | None:
    token = entry.get("identitytoken") or ""
    username = entry.get("username") or ""
    password = entry.get("password") or ""
    encoded = entry.get("auth") or ""
    if not (isinstance(token, str) and isinstance(username, str) and isinstance(password, str) and isinstance(encoded, str)):
        raise errors.DataLoss(f"cannot read {path}: an entry of auths is malformed")
    if encoded:
        try:
            username, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            # `from None`: the cause would show a part of the secret.
            raise errors.DataLoss(f"cannot read {path}: an auth is not base64 of user:password") from None
        if not colon:
            raise errors.DataLoss(f"cannot read {path}: an auth is not base64 of user:password")
        password = password.rstrip("\0")
    if token:
        return Credential(username, identity_token=token)
    return Credential(username, password) if username else None


def _ask_helper(helper: str, registry: str) -> Credential | None:
    output = _run_helper(helper, "get", server_key(registry).encode())
    if output is None:
        return None
    answer = strict_json.loads(output, what=f"answer of docker-credential-{helper}")
    username, secret = (answer.get("Username", ""), answer.get("Secret", "")) if isinstance(answer, dict) else (None, None)
    if not (isinstance(username, str) and isinstance(secret, str)):
        # Not by strict_json's accessors, whose messages show the value.
        raise errors.DataLoss(f"cannot read answer of docker-credential-{helper}: not an object with Username and Secret")
    if username == _TOKEN_USER:
        return Credential(identity_token=secret)
    return Credential(username, secret) if username else None


def _run_helper(helper: str, verb: str, data: bytes) -> bytes | None:
    """Run the helper with a fixed environment; None when it says that it has nothing for this registry."""
    import subprocess

    program = f"docker-credential-{helper}"
    hint = f"install {program}, or take {helper!r} out of Docker's config.json"
    try:
        done = subprocess.run(
            [program, verb],
            input=data,
            capture_output=True,
            timeout=_HELPER_SECONDS,
            env=docker.helper_environment(),
            cwd="/",
            check=False,
        )
    except FileNotFoundError:
        raise errors.FailedPrecondition(f"cannot run credential helper {program}: not found in PATH", hint=hint) from None
    except subprocess.TimeoutExpired:
        # `from None`: the exception holds what was written to the helper.
        raise errors.Unavailable(f"cannot run credential helper {program}: no answer within {_HELPER_SECONDS} s") from None
    except OSError as error:
        raise errors.FailedPrecondition(f"cannot run credential helper {program}: {error.strerror}", hint=hint) from None
    if done.returncode == 0:
        return done.stdout
    if verb != "store" and _HELPER_HAS_NONE in done.stdout.decode(errors="replace"):
        return None
    # What it printed may hold anything, also the secret: its exit code has to do.
    cause = f"{verb} failed with exit code {done.returncode}"
    raise errors.FailedPrecondition(f"cannot run credential helper {program}: {cause}", hint=hint)
