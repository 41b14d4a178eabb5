"""Docker's reference grammar and normalisation."""

from __future__ import annotations

import pytest

from estiba.errors import InvalidArgument
from estiba.oci.digest import Digest, sha256_digest
from estiba.oci.reference import dangling, parse_canonical, parse_reference

D = "sha256:" + "ab" * 32

ACCEPTED = [
    ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
    ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
    ("library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
    ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
    ("index.docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
    ("docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
    ("a/b/c:d", "docker.io/a/b/c:d", "a/b/c:d"),
    (f"alpine@{D}", f"docker.io/library/alpine@{D}", f"alpine@{D}"),
    (f"alpine:3@{D}", f"docker.io/library/alpine:3@{D}", f"alpine:3@{D}"),
    ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
    ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest"),
    ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
    ("127.0.0.1:5000/a/b:T_1.x-y", "127.0.0.1:5000/a/b:T_1.x-y", "127.0.0.1:5000/a/b:T_1.x-y"),
    ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
    ("[fe80::1]/a", "[fe80::1]/a:latest", "[fe80::1]/a:latest"),
    ("Quay.io/a/b", "Quay.io/a/b:latest", "Quay.io/a/b:latest"),
    ("HOST/a", "HOST/a:latest", "HOST/a:latest"),
    ("a-b.c_d__e---f", "docker.io/library/a-b.c_d__e---f:latest", "a-b.c_d__e---f:latest"),
    ("0/1", "docker.io/0/1:latest", "0/1:latest"),
    ("x:_", "docker.io/library/x:_", "x:_"),
    ("x:" + "t" * 128, "docker.io/library/x:" + "t" * 128, "x:" + "t" * 128),
    ("r.io/" + "a" * 255, "r.io/" + "a" * 255 + ":latest", "r.io/" + "a" * 255 + ":latest"),
]


@pytest.mark.parametrize(("text", "canonical", "familiar"), ACCEPTED)
def test_accepted(text: str, canonical: str, familiar: str) -> None:
    reference = parse_reference(text)
    assert reference.canonical == canonical
    assert reference.familiar == familiar
    assert parse_reference(familiar) == reference
    assert parse_canonical(canonical) == reference


REFUSED = [
    ("", "empty"),
    ("Alpine", "lower-case"),
    ("docker.io/Foo/bar", "lower-case"),
    ("a/B", "lower-case"),
    ("ab" * 32, "image id"),
    ("-a", "separator"),
    ("a-", "ends with a separator"),
    ("a..b", "separator"),
    ("a._b", "separator"),
    ("a___b", "separator"),
    ("a-_b", "separator"),
    ("_a", "separator"),
    ("a//b", "empty"),
    ("/a", "empty"),
    ("a/", "empty"),
    ("a b", "' '"),
    ("a\nb", "'\\n'"),
    ("alpine\n", "'\\n'"),
    ("é", "'é'"),
    ("É", "'É'"),
    ("a٣", "'٣'"),
    ("../x", "host name"),
    ("a/../b", "separator"),
    ("a:", "tag is empty"),
    ("a:.x", "begins with"),
    ("a:-x", "begins with"),
    ("a:x/", "port"),
    ("a:b:c", "may not stand"),
    ("a:" + "t" * 129, "limit is 128"),
    ("a:t\n", "tag has letters"),
    ("a:٣", "tag has letters"),
    ("r.io/" + "a" * 256, "255"),
    ("host:0/a", "port"),
    ("host:65536/a", "port"),
    ("host:٣/a", "port"),
    ("host:/a", "port"),
    ("-host.io/a", "host name"),
    ("host-.io/a", "host name"),
    ("host..io/a", "host name"),
    ("[::1/a", "IPv6"),
    ("[xyz]:1/a", "IPv6"),
    ("[::1]x/a", "IPv6"),
    ("user:pass@host.io/a", "algorithm"),
    ("https://host.io/a", "scheme"),
    ("a@sha256:" + "a" * 63, "malformed digest"),
    ("a@sha256:" + "A" * 64, "malformed digest"),
    ("a@sha256:" + "a" * 64 + "\n", "malformed digest"),
    ("a@sha256:../../x", "malformed digest"),
    ("a@md5:" + "a" * 32, "algorithm"),
    ("a@", "algorithm"),
    (f"@{D}", "empty"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_reference(text)
    assert why in caught.value.message
    assert "\n" not in caught.value.message


def test_upper_case_hint() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_reference("Alpine:X")
    assert caught.value.hint == "did you mean 'alpine:X'?"


def test_default_registry() -> None:
    reference = parse_reference("alpine", "r.local:5000")
    assert reference.canonical == "r.local:5000/alpine:latest"
    assert reference.short("r.local:5000") == "alpine:latest"
    assert parse_reference("docker.io/library/alpine").short("r.local:5000") == "docker.io/library/alpine:latest"


@pytest.mark.parametrize("default", ["docker.io", "r.local:5000"])
@pytest.mark.parametrize("text", ["r.local:5000/localhost/x", "docker.io/library/a/b", "docker.io/localhost/x", "docker.io/library/x"])
def test_short_form_reads_back(default: str, text: str) -> None:
    reference = parse_reference(text)
    assert parse_reference(reference.short(default), default) == reference


def test_dangling() -> None:
    reference = dangling(sha256_digest(b"x"))
    assert reference.is_dangling
    assert parse_canonical(reference.canonical) == reference
    assert reference.familiar_name == "<none>"


def test_with_tag_and_digest() -> None:
    reference = parse_reference(f"a/b:1@{D}")
    assert reference.with_tag("2").canonical == "docker.io/a/b:2"
    assert reference.with_digest(Digest(D)).canonical == f"docker.io/a/b@{D}"
    with pytest.raises(InvalidArgument):
        reference.with_tag("x y")


def test_hash_and_equality() -> None:
    assert len({parse_reference("alpine"), parse_reference("docker.io/library/alpine:latest")}) == 1
    assert parse_reference("alpine") != "alpine"
