"""Docker's config.json: read, written, kept whole, never shown; and the helpers it names."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from estiba import errors
from estiba.config.docker import config_directory, helper_environment
from estiba.registry.credentials import Credential, Credentials

if TYPE_CHECKING:
    from pathlib import Path

HOST = "registry.example.org:5000"


def written(folder: Path, **config: object) -> Credentials:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return Credentials(str(folder))


def read(credentials: Credentials) -> dict[str, object]:
    with open(credentials.path, encoding="utf-8") as file:
        found = json.load(file)
    assert isinstance(found, dict)
    return found


def auth(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


# --- reading -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        (HOST, HOST),
        (f"https://{HOST}", HOST),
        (f"http://{HOST}/v1/", HOST),
        (f"https://{HOST}/v2/", HOST),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_every_form_of_a_key_that_docker_has_written(tmp_path: Path, key: str, registry: str) -> None:
    credentials = written(tmp_path, auths={"other.example": auth("x:y"), key: auth("me:a:b")})
    assert credentials.get(registry) == Credential("me", "a:b")


def test_other_forms_of_an_entry(tmp_path: Path) -> None:
    credentials = written(
        tmp_path,
        auths={
            "a.example": {"username": "u", "password": "p"},
            "b.example": {**auth("u:"), "identitytoken": "t"},
            "c.example": {},
        },
    )
    assert credentials.get("a.example") == Credential("u", "p")
    assert credentials.get("b.example") == Credential("u", identity_token="t")
    assert credentials.get("c.example") is None
    assert credentials.get("registry.a.example") is None


def test_no_file_is_no_credentials(tmp_path: Path) -> None:
    assert Credentials(str(tmp_path / "none")).get(HOST) is None


@pytest.mark.parametrize(
    "config",
    [
        {"auths": []},
        {"auths": {HOST: {"auth": "!!"}}},
        {"auths": {HOST: {"auth": base64.b64encode(b"s3cret-without-colon").decode()}}},
        {"auths": {HOST: {"auth": 5}}},
        {"auths": {HOST: {"auth": base64.b64encode(b"\xff\xfes3cret:").decode()}}},
        {"credHelpers": []},
        {"credsStore": "../evil"},
        {"credsStore": "a b; rm"},
        {"credsStore": 7},
    ],
)
def test_a_damaged_file_is_named_and_its_secrets_are_not(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(errors.DataLoss) as caught:
        written(tmp_path, **config).get(HOST)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "config.json" in caught.value.message


def test_what_is_no_json(tmp_path: Path) -> None:
    credentials = written(tmp_path)
    with open(credentials.path, "w", encoding="utf-8") as file:
        file.write('{"auths": ')
    with pytest.raises(errors.DataLoss, match=r"config\.json"):
        credentials.get(HOST)


def test_a_credential_does_not_show_itself() -> None:
    assert "s3cret" not in repr(Credential("me", "s3cret", "s3cret"))


# --- writing -----------------------------------------------------------------------------------------------------------------


def test_stored_for_docker_to_read_and_for_nobody_else(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "docker"
    credentials = Credentials(str(folder))
    old = os.umask(0)
    try:
        assert credentials.store(HOST, Credential("me", "pw")) == credentials.path
    finally:
        os.umask(old)
    assert read(credentials) == {"auths": {HOST: {"auth": base64.b64encode(b"me:pw").decode()}}}
    assert stat.S_IMODE(os.stat(credentials.path).st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.listdir(folder) == ["config.json"]
    assert credentials.get(HOST) == Credential("me", "pw")


def test_docker_hub_has_dockers_key(tmp_path: Path) -> None:
    credentials = Credentials(str(tmp_path))
    credentials.store("docker.io", Credential("me", "pw"))
    assert list(read(credentials)["auths"]) == ["https://index.docker.io/v1/"]  # type: ignore[call-overload]  # JSON
    assert credentials.erase("docker.io")
    assert read(credentials) == {"auths": {}}


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    config = {"HttpHeaders": {"a": "b"}, "auths": {"other.example": auth("x:y")}, "psFormat": "ü", "detachKeys": "ctrl-e"}
    credentials = written(tmp_path, **config)
    credentials.store(HOST, Credential("me", "pw"))
    credentials.store(HOST, Credential("me", identity_token="t"))
    assert credentials.get(HOST) == Credential("me", identity_token="t")
    assert credentials.erase(HOST)
    assert not credentials.erase(HOST)
    assert read(credentials) == config


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "config.json").symlink_to(real)
    Credentials(str(folder)).store(HOST, Credential("me", "pw"))
    assert (folder / "config.json").is_symlink()
    assert HOST in real.read_text()


def test_log_ins_at_once_lose_none(tmp_path: Path) -> None:
    def store(number: int) -> None:
        Credentials(str(tmp_path)).store(f"r{number}.example", Credential("me", str(number)))

    threads = [threading.Thread(target=store, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    credentials = Credentials(str(tmp_path))
    assert [credentials.get(f"r{number}.example") for number in range(16)] == [Credential("me", str(n)) for n in range(16)]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = written(tmp_path, auths={"other.example": auth("x:y")})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.EstibaError, match="No space left"):
        credentials.store(HOST, Credential("me", "pw"))
    assert os.listdir(tmp_path) == ["config.json"]
    assert credentials.get("other.example") == Credential("x", "y")


def test_where_the_file_is() -> None:
    assert config_directory({"DOCKER_CONFIG": "/x", "HOME": "/home/me"}) == "/x"
    assert config_directory({"HOME": "/home/me"}) == "/home/me/.docker"


# --- helpers -----------------------------------------------------------------------------------------------------------------

HELPER = """#!/bin/sh
# A helper that keeps everything in the folder of the test, and writes down what it saw.
folder={folder}
env >> "$folder/environment"
echo "$0 $*" >> "$folder/calls"
case "$1" in
get) read -r server; cat "$folder/get" ; exit $(cat "$folder/code") ;;
store) cat > "$folder/stored" ;;
erase) cat > "$folder/erased" ;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with docker-credential-test on PATH."""
    folder = tmp_path / "helper"
    folder.mkdir()
    program = folder / "docker-credential-test"
    program.write_text(HELPER.format(folder=folder))
    program.chmod(0o755)
    (folder / "code").write_text("0")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("SOME_SECRET", "s3cret")
    return folder


def test_one_helper_for_all_and_one_for_a_registry(tmp_path: Path, helper: Path) -> None:
    (helper / "get").write_text('{"ServerURL":"x","Username":"me","Secret":"pw"}')
    assert written(tmp_path, credsStore="test").get(HOST) == Credential("me", "pw")
    credentials = written(tmp_path, credHelpers={"https://" + HOST: "test"}, auths={"other.example": auth("x:y")})
    assert credentials.get(HOST) == Credential("me", "pw")
    assert credentials.get("other.example") == Credential("x", "y")


def test_an_identity_token_of_a_helper(tmp_path: Path, helper: Path) -> None:
    (helper / "get").write_text('{"ServerURL":"x","Username":"<token>","Secret":"t"}')
    assert written(tmp_path, credsStore="test").get(HOST) == Credential(identity_token="t")


def test_a_helper_that_has_nothing(tmp_path: Path, helper: Path) -> None:
    (helper / "get").write_text("credentials not found in native keychain\n")
    (helper / "code").write_text("1")
    assert written(tmp_path, credsStore="test").get(HOST) is None


def test_a_helper_sees_what_it_needs_of_the_environment(tmp_path: Path, helper: Path) -> None:
    (helper / "get").write_text("{}")
    written(tmp_path, credsStore="test").get(HOST)
    assert "SOME_SECRET" not in (helper / "environment").read_text()
    assert "DOCKER_CONFIG" not in helper_environment({"DOCKER_CONFIG": "/x", "PATH": "/bin"})


def test_store_and_erase_go_through_the_helper(tmp_path: Path, helper: Path) -> None:
    (helper / "get").write_text('{"ServerURL":"x","Username":"me","Secret":"pw"}')
    credentials = written(tmp_path, credsStore="test")
    assert credentials.store(HOST, Credential("me", "pw")) == "docker-credential-test"
    assert json.loads((helper / "stored").read_text()) == {"ServerURL": HOST, "Username": "me", "Secret": "pw"}
    assert "pw" not in (tmp_path / "config.json").read_text()
    assert "pw" not in (helper / "calls").read_text()  # everybody may read a command line
    assert credentials.erase(HOST)
    assert (helper / "erased").read_text() == HOST
    assert read(credentials) == {"credsStore": "test", "auths": {}}


@pytest.mark.parametrize("answer", ["", "s3cret", '{"Username":"me","Secret":12345}', "[]", '{"Username":"me","Secret":"s3cret"'])
def test_a_helper_that_answers_nonsense(tmp_path: Path, helper: Path, answer: str) -> None:
    (helper / "get").write_text(answer)
    with pytest.raises(errors.DataLoss, match="docker-credential-test") as caught:
        written(tmp_path, credsStore="test").get(HOST)
    assert "s3cret" not in caught.value.message
    assert "12345" not in caught.value.message


def test_a_helper_that_fails(tmp_path: Path, helper: Path) -> None:
    (helper / "get").write_text("the keyring is locked: s3cret")
    (helper / "code").write_text("3")
    with pytest.raises(errors.FailedPrecondition, match="docker-credential-test: get failed with exit code 3") as caught:
        written(tmp_path, credsStore="test").get(HOST)
    assert "s3cret" not in caught.value.message


def test_a_helper_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.FailedPrecondition, match="docker-credential-nosuch: not found in PATH") as caught:
        written(tmp_path, credsStore="nosuch").get(HOST)
    assert "config.json" in str(caught.value.hint)
