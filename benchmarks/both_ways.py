"""The same run by a private service and by the bare script, for benchmarks that compare the two."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.settings import Settings, from_environment
from evidence import clock
from evidence.errors import Unavailable
from serve import local
from serve.client import Client
from serve.local import LocalService
from trainers.provenance import REPOSITORY

BARE = "bare script"
"""What the peer is called: `python -m trainers train`, whose sink writes plain lines."""

_TIMEOUT_S = 600.0
_POLL_S = 0.01


def settings() -> Settings:
    """Return the settings of the benchmarks' service: a home of its own, the common cache."""
    usual = from_environment(os.environ)
    home = usual.home / "bench"
    return usual.model_copy(update={"home": home, "evidence_root": home / "evidence", "port": 0})


@contextlib.contextmanager
def service() -> Iterator[tuple[LocalService, Client]]:
    """Run a private service for the block; MNIST is in its cache."""
    own = settings()
    require_data("mnist", own.cache)
    running = local.start(own)
    try:
        with Client(running.url, token=running.token()) as client:
            _wait_until_ready(client)
            yield running, client
    finally:
        local.stop(running)
        shutil.rmtree(own.evidence_root, ignore_errors=True)


def require_data(name: str, cache: Path) -> None:
    """Fetch and verify a data set if it is not in the cache.

    Raises:
        Unavailable: It could not be had.
    """
    command = [sys.executable, "-m", "trainers", "--cache", str(cache), "fetch", name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    if done.returncode:
        raise Unavailable(f"{name} could not be fetched: {done.stderr.strip()[-200:]}")


def _wait_until_ready(client: Client) -> None:
    """Wait until the devices of the node are probed, so that the probe does not take part."""
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        if any(device.get("usable") for device in _devices(client.nodes())):
            return
        time.sleep(0.5)
    raise Unavailable("no device became usable")


def _devices(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object below `value` that says whether it is usable."""
    if isinstance(value, dict):
        if "usable" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _devices(item)


@dataclass(frozen=True, slots=True)
class Trained:
    """What one run left behind."""

    metrics: Sequence[dict[str, Any]]
    """Its metric records, in order."""
    first_metric_s: float
    """From the POST, or from the start of the process, to the first metric."""


def by_service(client: Client, request: dict[str, Any]) -> Trained:
    """Run it through the API, following its stream to the end."""
    started = time.monotonic()
    run_id = str(client.submit(request)["run_id"])
    first_s, metrics = 0.0, []
    for event in client.follow(run_id):
        if event.kind == "metric":
            first_s = first_s or time.monotonic() - started
            metrics.append(event.data)
    if client.run(run_id)["status"] != "succeeded":
        raise Unavailable(f"run {run_id} did not succeed")
    return Trained(metrics, first_s)


def by_bare_script(
    request: dict[str, Any], *, watch: Callable[[int], None] = lambda _: None
) -> Trained:
    """Run it as a bare script; `watch` is called with its pid, again and again while it runs."""
    own = settings()
    folder = own.home / "bare"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = folder / "request.json"
    config.write_text(json.dumps(request))
    command = [sys.executable, "-m", "trainers", "--cache", str(own.cache), "train", str(config)]
    started = time.monotonic()
    events, first_s = folder / "events.jsonl", 0.0
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [*command, "--out", str(folder)], cwd=REPOSITORY, stdout=log, stderr=log
        )
        while child.poll() is None:
            if not first_s and events.exists() and events.stat().st_size:
                first_s = time.monotonic() - started
            watch(child.pid)
            time.sleep(_POLL_S if not first_s else 10 * _POLL_S)
    if child.returncode:
        raise Unavailable(f"the bare script failed: see {folder}/log")
    records = [json.loads(line) for line in events.read_bytes().splitlines()]
    return Trained([r for r in records if r["kind"] == "metric"], first_s)


def steps_per_s(metrics: Sequence[dict[str, Any]], *, after_step: int) -> float:
    """Return updates per second from `after_step` to the last, by the metrics' own timestamps.

    Compiling is before `after_step`; evaluations and checkpoints between the two count.

    Raises:
        ValueError: There are fewer than two training metrics from that step on.
    """
    train = [m for m in metrics if m["split"] == "train" and m["step"] >= after_step]
    if len(train) < 2:  # noqa: PLR2004 - a rate needs two ends
        raise ValueError(f"expected training metrics after step {after_step}, found {len(train)}")
    first, last = train[0], train[-1]
    seconds = (clock.moment(last["timestamp"]) - clock.moment(first["timestamp"])).total_seconds()
    return float((last["step"] - first["step"]) / seconds)
