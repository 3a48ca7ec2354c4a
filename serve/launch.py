"""How the processes of a local service are started: Ray's command lines, environment, logs.

It starts what it is told to and knows no service; `local` does.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from serve import ports

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the packages."""

_OBJECT_STORE_BYTES = 1 << 30
_RAY_START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block")
_CHATTER = re.compile(r"\b(DEBUG|INFO)\b")
_WRONG = re.compile(r"error|exception|conflict|refused|denied", re.IGNORECASE)

_CHILDREN: "list[subprocess.Popen[bytes]]" = []
"""Heads and nodes that this process started and has to reap."""


def head_command(
    ray_address: str, *, dashboard_port: int, temp_dir: str, cpus: int | None
) -> list[str]:
    """Return the command that starts a Ray head and stays with it."""
    host, _, gcs = ray_address.rpartition(":")
    options = {
        "port": gcs,
        "ray-client-server-port": ports.free(1)[0],
        "dashboard-host": host,
        "dashboard-port": dashboard_port,
        "num-cpus": cpus or len(os.sched_getaffinity(0)),
        "temp-dir": temp_dir,
        **node_options(),
    }
    return [*_RAY_START, "--head", *as_options(options)]


def node_options() -> dict[str, object]:
    """Return the options that keep two clusters on one machine out of each other's way."""
    names = (
        "dashboard-agent-grpc-port", "dashboard-agent-listen-port", "runtime-env-agent-port",
        "metrics-export-port", "node-manager-port", "object-manager-port",
    )  # fmt: skip
    chosen = dict(zip(names, ports.free(len(names)), strict=True))
    return {
        **chosen,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "object-store-memory": _OBJECT_STORE_BYTES,
        "log-color": "false",
    }


def as_options(options: Mapping[str, object]) -> list[str]:
    """Return options as they are written on a command line."""
    return [f"--{name}={value}" for name, value in options.items()]


def ray_environment(token_file: Path) -> dict[str, str]:
    """Return what a process needs to talk to a cluster, and how Ray is to behave in it."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # 15 by default: trainers would yield to everything else
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if sys.platform == "linux" else "1",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_COLOR_PREFIX": "0",
        "RAY_DEDUP_LOGS": "0",
        # A stopped job cancels its run first; on a busy machine Ray's 3 s are too short for that.
        "RAY_JOB_STOP_WAIT_TIME_S": "30",
    }


def spawn(
    command: list[str], environment: dict[str, str], log: Path, *, held: tuple[int, ...] = ()
) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own, so that Ctrl-C in a terminal does not reach it.

    It inherits the descriptors `held` and has them open for as long as it lives.
    """
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=held,
        )
    _CHILDREN.append(child)
    return child


def reap() -> None:
    """Collect the exit status of children that ended, so that none stays a zombie."""
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]


def why(status: int | None, log: Path) -> str:
    """Return why a child ended: the signal, or the last line of its log that tells of an error."""
    if status is not None and status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    told = [line for line in lines if not _CHATTER.search(line)] or ["no error in its log"]
    wrong = [line for line in told if _WRONG.search(line)] or told
    return wrong[-1].strip()[:300]
