"""How fast single metrics are logged: our sink, manager and journal, against MLflow.

Ours is the production path without the training: a `ManagerSink` in one process, the `Manager` with
its run folder as a Ray actor in another; each metric becomes a line of two hash-chained journals,
forced to the disk every 64 lines. MLflow is its client against its server with a SQLite store,
which commits each metric. Both on one machine, over loopback, in turns.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks import peers
from benchmarks.outcome import Goal, Row, compare
from evidence.errors import NotInstalled, Unavailable
from serve import ports
from trainers.provenance import REPOSITORY

_GOAL = Goal("at least 10", least=10.0)
_PEER = "MLflow"
_START_S = 120.0
_DRIVER_S = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How many metrics."""

    rounds: int
    ours: int
    peer: int


FULL = Plan(3, ours=5000, peer=300)
QUICK = Plan(1, ours=300, peer=20)

_WORKLOADS = (
    ("single metrics as the loop logs them", "sink", "rest", _GOAL),
    ("single metrics, each waited for", "acknowledged", "rest", None),
    ("batches (ours 256; log_batch 256)", "sink", "rest_batch", None),
    ("in one process, forced to the disk each", "journal", "sqlite", None),
)
"""Workload, our way, the peer's way, goal."""

_NAMES = {
    "rest": f"{_PEER} client and server, SQLite",
    "rest_batch": f"{_PEER} log_batch, server, SQLite",
    "sqlite": f"{_PEER} SQLite store, no server",
}


def measure(plan: Plan) -> list[Row]:
    """Return one row a workload."""
    try:
        python = peers.require()
    except NotInstalled as error:
        return [Row(name, "metrics/s", peer_name=_PEER, not_run=error.detail)
                for name, *_ in _WORKLOADS]  # fmt: skip
    sides: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="zpb-") as folder, _mlflow(Path(folder)) as uri:
        for _ in range(plan.rounds):
            ours = [sys.executable, "-m", "benchmarks.metrics_ours", folder, str(plan.ours)]
            peer = [str(python), "-m", "benchmarks.metrics_peer", uri, folder, str(plan.peer)]
            for command in (ours, peer):
                for name, rate in _rates(command).items():
                    sides.setdefault(name, []).append(rate)
    return [
        compare(name, "metrics/s", ours=sides[ours], peer=(_NAMES[peer], sides[peer]), goal=goal)
        for name, ours, peer, goal in _WORKLOADS
    ]


def _rates(command: list[str]) -> dict[str, float]:
    """Run a driver; it prints its rates as JSON on the last line."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environ |= {"PYTHONPATH": str(REPOSITORY), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environ, capture_output=True, text=True,
        timeout=_DRIVER_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Unavailable(f"{command[2]} failed: {done.stderr.strip()[-500:]}")
    rates: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return rates


@contextlib.contextmanager
def _mlflow(folder: Path) -> Iterator[str]:
    """Run an MLflow server with one worker for the block and give its address."""
    port = ports.free(1)[0]
    store = f"sqlite:///{folder}/server.db"
    command = [str(peers.SERVERS.python), "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", store]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    path = f"{peers.SERVERS.python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environ = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = folder / "mlflow.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}", child, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, 9)
        child.wait()


def _wait_for(uri: str, child: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{uri}/health", timeout=5, trust_env=False).is_success:
                return
        time.sleep(0.2)
    raise Unavailable(f"the MLflow server did not start: {log.read_text()[-500:]}")
