"""The processes of a local service: found by a mark in their environment, and killed.

A Ray daemon may give itself a title so long that it wipes its environment. It is found by the
session that it shares with a process that carries the mark.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

MARK = "ZEROPOINT_SERVICE_ID"
"""Environment variable that every process of a service carries."""

_HOME = "ZEROPOINT_HOME"
_ALWAYS_SET = "PATH"
"""A process of a service without it has wiped its environment."""

_CLOSED = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})
_KILL_GRACE_S = 10.0
_POLL_S = 0.1


def of_service(service_id: str, *, head_pid: int) -> list[psutil.Process]:
    """Return the living processes of a service but this one.

    Args:
        service_id: The mark.
        head_pid: Its head, which leads the session of Ray's daemons; it may have ended.
    """
    marked, wiped = [], []
    for process, environ in _environments():
        if environ.get(MARK) == service_id:
            marked.append(process)
        elif _ALWAYS_SET not in environ:
            wiped.append(process)
    sessions = {_session(process) for process in marked} | {head_pid}
    sessions -= {os.getsid(0), None}
    return marked + [process for process in wiped if _session(process) in sessions]


def marks_of(home: Path) -> dict[str, set[Path]]:
    """Return the marks of processes whose service belongs to `home`, with temporary folders."""
    found: dict[str, set[Path]] = {}
    for _, environ in _environments():
        if environ.get(MARK) and Path(environ.get(_HOME, "")) == home.absolute():
            folders = found.setdefault(environ[MARK], set())
            folders |= {Path(environ["TMPDIR"])} if environ.get("TMPDIR") else set()
    return found


def is_marked(pid: int, service_id: str) -> bool:
    """Return whether a process lives and carries the mark."""
    try:
        return pid > 0 and psutil.Process(pid).environ().get(MARK) == service_id
    except psutil.Error:
        return False


def kill(living: Callable[[], list[psutil.Process]]) -> set[int]:
    """Kill processes and those that they start meanwhile, until none lives or 10 s have passed.

    Nothing is asked first: a Ray head does not heed SIGTERM, and everything that matters is in
    files that are made to survive a kill.

    A process that dies loses its memory, and with it the environment that it is known by, before
    it closes its sockets. So each is waited for by its pid too: its ports are free then.

    Returns:
        The pids of all that were killed.
    """
    deadline = time.monotonic() + _KILL_GRACE_S
    killed: dict[int, psutil.Process] = {}
    while (alive := living()) and time.monotonic() < deadline:
        killed |= {process.pid: process for process in alive}
        _kill_each(alive)
        time.sleep(_POLL_S)
    while any(map(_has_files, killed.values())) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return set(killed)


def listening_on(port: int) -> set[int | None]:
    """Return the pids of processes that listen on a TCP port; None for one of another user.

    Raises:
        psutil.AccessDenied: This system tells only an administrator.
    """
    return {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
    }


def _environments() -> Iterable[tuple[psutil.Process, dict[str, str]]]:
    """Yield every process whose environment may be read, but this one and the dead."""
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                yield process, process.environ()
        except psutil.Error:
            continue


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def _has_files(process: psutil.Process) -> bool:
    """Return whether a process may still hold files open: it is neither gone nor a zombie."""
    try:
        return process.is_running() and process.status() not in _CLOSED
    except psutil.Error:
        return False


def _kill_each(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
