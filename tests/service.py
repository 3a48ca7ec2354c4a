"""What tests do with a real service beyond its client: its environment, its processes, its end."""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from evidence.errors import ServiceError
from serve import local
from serve.local import LocalService
from trainers.data import fetch

_FLUSH_S = 4.0
_APPEAR_S = 60.0


def base_environment(home: Path, cache: Path) -> dict[str, str]:
    """Return the environment of a test's service: nothing of this process's own training."""
    own = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **own,
        "ZEROPOINT_HOME": str(home),
        "ZEROPOINT_CACHE": str(cache),
        "ZEROPOINT_MIN_FREE_BYTES": "1000000",
        "ZEROPOINT_CANARY": "0",
    }


COVERAGE = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
"""Variables with which every process of a service measures its coverage."""

_KEPT = ("PATH", "HOME", "LANG", *COVERAGE, "SSL_CERT_FILE", "PYTHONDONTWRITEBYTECODE")


def fetch_data(name: str, cache: Path) -> Path:
    """Return a cache that holds a data set, or skip with the reason."""
    search = [Path(p) for p in os.environ.get("ZEROPOINT_DATA_PATH", "").split(os.pathsep) if p]
    try:
        with httpx.Client(timeout=10, follow_redirects=True) as client:
            fetch.fetch(
                name, cache=cache, search_path=search, client=client, npm=shutil.which("npm")
            )
    except ServiceError as error:
        pytest.skip(f"{name} could not be fetched: {error.detail}")
    return cache


def workers(service: LocalService, name: str) -> list[psutil.Process]:
    """Return the worker processes of a service whose title begins with `ray::name`."""
    return [p for p in service.processes() if _title(p).startswith(f"ray::{name}")]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def kill_worker(service: LocalService, name: str) -> int:
    """Kill -9 the one worker of that name, as soon as there is one; return its pid.

    A stream may lag behind on a busy machine: what it tells of may be over by then.
    """
    deadline = time.monotonic() + _APPEAR_S
    while not (found := workers(service, name)) and time.monotonic() < deadline:
        time.sleep(0.05)
    (process,) = found
    process.kill()
    process.wait(10)
    return int(process.pid)


def stop_gently(service: LocalService) -> None:
    """Let the workers write their coverage, then stop the service."""
    for process in workers(service, ""):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _FLUSH_S
    while workers(service, "") and time.monotonic() < deadline:
        time.sleep(0.1)
    local.stop(service)
