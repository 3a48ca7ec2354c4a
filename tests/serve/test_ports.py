"""Ports on loopback: free ones are found, and a wanted one is held while a service starts."""

import socket
from collections.abc import Iterator

import pytest

from serve import ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_with_a_listener_is_not_free(taken: int) -> None:
    assert not ports.is_free(taken)


def test_a_found_port_is_free() -> None:
    assert ports.is_free(ports.free(1)[0])


def test_found_ports_differ() -> None:
    assert len(set(ports.free(20))) == 20


def test_a_wanted_port_is_given_if_it_is_free() -> None:
    wanted = ports.free(1)[0]
    with ports.preferred_or_free(wanted) as port:
        assert port == wanted


def test_another_is_given_if_somebody_listens(taken: int) -> None:
    with ports.preferred_or_free(taken) as port:
        assert port != taken


def test_a_port_that_is_held_is_not_given_twice() -> None:
    wanted = ports.free(1)[0]
    with ports.preferred_or_free(wanted), ports.preferred_or_free(wanted) as port:
        assert port != wanted


def test_a_port_is_given_again_when_it_is_let_go() -> None:
    wanted = ports.free(1)[0]
    with ports.preferred_or_free(wanted):
        pass
    with ports.preferred_or_free(wanted) as port:
        assert port == wanted
