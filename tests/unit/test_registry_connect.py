"""From a name to a socket: several addresses, silent ones, refused ones."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from estiba.registry import connect as connect_module
from estiba.registry.connect import Failure, connect, connect_any


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


@pytest.fixture
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that answers nothing: the queue of a listening socket is full, so the kernel drops every SYN (listen(2))."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        yield address
        for filler in fillers:
            filler.close()


def test_a_silent_first_address_does_not_stop_the_second(black_hole: tuple[str, int], listener: tuple[str, int]) -> None:
    with connect_any([(socket.AF_INET, black_hole), (socket.AF_INET, listener)], 20, "x") as sock:
        assert sock.getpeername() == listener


def test_a_black_hole_is_given_up_and_the_time_is_said(black_hole: tuple[str, int]) -> None:
    with pytest.raises(Failure, match=r"connecting to x: no answer within 0\.3 s"):
        connect_any([(socket.AF_INET, black_hole)], 0.3, "x")


def test_refused_is_no_reason_to_try_again(listener: tuple[str, int]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Failure, match="connecting to x: connection refused") as caught:
            connect_any([(socket.AF_INET, unused.getsockname())], 5, "x")
    assert not caught.value.retry


def test_an_unknown_name_is_the_resolvers_phase() -> None:
    with pytest.raises(Failure, match=r"resolving the name nosuch\.invalid"):
        connect("nosuch.invalid", 443, 5, None)


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "\udcff", ".."])
def test_what_is_no_name_is_a_failure_too(name: str) -> None:
    with pytest.raises(Failure, match="resolving"):
        connect(name, 443, 5, None)


def test_addresses_of_both_families_take_turns() -> None:
    addresses = [(10, ("a",)), (10, ("b",)), (10, ("c",)), (2, ("d",))]
    assert [address[1][0] for address in connect_module._interleave(addresses)] == ["a", "d", "b", "c"]
