"""`push`: to Debian's registry and to one of ours; what goes up, and by which way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba import errors
from estiba.engine.login import login
from estiba.engine.logout import logout
from estiba.engine.pull import pull
from estiba.engine.push import push
from estiba.engine.tag import tag
from estiba.oci.digest import DiffID
from estiba.store import blobs, images, layers
from tests.host.test_pull import FILES, Heard, skopeo
from tests.support.registries import PASSWORD, USER, FakeRegistry, TestImage, digest_of, make_image, trust

if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.store.layout import Store
    from tests.support.registries import DockerRegistry


@pytest.fixture(autouse=True)
def isolated(docker_config: Path) -> None:
    """No credentials and proxies of the caller."""


@pytest.fixture
def image() -> TestImage:
    return make_image(FILES)


@pytest.fixture
def trusting(settings: Settings, secure_registry: DockerRegistry, tmp_path: Path) -> Settings:
    """Settings that know the secure registry's authority."""
    folder = tmp_path / "configuration"
    assert secure_registry.ca is not None
    trust(folder, secure_registry, secure_registry.ca)
    return settings.replace(config_dir=str(folder))


def copy(store: Store, source: str, target: str) -> None:
    tag(store, source, target)


def test_what_skopeo_reads_back_is_equal(
    plain_registry: DockerRegistry, fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage
) -> None:
    fake_registry.add("app", "1", image)
    source, target = f"{fake_registry.host}/app:1", f"{plain_registry.host}/push/equal:1"
    pull(store, settings, source)
    copy(store, source, target)
    (pushed,) = push(store, settings, target)
    assert skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{target}").encode() == image.manifest
    assert str(pushed) == f"1: digest: {image.digest} size: {len(image.manifest)}"


def test_over_tls_with_a_password(
    secure_registry: DockerRegistry, fake_registry: FakeRegistry, store: Store, trusting: Settings, image: TestImage, tmp_path: Path
) -> None:
    fake_registry.add("app", "1", image)
    source, target = f"{fake_registry.host}/app:1", f"{secure_registry.host}/push/secure:1"
    pull(store, trusting, source)
    copy(store, source, target)
    with pytest.raises(errors.Unauthenticated, match="wants a user and password"):
        push(store, trusting, target)
    with pytest.raises(errors.Unauthenticated, match="cannot log in to"):
        login(trusting, secure_registry.host, USER, "wrong")
    assert login(trusting, f"https://{secure_registry.host}/v2/", USER, PASSWORD) == "Login Succeeded"
    push(store, trusting, target)
    certificates = Path(trusting.config_dir, "certs.d", secure_registry.host)
    raw = skopeo("inspect", "--cert-dir", str(certificates), "--creds", f"{USER}:{PASSWORD}", "--raw", f"docker://{target}")
    assert raw.encode() == image.manifest
    assert pull(store, trusting, f"{secure_registry.host}/push/secure@{image.digest}").manifest_digest == image.digest
    assert logout(trusting, secure_registry.host) == f"Removing login credentials for {secure_registry.host}"
    assert logout(trusting, secure_registry.host) == f"Not logged in to {secure_registry.host}"
    with pytest.raises(errors.Unauthenticated):
        push(store, trusting, target)


def test_with_a_token(fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage) -> None:
    fake_registry.tokens = fake_registry.private = fake_registry.identity_tokens = True
    fake_registry.add("app", "1", image)
    login(settings, fake_registry.host, USER, PASSWORD)
    config = json.loads(Path(os.environ["DOCKER_CONFIG"], "config.json").read_text())
    assert config["auths"][fake_registry.host]["identitytoken"] == "an-identity-token"
    assert PASSWORD not in json.dumps(config)
    source, target = f"{fake_registry.host}/app:1", f"{fake_registry.host}/copy:1"
    pull(store, settings, source)
    copy(store, source, target)
    push(store, settings, target)
    assert fake_registry.manifests["copy"]["1"][0] == image.manifest
    assert "repository:app:pull" in [scope for scopes in fake_registry.granted.values() for scope in scopes]


def test_what_the_registry_has_is_mounted_and_not_sent(
    fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage
) -> None:
    fake_registry.add("team/app", "1", image)
    source, target = f"{fake_registry.host}/team/app:1", f"{fake_registry.host}/other:1"
    pull(store, settings, source)
    copy(store, source, target)
    before = len(fake_registry.requests)
    heard = Heard()
    push(store, settings, target, progress=heard)
    since = [seen.method for seen in fake_registry.requests[before:]]
    assert since.count("PUT") == 2  # the configuration, and the manifest
    assert heard.finished[image.layers[0].digest[7:19]] == "Mounted from team/app"
    assert fake_registry.blobs["other"] == image.blobs
    heard = Heard()
    push(store, settings, target, progress=heard)
    assert heard.finished[image.layers[0].digest[7:19]] == "Layer already exists"


def test_a_registry_that_does_not_mount_gets_the_blob_from_itself(
    fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage
) -> None:
    fake_registry.mounts = False
    fake_registry.add("app", "1", image)
    source, target = f"{fake_registry.host}/app:1", f"{fake_registry.host}/other:1"
    pull(store, settings, source)
    copy(store, source, target)
    push(store, settings, target)
    assert fake_registry.manifests["other"]["1"][0] == image.manifest


def test_kept_blobs_are_sent_as_they_are(
    fake_registry: FakeRegistry, other_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage
) -> None:
    fake_registry.add("app", "1", image)
    source, target = f"{fake_registry.host}/app:1", f"{other_registry.host}/app:1"
    pull(store, settings.replace(keep_blobs=True), source)
    fake_registry.blobs.clear()
    copy(store, source, target)
    push(store, settings, target)
    assert other_registry.blobs["app"] == image.blobs


