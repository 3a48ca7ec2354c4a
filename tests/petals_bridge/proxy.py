"""A TCP proxy on loopback that counts bytes and can delay them."""

import contextlib
import socket
import threading
import time


class Proxy:
    """Passes connections on to a port.

    Args:
        to: The port behind it.
        delay_s: How long each piece waits.
    """

    def __init__(self, to: int, *, delay_s: float = 0.0) -> None:
        self.to = to
        self.delay_s = delay_s
        self.bytes_in = 0
        """Towards the port behind."""
        self.bytes_out = 0
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.to), timeout=5)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                for one, other, is_in in ((near, far, True), (far, near, False)):
                    work = threading.Thread(target=self._pass, args=(one, other, is_in))
                    work.daemon = True
                    work.start()

    def _pass(self, one: socket.socket, other: socket.socket, is_in: bool) -> None:  # noqa: FBT001 - a direction
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if self.delay_s:
                    time.sleep(self.delay_s)
                if is_in:
                    self.bytes_in += len(data)
                else:
                    self.bytes_out += len(data)
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more connections."""
        self._door.close()
