"""Settings: sources and their order, strict keys, folders, insecure registries."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from estiba.config import settings as module
from estiba.config.settings import KEYS, Settings, is_loopback, load, runtime_dir
from estiba.errors import InvalidArgument, PermissionDenied

if TYPE_CHECKING:
    from pathlib import Path


def configure(environment: dict[str, str], tmp_path: Path, document: Any) -> dict[str, str]:
    path = tmp_path / "estiba.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return environment | {"ESTIBA_CONFIG": str(path)}


def test_defaults(environment: dict[str, str]) -> None:
    settings = load(environ=environment)
    assert settings.root == environment["ESTIBA_ROOT"]
    assert settings.uid == os.geteuid()
    assert settings.default_registry == "docker.io"
    assert settings.insecure_registries == ()
    assert settings.keep_blobs is False


def test_read_only_and_replace(settings: Settings) -> None:
    with pytest.raises(AttributeError):
        settings.root = "/x"
    with pytest.raises(AttributeError):
        setattr(settings, "new", 1)  # noqa: B010
    with pytest.raises(AttributeError):
        del settings.root
    assert settings.replace(root="/x").root == "/x"
    assert settings.replace(root="/x").runtime_dir == settings.runtime_dir


def test_order_of_sources(environment: dict[str, str], tmp_path: Path) -> None:
    environ = configure(environment, tmp_path, {"root": "/from/file", "keep-blobs": True})
    assert load(environ=environ).root == environment["ESTIBA_ROOT"]
    assert load(environ={k: v for k, v in environ.items() if k != "ESTIBA_ROOT"}).root == "/from/file"
    assert load("/from/line", environ).root == "/from/line"
    assert load(environ=environ).keep_blobs is True


def test_relative_root(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load("a/../b", environment).root == f"{tmp_path}/b"
    with pytest.raises(InvalidArgument):
        load("", environment)


def test_every_key_is_an_attribute(environment: dict[str, str], tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "root": "/r", "default-registry": "r.local:5000", "insecure-registries": ["a:1", "10.0.0.0/8"], "registry-mirrors": ["https://m.io/"],
        "token-realms": ["auth.io"], "keep-blobs": True, "id-range-start": 100000, "id-range-count": 65536, "parallel-downloads": 2,
        "unpack-max-bytes": 5, "unpack-max-inodes": 6, "userns": "host", "helper-path": "/h", "debug": True, "lock-timeout": 7,
    }  # fmt: skip
    assert set(values) == set(KEYS)
    environ = configure({k: v for k, v in environment.items() if k != "ESTIBA_ROOT"}, tmp_path, values)
    settings = load(environ=environ)
    for key, (attribute, _) in KEYS.items():
        expected = values[key]
        expected = tuple(item.rstrip("/") for item in expected) if isinstance(expected, list) else expected
        assert getattr(settings, attribute) == expected


@pytest.mark.parametrize(
    ("document", "why", "hint"),
    [
        ({"insecure-registry": []}, "unknown key 'insecure-registry'", "did you mean 'insecure-registries'?"),
        ({"Keep_Blobs": True}, "unknown key", "did you mean 'keep-blobs'?"),
        ({"zzzzzzzz": 1}, "unknown key", "known keys are"),
        ({"keep-blobs": "yes"}, "'keep-blobs' is not true or false", None),
        ({"keep-blobs": 1}, "'keep-blobs' is not true or false", None),
        ({"parallel-downloads": 0}, "integer from 1 to 64", None),
        ({"parallel-downloads": True}, "integer from 1 to 64", None),
        ({"parallel-downloads": 3.0}, "integer from 1 to 64", None),
        ({"root": "relative"}, "absolute path", None),
        ({"default-registry": "plain"}, "dot, a colon", None),
        ({"insecure-registries": "a:1"}, "array of registries", None),
        ({"insecure-registries": ["10.0.0.0/33"]}, "array of registries", None),
        ({"registry-mirrors": ["m.io"]}, "array of https", None),
        ({"userns": "none"}, '"auto" or "host"', None),
        ({"id-range-start": 2**32 - 1}, "4294967294", None),
        (b'{"debug":true,"debug":false}', "duplicate key", None),
        (b"{", "invalid JSON at offset 1", None),
        (b"[]", "not a JSON object", None),
    ],
)
def test_strict_file(environment: dict[str, str], tmp_path: Path, document: Any, why: str, hint: str | None) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load(environ=configure(environment, tmp_path, document))
    assert why in caught.value.message
    if hint is not None:
        assert hint in str(caught.value.hint)


def test_a_named_file_must_be_there(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no such file"):
        load(environ=environment | {"ESTIBA_CONFIG": str(tmp_path / "none")})


def test_a_fifo_is_not_waited_for(environment: dict[str, str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidArgument, match="not a file"):
        load(environ=environment | {"ESTIBA_CONFIG": str(tmp_path / "fifo")})


def test_ordinary_users_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    environ = {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1234"}
    settings = load(environ=environ)
    assert (settings.root, settings.config_dir) == ("/home/u/.local/share/estiba", "/home/u/.config/estiba")
    assert settings.runtime_dir == "/run/user/1234/estiba"
    other = load(environ=environ | {"XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c"})
    assert (other.root, other.config_dir) == ("/d/estiba", "/c/estiba")
    assert load(environ=environ | {"XDG_DATA_HOME": "relative"}).root == "/home/u/.local/share/estiba"


def test_roots_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    settings = load(environ={"ESTIBA_CONFIG": ""})
    assert (settings.root, settings.config_dir, settings.runtime_dir) == ("/var/lib/estiba", "/etc/estiba", "/run/estiba")


def temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Lets the folder in /tmp be elsewhere."""
    monkeypatch.setattr(module, "TEMPORARY", str(tmp_path / "estiba-"))
    return tmp_path / f"estiba-{os.geteuid()}"