@pytest.mark.parametrize("docker", [False, True])
def test_without_a_source_the_layers_are_compressed_again_and_it_is_said(
    plain_registry: DockerRegistry, fake_registry: FakeRegistry, store: Store, settings: Settings, docker: bool
) -> None:
    import gzip
    import zlib

    image = make_image(FILES, docker=docker)
    # What this program's gzip would never write, so that the digest must change.
    stored = {layer.digest: gzip.decompress(image.blobs[layer.digest]) for layer in image.layers}
    image = make_image(FILES, docker=docker, pack=lambda tar: zlib.compress(tar, 0, 31))
    assert set(stored) != {layer.digest for layer in image.layers}
    fake_registry.add("app", "1", image)
    source, target = f"{fake_registry.host}/app:1", f"{plain_registry.host}/push/again-{str(docker).lower()}:1"
    pulled = pull(store, settings, source)
    fake_registry.blobs.clear()
    copy(store, source, target)
    heard = Heard()
    (pushed,) = push(store, settings, target, progress=heard)
    assert pushed.digest != pulled.manifest_digest
    assert "compressed again" in heard.notes[0]
    assert pushed.digest in heard.notes[0]
    assert pulled.manifest_digest in heard.notes[0]
    # The same image all the same: equal id, equal layers, and a second push finds everything there.
    raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{target}").encode()
    manifest = json.loads(raw)
    assert digest_of(raw) == pushed.digest
    assert manifest["mediaType"] == image.media_type
    assert manifest["config"]["digest"] == str(pulled.id)
    config = skopeo("inspect", "--tls-verify=false", "--config", "--raw", f"docker://{target}").encode()
    assert config.strip() == image.blobs[image.config.digest].strip()
    for diff_id in image.diff_ids:
        layers.remove_layer(store, diff_id)
    again = pull(store, settings, target)
    assert again.id == pulled.id
    assert again.manifest_digest == pushed.digest


def test_a_second_push_after_compression_sends_nothing(
    fake_registry: FakeRegistry, other_registry: FakeRegistry, store: Store, settings: Settings
) -> None:
    import zlib

    image = make_image(FILES, pack=lambda tar: zlib.compress(tar, 0, 31))
    fake_registry.add("app", "1", image)
    source, target = f"{fake_registry.host}/app:1", f"{other_registry.host}/app:1"
    pull(store, settings, source)
    fake_registry.blobs.clear()
    copy(store, source, target)
    (first,) = push(store, settings, target)
    before = len(other_registry.requests)
    heard = Heard()
    (second,) = push(store, settings, target, progress=heard)
    assert second.digest == first.digest
    assert {seen.method for seen in other_registry.requests[before:]} == {"HEAD", "PUT"}
    assert heard.started[image.layers[0].digest[7:19]] == []  # not compressed to find that out


def test_an_image_that_was_never_pulled(plain_registry: DockerRegistry, store: Store, settings: Settings, tmp_path: Path) -> None:
    from estiba.engine.import_ import import_
    from tests.support.registries import make_tar

    tar = tmp_path / "root.tar"
    tar.write_bytes(make_tar(FILES[0]))
    target = f"{plain_registry.host}/push/imported:1"
    with tar.open("rb") as source:
        made = import_(store, settings, source, reference=target)
    (pushed,) = push(store, settings, target)
    listed = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{target}"))
    assert listed["Digest"] == pushed.digest
    for diff_id in made.layers:
        layers.remove_layer(store, diff_id)
    assert pull(store, settings, target).layers == [DiffID(digest_of(make_tar(FILES[0])))]


def test_all_tags(fake_registry: FakeRegistry, other_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage) -> None:
    fake_registry.add("app", "1", image)
    source = f"{fake_registry.host}/app:1"
    pull(store, settings, source)
    for name in ("x", "y"):
        copy(store, source, f"{other_registry.host}/app:{name}")
    copy(store, source, f"{other_registry.host}/another:z")
    pushed = push(store, settings, f"{other_registry.host}/app", all_tags=True)
    assert [one.reference.tag for one in pushed] == ["x", "y"]
    assert sorted(tag for tag in other_registry.manifests["app"] if ":" not in tag) == ["x", "y"]
    assert "another" not in other_registry.manifests
    with pytest.raises(errors.InvalidArgument, match="names a tag"):
        push(store, settings, f"{other_registry.host}/app:x", all_tags=True)
    with pytest.raises(errors.NotFound, match="no tag of it"):
        push(store, settings, f"{other_registry.host}/nothing", all_tags=True)


def test_what_cannot_be_pushed(fake_registry: FakeRegistry, store: Store, settings: Settings, image: TestImage) -> None:
    fake_registry.add("app", "1", image)
    pull(store, settings, f"{fake_registry.host}/app:1")
    with pytest.raises(errors.NotFound):
        push(store, settings, f"{fake_registry.host}/nothing:1")
    with pytest.raises(errors.InvalidArgument, match="a digest cannot be pushed to"):
        push(store, settings, f"{fake_registry.host}/app@{image.digest}")
    fake_registry.fault = lambda handler: handler.command != "HEAD" and handler.reply(
        403, b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}', Content_Type="application/json"
    )
    copy(store, f"{fake_registry.host}/app:1", f"{fake_registry.host}/other:1")
    with pytest.raises(errors.PermissionDenied, match="requested access to the resource is denied"):
        push(store, settings, f"{fake_registry.host}/other:1")
    assert blobs.has_blob(store, images.find(store, f"{fake_registry.host}/app:1").manifest_digest)
