"""Digests, platforms and users."""

from __future__ import annotations

import hashlib

import pytest

from estiba.errors import InvalidArgument
from estiba.oci import media_types as mt
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID, chain_ids, digest_matches, hex_of, parse_digest, sha256_digest
from estiba.oci.platform import Platform, best, host_platform, matches, parse_platform
from estiba.oci.user import parse_user


@pytest.mark.parametrize("text", ["sha256:" + "0a" * 32, "sha512:" + "0a" * 64])
def test_digest(text: str) -> None:
    assert parse_digest(text) == text
    assert hex_of(parse_digest(text)) == text.partition(":")[2]


@pytest.mark.parametrize(
    "text",
    ["", ":", "sha256", "sha256:", "sha256:" + "a" * 63, "sha256:" + "a" * 65, "sha256:" + "A" * 64, "sha256:" + "g" * 64,
     "sha256:" + "a" * 64 + "\n", " sha256:" + "a" * 64, "SHA256:" + "a" * 64, "sha256:" + "a" * 63 + "/", "sha256:../" + "a" * 61,
     "sha512:" + "a" * 64, "sha384:" + "a" * 96, "sha256:" + "٣" * 64],
)  # fmt: skip
def test_malformed_digest(text: str) -> None:
    with pytest.raises(InvalidArgument, match="malformed digest"):
        parse_digest(text)


def test_digest_of_content() -> None:
    assert sha256_digest(b"x") == "sha256:" + hashlib.sha256(b"x").hexdigest()
    assert digest_matches(sha256_digest(b"x"), b"x")
    assert not digest_matches(sha256_digest(b"x"), b"y")
    assert digest_matches(parse_digest("sha512:" + hashlib.sha512(b"x").hexdigest()), b"x")


def test_chain_ids() -> None:
    """ChainID(L0) is L0's DiffID, ChainID(L0|L1) the digest of both with a space (image-spec, config.md)."""
    first, second, third = (DiffID(sha256_digest(name)) for name in (b"1", b"2", b"3"))
    two = sha256_digest(f"{first} {second}".encode())
    assert chain_ids([first, second, third]) == [first, two, sha256_digest(f"{two} {third}".encode())]
    assert chain_ids([]) == []


@pytest.mark.parametrize(
    ("text", "normal"),
    [("linux/amd64", "linux/amd64"), ("linux/x86_64", "linux/amd64"), ("linux/x86-64", "linux/amd64"),
     ("linux/aarch64", "linux/arm64/v8"), ("linux/arm64", "linux/arm64/v8"), ("linux/arm64/8", "linux/arm64/v8"),
     ("linux/arm64/v8", "linux/arm64/v8"), ("linux/arm", "linux/arm/v7"), ("linux/armhf", "linux/arm/v7"),
     ("linux/armel", "linux/arm/v6"), ("linux/arm/v5", "linux/arm/v5"), ("linux/arm/7", "linux/arm/v7"), ("linux/i686", "linux/386"),
     ("LINUX/AMD64", "linux/amd64"), ("linux/amd64/v1", "linux/amd64"), ("linux/amd64/v3", "linux/amd64/v3"),
     ("arm/v7", None), ("windows/amd64", "windows/amd64"), ("riscv64", "linux/riscv64"), ("linux/ppc64le", "linux/ppc64le")],
)  # fmt: skip
def test_platform(text: str, normal: str | None) -> None:
    if normal is None:
        with pytest.raises(InvalidArgument):
            parse_platform(text)
    else:
        assert parse_platform(text).text == normal


@pytest.mark.parametrize("text", ["", "/", "linux/", "x/y/z/w", "linux/amd64/v1/x", "plan9/amd64", "linux/vax", "linux/am d64", "linux/٣"])
def test_malformed_platform(text: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot use platform"):
        parse_platform(text)


def test_host_platform_is_known() -> None:
    assert parse_platform(host_platform().text) == host_platform()
    assert parse_platform("linux") == host_platform()


@pytest.mark.parametrize(
    ("wanted", "offered", "fits"),
    [("linux/amd64", "linux/amd64", True), ("linux/amd64", "linux/386", False), ("linux/amd64", "windows/amd64", False),
     ("linux/amd64/v3", "linux/amd64", True), ("linux/amd64", "linux/amd64/v3", False), ("linux/arm/v7", "linux/arm/v6", True),
     ("linux/arm/v6", "linux/arm/v7", False), ("linux/arm64", "linux/arm64/v8", True), ("linux/arm64/v9", "linux/arm64", True),
     ("linux/arm64", "linux/arm", False)],
)  # fmt: skip
def test_matches(wanted: str, offered: str, fits: bool) -> None:
    assert matches(parse_platform(wanted), parse_platform(offered)) is fits


def entry(platform: str | None) -> Descriptor:
    return Descriptor(mt.OCI_MANIFEST, sha256_digest(str(platform).encode()), 1, platform=parse_platform(platform) if platform else None)


def test_best() -> None:
    entries = [entry("linux/arm/v5"), entry("linux/arm/v7"), entry("linux/arm/v6"), entry("linux/amd64")]
    assert best(parse_platform("linux/arm/v7"), entries) is entries[1]
    assert best(parse_platform("linux/arm/v6"), entries) is entries[2]
    assert best(parse_platform("linux/s390x"), entries) is None
    assert best(parse_platform("linux/s390x"), [*entries, entry(None)]) is not None
    assert best(parse_platform("linux/s390x"), [entry(None), entry(None)]) is None


def test_platform_of_a_strange_variant() -> None:
    assert matches(Platform("linux", "arm", "weird"), Platform("linux", "arm", "weird"))
    assert not matches(Platform("linux", "arm", "weird"), Platform("linux", "arm", "v6"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [("root", ("root", "")), ("0", ("0", "")), ("1000:1000", ("1000", "1000")), ("www-data:adm", ("www-data", "adm")),
     ("4294967294", ("4294967294", "")), ("a.b_c@d", ("a.b_c@d", "")), ("machine$", ("machine$", ""))],
)  # fmt: skip
def test_user(text: str, parts: tuple[str, str]) -> None:
    assert parse_user(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        ":b",
        "a:b:c",
        "٣",
        "4294967295",
        "4294967296",
        "99999999999999999999",
        "-1",
        "a b",
        "a\n",
        "a\0",
        "a/b",
        "é",
        "x" * 257,
    ],
)
def test_malformed_user(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_user(text)
    assert "USER[:GROUP]" in str(caught.value.hint)