def fallback(uid: int) -> str:
    """The volatile folder of somebody who is not root and has no XDG_RUNTIME_DIR."""
    return module.checked_folder(f"{module.TEMPORARY}{uid}", uid)


def test_folder_in_tmp_is_made_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = temporary_folder(monkeypatch, tmp_path)
    assert fallback(os.geteuid()) == str(path)
    assert path.stat().st_mode & 0o7777 == 0o700
    assert fallback(os.geteuid()) == str(path)


@pytest.mark.parametrize("trap", ["open", "link", "file", "owner"])
def test_folder_in_tmp_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trap: str) -> None:
    path = temporary_folder(monkeypatch, tmp_path)
    uid = os.geteuid()
    if trap == "open":
        path.mkdir()
        path.chmod(0o755)
    elif trap == "link":
        (tmp_path / "target").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "target")
    elif trap == "file":
        path.touch(0o600)
    else:
        path.mkdir(mode=0o700)
        path.rename(tmp_path / f"estiba-{uid + 1}")
        uid += 1
    with pytest.raises(PermissionDenied, match="0700"):
        fallback(uid)


def test_runtime_dir_ignores_a_relative_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "TEMPORARY", str(tmp_path / "estiba-"))
    uid = os.geteuid() or 1
    if os.geteuid() == 0:
        (tmp_path / "estiba-1").mkdir(mode=0o700)
        os.chown(tmp_path / "estiba-1", 1, 1)
    assert runtime_dir(uid, {"XDG_RUNTIME_DIR": "relative"}) == f"{tmp_path}/estiba-{uid}"


@pytest.mark.parametrize(
    ("registry", "loopback"),
    [("localhost", True), ("localhost:5000", True), ("127.0.0.1:5000", True), ("127.9.8.7", True), ("[::1]:5000", True), ("::1", True),
     ("localhost.evil.io", False), ("127.evil.io", False), ("127.0.0.256", False), ("128.0.0.1", False), ("docker.io", False), ("[::2]:5000", False)],
)  # fmt: skip
def test_loopback(registry: str, loopback: bool) -> None:
    assert is_loopback(registry) is loopback


def test_insecure_registries(settings: Settings) -> None:
    some = settings.replace(insecure_registries=("r.local:5000", "plain.io", "10.1.0.0/16", "fd00::/8"))
    for registry in ("r.local:5000", "plain.io", "plain.io:99", "10.1.2.3:5000", "[fd00::5]:5000", "localhost:1"):
        assert some.is_insecure(registry), registry
    for registry in ("r.local", "r.local:5001", "10.2.2.3:5000", "[fe00::5]", "[:::::]", "x.plain.io", "10.1.2.3.evil.io"):
        assert not some.is_insecure(registry), registry
    assert not some.waives_tls("localhost:1")
