"""Free TCP ports on loopback."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

PREFERRED_HTTP = 8000
PREFERRED_DASHBOARD = 8265


def is_free(port: int) -> bool:
    """Return whether a server could bind `port` on 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free(count: int) -> list[int]:
    """Return `count` different ports that are free now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextmanager
def preferred_or_free(port: int) -> Iterator[int]:
    """Hold `port` if it is free, else give another.

    Held means that no other start of a service takes it before this one has bound it: two HTTP
    proxies of Ray would share a port without complaint. The hold is a name in Linux's abstract
    socket namespace, which is as wide as the ports are and leaves no file; elsewhere there is none.
    """
    with socket.socket(socket.AF_UNIX) as hold:
        if sys.platform == "linux":
            try:
                hold.bind(f"\0zeropoint-port-{port}")
            except OSError:
                yield free(1)[0]
                return
        yield port if is_free(port) else free(1)[0]
