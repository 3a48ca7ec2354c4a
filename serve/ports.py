"""TCP ports of a service: free ones are found, and those that clients connect to are claimed."""

import errno
import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

PREFERRED_HTTP = 8000
PREFERRED_DASHBOARD = 8265
LOOPBACK = "127.0.0.1"

_CONNECT_S = 2.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A port that belongs to one service for as long as a process holds these sockets open.

    Two HTTP proxies of Ray would share a port without complaint. So a service holds a name in
    Linux's abstract socket namespace, which is as wide as the ports are and leaves no file;
    elsewhere there is none.
    """

    port: int
    sockets: tuple[socket.socket, ...]

    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptors that a process has to inherit to hold the claim."""
        return tuple(one.fileno() for one in self.sockets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go, here; a process that inherited the sockets goes on holding."""
        for one in self.sockets:
            one.close()


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a server could bind `port` on an address of this machine now."""
    return _can_bind(port, host, socket.SO_REUSEADDR)


def _can_bind(port: int, host: str, option: int) -> bool:
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _is_only_lingering(port: int, host: str) -> bool:
    """Return whether nothing is left on a port but connections of a proxy that was killed.

    They linger for a minute. They keep a plain socket from binding, but not the next proxy. Another
    service that has bound the port without listening yet is told by its name, not here.
    """
    if sys.platform != "linux" or not _can_bind(port, host, socket.SO_REUSEPORT):
        return False
    with socket.socket(_family(host)) as probe:
        probe.settimeout(_CONNECT_S)
        return probe.connect_ex((host, port)) == errno.ECONNREFUSED


def free(count: int) -> list[int]:
    """Return `count` different ports that are free now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def claim(port: int, host: str = LOOPBACK) -> Claim:
    """Claim a port.

    Raises:
        OSError: Another service has claimed it, or something has bound it.
    """
    with ExitStack() as held:
        named = _named(port)
        held.enter_context(named)
        if not (is_free(port, host) or _is_only_lingering(port, host)):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        held.pop_all()
        return named


def claim_bound(port: int, host: str = LOOPBACK) -> Claim:
    """Claim a port and bind it, so that no program of another user can listen there either.

    Nothing is accepted here. A process of this user that sets SO_REUSEPORT can listen, as Ray's
    HTTP proxy does.

    Raises:
        OSError: As for `claim`.
    """
    with ExitStack() as held:
        named = held.enter_context(claim(port, host))
        bound = held.enter_context(socket.socket(_family(host)))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
        held.pop_all()
        return Claim(port, (*named.sockets, bound))


def claim_preferred(port: int, make: Callable[[int], Claim] = claim) -> Claim:
    """Claim `port`, or another if it cannot be had."""
    while True:
        try:
            return make(port)
        except OSError:
            port = free(1)[0]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _named(port: int) -> Claim:
    if sys.platform != "linux":
        return Claim(port, ())
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0zeropoint-port-{port}")
    except OSError:
        name.close()
        raise
    return Claim(port, (name,))
