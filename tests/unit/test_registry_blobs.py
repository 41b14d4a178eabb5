"""Blobs: whatever a registry does, a consumer gets the right bytes or an error before the last of them (bad-inputs row 59, H04)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from estiba import errors
from estiba.oci.descriptor import Descriptor
from estiba.registry.client import Registry
from estiba.registry.transport import Limits
from tests.support.registries import FakeRegistry, Handler, digest_of

if TYPE_CHECKING:
    from pathlib import Path

    from estiba.config.settings import Settings

FAST = Limits(connect=5, answer=2, read=0.3, attempts=4, backoff=0.01, longest_wait=1)
DATA = random.Random(7).randbytes(700_001)
DESCRIPTOR = Descriptor("application/vnd.oci.image.layer.v1.tar", digest_of(DATA), len(DATA))


@pytest.fixture
def registry(fake_registry: FakeRegistry, settings: Settings, docker_config: Path) -> Registry:
    fake_registry.blobs["app"] = {DESCRIPTOR.digest: DATA}
    return Registry(fake_registry.host, settings, limits=FAST)


def fetch(registry: Registry, descriptor: Descriptor = DESCRIPTOR) -> tuple[bytes, errors.EstibaError | None]:
    """What a consumer has taken before the end or the error, and the error."""
    taken = b""
    try:
        for chunk in registry.blob_chunks("app", descriptor):
            taken += chunk
    except errors.EstibaError as error:
        return taken, error
    finally:
        registry.close()
    return taken, None


def cut(handler: Handler, data: bytes, first: int, after: int, *, reset: bool) -> bool:
    """Answers with everything from `first` on, but ends after `after` bytes of it."""
    handler.send_response_only(206 if first else 200)
    if first:
        handler.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
    handler.send_header("Content-Length", str(len(data) - first))
    handler.end_headers()
    handler.wfile.write(data[first : first + after])
    handler.close_connection = True
    if reset:
        handler.reset()
    return True


def first_of(handler: Handler) -> int:
    return int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))


def test_whole(registry: Registry) -> None:
    assert fetch(registry) == (DATA, None)


def test_an_empty_blob(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.blobs["app"] = {digest_of(b""): b""}
    assert fetch(registry, Descriptor("x/y", digest_of(b""), 0)) == (b"", None)


def test_nothing_is_asked_before_the_first_byte_is_wanted(registry: Registry, fake_registry: FakeRegistry) -> None:
    registry.blob_chunks("app", DESCRIPTOR)
    assert fake_registry.requests == []


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("point", [0, 1, 2, 511, 4096, *range(30_000, 700_000, 42_000), 699_999, 700_000])
def test_a_connection_that_dies_is_resumed_where_it_was(
    registry: Registry, fake_registry: FakeRegistry, point: int, reset: bool
) -> None:
    served = []

    def fault(handler: Handler) -> bool:
        served.append(first_of(handler))
        return len(served) == 1 and cut(handler, DATA, 0, point, reset=reset)

    fake_registry.fault = fault
    assert fetch(registry) == (DATA, None)
    # An RST may throw away what was on its way (tcp(7)); a FIN does not.
    assert len(served) == 2
    assert served[1] <= point if reset else served[1] == point


def test_a_hundred_cuts_cost_no_byte_twice(registry: Registry, fake_registry: FakeRegistry) -> None:
    served = []

    def fault(handler: Handler) -> bool:
        served.append(first_of(handler))
        return cut(handler, DATA, served[-1], 7_001, reset=False)

    fake_registry.fault = fault
    assert fetch(registry) == (DATA, None)
    assert served == list(range(0, len(DATA), 7_001))


def test_a_registry_that_ignores_range_is_read_again_from_its_start(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.ranges = False
    seen = []

    def fault(handler: Handler) -> bool:
        seen.append(handler.path)
        return len(seen) == 1 and cut(handler, DATA, 0, 400_000, reset=False)

    fake_registry.fault = fault
    assert fetch(registry) == (DATA, None)
    assert len(seen) == 2


def test_a_stalled_stream_is_resumed(registry: Registry, fake_registry: FakeRegistry) -> None:
    stalls: list[int] = []

    def fault(handler: Handler) -> bool:
        if stalls:
            return False
        stalls.append(1)
        handler.send_response_only(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        handler.wfile.write(DATA[:100_000])
        handler.wfile.flush()
        handler.connection.settimeout(10)
        handler.connection.recv(1)  # until the client has had enough
        handler.close_connection = True
        return True

    fake_registry.fault = fault
    assert fetch(registry) == (DATA, None)


def test_one_that_never_delivers_is_given_up_and_the_message_says_it(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.fault = lambda handler: cut(handler, DATA, 0, 0, reset=True)
    taken, error = fetch(registry)
    assert taken == b""
    assert isinstance(error, errors.Unavailable)
    assert fake_registry.host in error.message
    assert "reading the blob" in error.message or "reading the answer" in error.message
    assert "tried 4 times in" in error.message


@pytest.mark.parametrize(
    ("status", "headers", "body", "word"),
    [
        (200, {}, DATA[:-1] + b"\0", "digest"),
        (200, {}, DATA[:-1], "size mismatch"),
        (200, {}, DATA + b"\0", "size mismatch"),
        (200, {"Transfer-Encoding": "chunked"}, DATA + b"\0", "size mismatch"),
        (200, {"Content-Encoding": "gzip"}, DATA, "Content-Encoding"),
        (200, {"Content-Type": "text/html"}, b"<html>log in</html>", "web page"),
        (206, {"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}, DATA, "range that was not asked for"),
    ],
)
def test_a_lie_is_refused_before_the_last_byte(
    registry: Registry, fake_registry: FakeRegistry, status: int, headers: dict[str, str], body: bytes, word: str
) -> None:
    def fault(handler: Handler) -> bool:
        handler.send_response_only(status)
        chunked = "Transfer-Encoding" in headers
        for name, value in ({} if chunked else {"Content-Length": str(len(body))} | headers).items():
            handler.send_header(name, value)
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
        return True

    fake_registry.fault = fault
    taken, error = fetch(registry)
    assert isinstance(error, errors.DataLoss)
    assert word in error.message
    assert len(taken) < len(DATA)
    assert DATA.startswith(taken)


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-{last}/{size}",
        "bytes 299999-{last}/{size}",
        "bytes 300000-{size}/{size}",
        "bytes 300000-{last}/1",
        "bytes 300000-299999/{size}",
        "bytes ٣00000-{last}/{size}",
        "octets 300000-{last}/{size}",
        "bytes */{size}",
        "",
    ],
)
def test_another_range_than_asked_for_is_refused(registry: Registry, fake_registry: FakeRegistry, content_range: str) -> None:
    told = content_range.format(last=len(DATA) - 1, size=len(DATA))

    def fault(handler: Handler) -> bool:
        first = first_of(handler)
        if not first:
            return cut(handler, DATA, 0, 300_000, reset=False)
        head = f"HTTP/1.1 206 Partial Content\r\nContent-Range: {told}\r\nContent-Length: {len(DATA) - first}\r\n\r\n"
        handler.wfile.write(head.encode() + DATA[first:])
        return True

    fake_registry.fault = fault
    taken, error = fetch(registry)
    assert isinstance(error, errors.DataLoss)
    assert ("the registry 1" if told.endswith("/1") else "sends another range") in error.message
    assert len(taken) <= 300_000


def test_other_bytes_after_a_cut_are_found_out(registry: Registry, fake_registry: FakeRegistry) -> None:
    other = bytes(len(DATA))

    def fault(handler: Handler) -> bool:
        first = first_of(handler)
        return cut(handler, other if first else DATA, first, len(DATA) if first else 300_000, reset=False)

    fake_registry.fault = fault
    taken, error = fetch(registry)
    assert isinstance(error, errors.DataLoss)
    assert len(taken) < len(DATA)


def test_size_one_off_with_the_right_digest_is_refused(registry: Registry) -> None:
    for size in (len(DATA) - 1, len(DATA) + 1):
        taken, error = fetch(registry, Descriptor("x/y", DESCRIPTOR.digest, size))
        assert isinstance(error, errors.DataLoss)
        assert "size mismatch" in error.message
        assert taken == b""


def test_a_missing_blob_is_not_found(registry: Registry, fake_registry: FakeRegistry) -> None:
    fake_registry.blobs["app"] = {}
    _, error = fetch(registry)
    assert isinstance(error, errors.NotFound)
    assert "blob unknown" in error.message


def test_slower_than_anybody_waits_for_is_given_up(fake_registry: FakeRegistry, settings: Settings, docker_config: Path) -> None:
    """One byte now and then keeps a socket's time limit away for ever; the stream's own limit ends it."""
    fake_registry.blobs["app"] = {DESCRIPTOR.digest: DATA}

    def fault(handler: Handler) -> bool:
        import time

        handler.send_response_only(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        for position in range(200):
            handler.wfile.write(DATA[position : position + 1])
            handler.wfile.flush()
            time.sleep(0.02)
        return True

    fake_registry.fault = fault
    limits = Limits(connect=5, answer=2, read=0.2, slowest=1000, attempts=2, backoff=0.01)
    _, error = fetch(Registry(fake_registry.host, settings, limits=limits))
    assert isinstance(error, errors.Unavailable)
    assert "bytes in" in error.message
