"""Ports on loopback: free ones are found, and a wanted one is claimed for good."""

import socket
import subprocess
import sys
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
    with ports.claim_preferred(wanted) as claim:
        assert claim.port == wanted


def test_another_is_given_if_somebody_listens(taken: int) -> None:
    with ports.claim_preferred(taken) as claim:
        assert claim.port != taken


def test_a_port_that_is_claimed_is_not_given_twice() -> None:
    wanted = ports.free(1)[0]
    with ports.claim(wanted), ports.claim_preferred(wanted) as claim:
        assert claim.port != wanted


def test_a_port_is_given_again_when_it_is_let_go() -> None:
    wanted = ports.free(1)[0]
    with ports.claim(wanted):
        pass
    with ports.claim(wanted) as claim:
        assert claim.port == wanted


def test_a_port_that_is_set_and_claimed_is_refused() -> None:
    wanted = ports.free(1)[0]
    with ports.claim_bound(wanted), pytest.raises(OSError, match="in use"):
        ports.claim_bound(wanted)


def test_a_claim_lasts_as_long_as_a_process_that_inherited_it() -> None:
    with ports.claim_bound(ports.free(1)[0]) as claim:
        command = [sys.executable, "-c", "input()"]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=claim.descriptors())
    with pytest.raises(OSError, match="in use"):
        ports.claim_bound(claim.port)
    holder.communicate(b"\n")
    with ports.claim_bound(claim.port) as again:
        assert again.port == claim.port


def test_on_a_bound_port_only_a_listener_that_shares_can_listen() -> None:
    with ports.claim_bound(ports.free(1)[0]) as claim:
        with socket.socket() as proxy:
            proxy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            proxy.bind((ports.LOOPBACK, claim.port))
            proxy.listen()
        assert not ports.is_free(claim.port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((ports.LOOPBACK, claim.port))


def test_lingering_connections_of_a_server_that_is_gone_do_not_hold_its_port() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            with pytest.raises(OSError, match="in use"):
                ports.claim(port)
            accepted.close()  # first: the connection lingers on this side
    assert not ports.is_free(port)
    with ports.claim_bound(port) as claim:
        assert claim.port == port
