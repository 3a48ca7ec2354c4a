"""Ctrl-C and its like: the first one stops the work, the rest cannot stop the clearing away."""

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a command to stop: the keyboard, the system, a closed terminal."""


@contextmanager
def stopping_once() -> Iterator[None]:
    """Turn the first stopping signal into KeyboardInterrupt and pass over those that follow.

    What clears away after the first one is not interrupted again, to the end of the process.
    """
    is_stopping = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopping
        if number == signal.SIGHUP:
            _leave_terminal()
        if not is_stopping:
            is_stopping = True
            raise KeyboardInterrupt

    earlier = {number: signal.signal(number, stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in earlier.items() if not is_stopping else ():
            signal.signal(number, handler)


def _leave_terminal() -> None:
    """Send to nowhere what is printed to the terminal that was closed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(nowhere, stream)
    os.close(nowhere)
