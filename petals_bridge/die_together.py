"""A process and its children as one: however it ends, they end.

hivemind's and Petals' children outlive a parent that is killed, and hold its ports and sockets; Ray
does not even see the death of a worker while they do.
"""

import os
import signal
import subprocess
import sys
import threading
import time

_LOOK_S = 0.3

_WATCHER = f"""
import os, signal, sys, time
parent, group = int(sys.argv[1]), int(sys.argv[2])
while os.getppid() == parent:
    time.sleep({_LOOK_S})
try:
    os.killpg(group, signal.SIGKILL)
except ProcessLookupError:
    pass
"""


def die_together() -> None:
    """Make this process the leader of a group that is killed when it is gone.

    To be called before it has children. The watcher is a session of its own, so that it outlives
    the group that it kills.
    """
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)
    subprocess.Popen(
        [sys.executable, "-c", _WATCHER, str(os.getpid()), str(os.getpgid(0))],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def die_with_parent() -> None:
    """Have this process and its group killed when the parent that it has now is gone."""
    threading.Thread(target=_wait_for_end, args=(os.getppid(),), daemon=True).start()


def _wait_for_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.killpg(os.getpgid(0), signal.SIGKILL)
