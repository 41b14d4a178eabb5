"""Which proxy is asked for which origin."""

from __future__ import annotations

import pytest

from estiba import errors
from estiba.config.proxies import Proxies, Proxy, from_environment

PROXY = Proxy("proxy.example", 3128)


def test_from_the_environment() -> None:
    found = from_environment({"https_proxy": "http://me:p%40ss@proxy.example:3128/", "HTTP_PROXY": "other.example"})
    assert found.https == Proxy("proxy.example", 3128, "Basic bWU6cEBzcw==")
    assert found.http == Proxy("other.example", 80)
    assert "bWU6" not in repr(found)


def test_the_environment_of_a_cgi_program_is_the_requests() -> None:
    assert from_environment({"REQUEST_METHOD": "GET", "HTTP_PROXY": "evil.example"}).http is None


@pytest.mark.parametrize("url", ["socks5://x", "http://me:s3cret@", "http://me:s3cret@x:99999", "http://[", "https://me:s3cret@x"])
def test_what_is_no_proxy_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="HTTPS_PROXY") as caught:
        from_environment({"HTTPS_PROXY": url})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("exceptions", "host", "port", "direct"),
    [
        ("", "registry.example.org", 443, False),
        ("*", "registry.example.org", 443, True),
        ("example.org", "registry.example.org", 443, True),
        ("example.org", "example.org", 443, True),
        ("example.org", "notexample.org", 443, False),
        (".example.org", "registry.example.org", 443, True),
        (".example.org", "example.org", 443, False),
        ("example.org:5000", "example.org", 443, False),
        ("example.org:5000", "example.org", 5000, True),
        (" a.example , EXAMPLE.org", "example.org", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "ten.example", 443, False),
        ("fd00::/8", "fd00::1", 443, True),
        ("fd00::1", "fd00::1", 443, True),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("2.3", "10.1.2.3", 443, False),
        ("nonsense/x", "10.1.2.3", 443, False),
        ("", "localhost", 5000, True),
        ("", "127.0.0.9", 5000, True),
        ("", "::1", 5000, True),
    ],
)
def test_exceptions(exceptions: str, host: str, port: int, direct: bool) -> None:
    proxies = Proxies(PROXY, PROXY, from_environment({"NO_PROXY": exceptions}).exceptions)
    assert (proxies.for_origin("https", host, port) is None) is direct
