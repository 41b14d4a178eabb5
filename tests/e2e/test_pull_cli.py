"""`pull`, `push`, `login`, `logout` as a user types them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.host.test_pull import FILES, skopeo
from tests.support.command import command_under_test
from tests.support.registries import PASSWORD, USER, FakeRegistry, Handler, TestImage, make_image, trust

if TYPE_CHECKING:
    from tests.support.command import Command
    from tests.support.registries import DockerRegistry
    from tests.support.users import User


@pytest.fixture(scope="module")
def image() -> TestImage:
    return make_image(FILES)


def test_pull_says_what_docker_says(fake_registry: FakeRegistry, estiba: Command, image: TestImage) -> None:
    fake_registry.add("team/app", "1", image)
    name = f"{fake_registry.host}/team/app:1"
    done = estiba("pull", name)
    assert done.stdout == f"{name}\n"
    lines = done.stderr.splitlines()
    assert lines[0] == "1: Pulling from team/app"
    for layer in image.layers:
        assert f"{layer.digest[7:19]}: Pull complete" in lines
    assert lines[-2:] == [f"Digest: {image.digest}", f"Status: Downloaded newer image for {name}"]
    again = estiba("pull", name)
    assert f"Status: Image is up to date for {name}" in again.stderr
    assert f"{image.layers[0].digest[7:19]}: Already exists" in again.stderr
    quiet = estiba("pull", "-q", name)
    assert (quiet.stdout, quiet.stderr) == (f"{name}\n", "")
    assert image.config.digest[7:19] in estiba("images").stdout


def test_an_ordinary_user_pulls_and_pushes(fake_registry: FakeRegistry, ordinary_user: User, image: TestImage) -> None:
    """With subordinate ids and without: what comes down goes up again, bit for bit."""
    fake_registry.add("app", "1", image)
    source, target = f"{fake_registry.host}/app:1", f"{fake_registry.host}/other:1"
    estiba = ordinary_user.estiba
    assert estiba("pull", "-q", source).stdout == f"{source}\n"
    estiba("tag", source, target)
    assert estiba("push", target).stdout == f"1: digest: {image.digest} size: {len(image.manifest)}\n"
    assert fake_registry.manifests["other"]["1"][0] == image.manifest


def test_all_tags(fake_registry: FakeRegistry, estiba: Command, image: TestImage) -> None:
    for tag in ("1", "2"):
        fake_registry.add("app", tag, image)
    assert estiba("pull", "-a", f"{fake_registry.host}/app").stdout.splitlines() == [f"{fake_registry.host}/app:{t}" for t in "12"]
    refused = estiba("pull", "-a", f"{fake_registry.host}/app:1", status=125)
    assert "names a tag or digest" in refused.stderr


def test_log_in_push_log_out(
    secure_registry: DockerRegistry,
    fake_registry: FakeRegistry,
    estiba: Command,
    environment: dict[str, str],
    image: TestImage,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "configuration"
    assert secure_registry.ca is not None
    trust(folder, secure_registry, secure_registry.ca)
    (folder / "config.json").write_text("{}")
    environment["ESTIBA_CONFIG"] = str(folder / "config.json")
    fake_registry.add("app", "1", image)
    source, target = f"{fake_registry.host}/app:1", f"{secure_registry.host}/cli/app:1"
    estiba("pull", "-q", source)
    estiba("tag", source, target)
    refused = estiba("push", target, status=1)
    assert f"hint: log in: estiba login {secure_registry.host}" in refused.stderr
    wrong = estiba("login", "-u", USER, "--password-stdin", secure_registry.host, stdin="wrong", status=1)
    assert "cannot log in to" in wrong.stderr
    assert "wrong" not in wrong.stderr
    done = estiba("login", "-u", USER, "--password-stdin", secure_registry.host, stdin=PASSWORD + "\n")
    assert done.stdout == "Login Succeeded\n"
    assert list(json.loads(Path(environment["DOCKER_CONFIG"], "config.json").read_text())["auths"]) == [secure_registry.host]
    pushed = estiba("push", target)
    assert pushed.stdout == f"1: digest: {image.digest} size: {len(image.manifest)}\n"
    authfile = str(Path(environment["DOCKER_CONFIG"], "config.json"))  # what we wrote, others read
    certificates = str(folder / "certs.d" / secure_registry.host)
    raw = skopeo("inspect", "--authfile", authfile, "--cert-dir", certificates, "--raw", f"docker://{target}")
    assert raw.encode() == image.manifest
    assert estiba("logout", secure_registry.host).stdout.startswith("Removing login credentials")
    estiba("pull", target, status=1)


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("{host}/app:none", 1, "manifest unknown"),
        ("{host}/none:1", 1, "manifest unknown"),
        ("{dead}/app:1", 1, "connection refused"),
        ("nosuch.invalid/app:1", 1, "resolving the name nosuch.invalid"),
        ("{host}/App:1", 125, "must be lower-case"),
        ("{host}/app@sha256:" + "a" * 63, 125, "malformed digest"),
        ("{host}/app@sha256:" + "A" * 64, 125, "malformed digest"),
        ("{host}/app@sha256:../" + "a" * 61, 125, "malformed digest"),
    ],
)
def test_what_cannot_be_pulled(fake_registry: FakeRegistry, estiba: Command, name: str, status: int, words: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = estiba("pull", name.format(host=fake_registry.host, dead=f"127.0.0.1:{unused.getsockname()[1]}"), status=status)
    said = [line for line in done.stderr.splitlines() if line.startswith("estiba: cannot ")]
    assert len(said) == 1
    assert words in said[0]
    assert done.stdout == ""
    if "malformed" in words:
        assert fake_registry.requests == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_pull_that_is_ended_leaves_what_the_next_one_can_use(
    fake_registry: FakeRegistry, estiba: Command, environment: dict[str, str], image: TestImage, end: signal.Signals
) -> None:
    fake_registry.add("app", "1", image)
    name = f"{fake_registry.host}/app:1"
    arrived, go_on = threading.Event(), threading.Event()
    slow = image.layers[-1].digest

    def fault(handler: Handler) -> bool:
        if not handler.path.endswith(slow) or go_on.is_set():
            return False
        data = image.blobs[slow]
        handler.send_response_only(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])
        handler.wfile.flush()
        arrived.set()
        go_on.wait(30)
        handler.close_connection = True
        return True

    fake_registry.fault = fault
    process = subprocess.Popen(
        [*command_under_test(), "pull", name], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert arrived.wait(30)
    process.send_signal(end)
    out, err = process.communicate(timeout=20)
    go_on.set()
    assert out == ""
    assert "Traceback" not in err
    assert process.returncode in {-end, 128 + end}
    assert name not in estiba("images").stdout
    assert estiba("pull", "-q", name).stdout == f"{name}\n"
    assert os.listdir(Path(environment["ESTIBA_ROOT"], "ingest")) == []
