"""Uploads: in one piece and in chunks, mounted, broken off, and on another origin."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import pytest

from estiba import errors
from estiba.registry.client import Registry
from estiba.registry.credentials import Credential
from estiba.registry.transport import Limits
from tests.support.registries import PASSWORD, USER, FakeRegistry, Handler, digest_of, make_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from estiba.config.settings import Settings

FAST = Limits(connect=5, answer=2, read=2, attempts=4, backoff=0.01, longest_wait=1)
DATA = random.Random(3).randbytes(300_000)
DIGEST = digest_of(DATA)


@pytest.fixture
def registry(fake_registry: FakeRegistry, settings: Settings, docker_config: Path) -> Iterator[Registry]:
    with Registry(fake_registry.host, settings, lambda _: Credential(USER, PASSWORD), limits=FAST) as opened:
        yield opened


def methods(fake: FakeRegistry) -> list[str]:
    return [seen.method for seen in fake.requests]


def test_in_one_piece(registry: Registry, fake_registry: FakeRegistry) -> None:
    sent: list[int] = []
    registry.upload_blob("app", DIGEST, len(DATA), io.BytesIO(DATA), sent=sent.append)
    assert fake_registry.blobs["app"][DIGEST] == DATA
    assert methods(fake_registry) == ["POST", "PUT"]
    assert sent == [len(DATA)]


def test_in_chunks(registry: Registry, fake_registry: FakeRegistry) -> None:
    registry.upload_blob("app", DIGEST, len(DATA), io.BytesIO(DATA), chunk=100_000)
    assert fake_registry.blobs["app"][DIGEST] == DATA
    assert methods(fake_registry) == ["POST", "PATCH", "PATCH", "PATCH", "PUT"]


@pytest.mark.parametrize("chunk", [100_000, 1 << 20])
@pytest.mark.parametrize(
    ("method", "fault_kind"),
    [(method, kind) for method in ("PATCH", "PUT") for kind in ("reset", "503", "404", "416")] + [("POST", "reset"), ("POST", "503")],
)
def test_a_broken_upload_begins_anew(
    registry: Registry, fake_registry: FakeRegistry, chunk: int, method: str, fault_kind: str
) -> None:
    broken: list[str] = []

    def fault(handler: Handler) -> bool:
        if broken or handler.command != method:
            return False
        broken.append(handler.path)
        if fault_kind == "reset":
            handler.reset()
            return True
        return handler.reply(int(fault_kind))

    fake_registry.fault = fault
    registry.upload_blob("app", DIGEST, len(DATA), io.BytesIO(DATA), chunk=chunk)
    assert fake_registry.blobs["app"][DIGEST] == DATA


def test_one_that_breaks_every_time_ends(registry: Registry, fake_registry: FakeRegistry) -> None:
    def fault(handler: Handler) -> bool:
        if handler.command == "PUT":
            handler.reset()
            return True
        return False

    fake_registry.fault = fault
    with pytest.raises(errors.Unavailable, match=r"cannot upload blob sha256:.* to app \(.*tried 4 times"):
        registry.upload_blob("app", DIGEST, len(DATA), io.BytesIO(DATA))


def test_bytes_that_are_not_the_digests_are_refused_by_the_registry(registry: Registry) -> None:
    with pytest.raises(errors.Unavailable, match="digest invalid"):
        registry.upload_blob("app", DIGEST, 5, io.BytesIO(b"other"))


def test_a_file_that_shrinks_meanwhile(registry: Registry) -> None:
    with pytest.raises(errors.Unavailable, match="became shorter"):
        registry.upload_blob("app", DIGEST, len(DATA), io.BytesIO(DATA[:-1]))


def test_mount(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.blobs["base/one"] = {DIGEST: DATA}
    assert registry.mount_blob("app", DIGEST, "base/one") is None
    assert fake_registry.blobs["app"][DIGEST] == DATA


def test_a_mount_that_becomes_an_upload(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.mounts = False
    location = registry.mount_blob("app", DIGEST, "base/one")
    assert location is not None
    registry.upload_blob("app", DIGEST, len(DATA), io.BytesIO(DATA), location=location)
    assert methods(fake_registry) == ["POST", "PUT"]


def test_another_origin_gets_the_bytes_and_no_credentials(
    registry: Registry, fake_registry: FakeRegistry, other_registry: FakeRegistry
) -> None:
    fake_registry.tokens = fake_registry.private = True
    fake_registry.upload_base = f"http://{other_registry.host}"
    got: list[bytes] = []

    def fault(handler: Handler) -> bool:
        got.append(handler.body)
        return handler.reply(201)

    other_registry.fault = fault
    registry.upload_blob("app", DIGEST, len(DATA), io.BytesIO(DATA))
    assert got == [DATA]
    assert "Authorization" not in other_registry.requests[0].headers
    # The negative twin: the registry itself did get the token.
    assert any(seen.headers.get("Authorization", "").startswith("Bearer") for seen in fake_registry.requests)


@pytest.mark.parametrize("location", ["", "ftp://x/", "http://exa mple/"])
def test_no_location(registry: Registry, fake_registry: FakeRegistry, location: str) -> None:
    fake_registry.fault = lambda handler: handler.reply(202, Location=location)
    with pytest.raises(errors.Unavailable, match="no valid Location"):
        registry.upload_blob("app", DIGEST, len(DATA), io.BytesIO(DATA))


def test_put_manifest_checks_what_was_stored(registry: Registry, fake_registry: FakeRegistry) -> None:
    image = make_image([{"a": b"1"}])
    assert registry.put_manifest("app", "1", image.media_type, image.manifest) == image.digest
    fake_registry.fault = lambda handler: handler.reply(201, Docker_Content_Digest=DIGEST)
    with pytest.raises(errors.DataLoss, match="the registry stored"):
        registry.put_manifest("app", "1", image.media_type, image.manifest)
