"""Our side of `metric_logging`: `python -m benchmarks.metrics_ours FOLDER COUNT` prints rates.

A local Ray of its own (it ends with this process) holds the plain `Manager` as an actor under the
name that `ManagerSink` looks for. Its launcher starts no trainer: this process is the trainer.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from benchmarks.fanout import example_metric
from cluster.audits import Order
from cluster.directory import MANAGER, NAMESPACE
from cluster.launching import Outcome, Ticket
from cluster.manager import Manager
from cluster.notary import Notary
from cluster.placement import Node
from cluster.settings import Settings
from cluster.trainer_actor import ManagerSink
from evidence.errors import Unavailable
from evidence.journal import Journal
from evidence.records import RunState, TrainingEvent

_ACKNOWLEDGED_PART = 5


class _ThisProcess:
    """A launcher for one node whose trainers run elsewhere: nothing is started, nothing ends."""

    async def nodes(self) -> Sequence[Node]:
        return [Node("here", {"CPU": 2.0}, ("CPU",))]

    async def start(self, ticket: Ticket) -> None:
        """Leave it to the process that reports."""

    async def outcome(self, _run_id: str, _attempt: int) -> Outcome:
        await asyncio.Event().wait()
        return None

    async def kill(self, run_id: str, attempt: int) -> None:
        """There is nothing to end."""


async def _nobody_audits(order: Order) -> dict[str, Any]:
    raise Unavailable(f"run {order.run_id} is not audited here")


class _ManagerActor:
    """The part of `cluster.manager_actor` that a trainer's sink calls."""

    def __init__(self, home: Path) -> None:
        settings = Settings(home=home, evidence_root=home / "evidence")
        notary = Notary.open(home, limits=settings.limits)
        self._manager = Manager(settings, _ThisProcess(), notary, _nobody_audits)

    async def begin(self) -> str:
        """Take in a run and return its id when it is running."""
        await self._manager.start(session="benchmark")
        request = {"recipe": "mnist_mlp", "overrides": {"steps": 10_000}}
        run_id = str((await self._manager.submit(request, who="benchmark"))["run_id"])
        while self._manager.view(run_id)["status"] != RunState.RUNNING:  # noqa: ASYNC110 - set-up
            await asyncio.sleep(0.05)
        return run_id

    async def report(
        self, run_id: str, attempt: int, first_n: int, events: Sequence[TrainingEvent]
    ) -> None:
        """Take in a trainer's events."""
        await self._manager.report(run_id, attempt, first_n, events)

    async def written(self, run_id: str) -> int:
        """Return how many metrics stand in the journal."""
        count: int = self._manager.registry.folder(run_id).summary.metric_count
        return count


def main() -> None:
    """Measure and print."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    home = Path(tempfile.mkdtemp(dir=folder))
    (home / "evidence").mkdir()
    ray_folder = tempfile.mkdtemp(prefix="zpr-", dir="/tmp")
    try:
        ray.init(
            num_cpus=1, include_dashboard=False, namespace=NAMESPACE, _temp_dir=ray_folder,
            log_to_driver=False, configure_logging=False,
        )  # fmt: skip
        rates = _through_ray(home, count)
    finally:
        ray.shutdown()
        shutil.rmtree(ray_folder, ignore_errors=True)
    rates["journal"] = _journal_alone(home / "alone.jsonl", count // _ACKNOWLEDGED_PART)
    print(json.dumps(rates))  # noqa: T201 - what a driver is for


def _through_ray(home: Path, count: int) -> dict[str, float]:
    remote: Any = ray.remote(_ManagerActor)
    manager = remote.options(name=MANAGER, num_cpus=0, max_concurrency=100).remote(home)
    run_id = ray.get(manager.begin.remote())
    metrics = [example_metric(step) for step in range(1, count + 1)]

    waited = metrics[: count // _ACKNOWLEDGED_PART]
    started = time.perf_counter()
    for n, metric in enumerate(waited):
        ray.get(manager.report.remote(run_id, 1, n, [metric]))
    acknowledged = len(waited) / (time.perf_counter() - started)

    rest = metrics[len(waited) :]
    sink = ManagerSink(run_id, 1)
    sink._sent = len(waited)  # noqa: SLF001 - goes on behind what was reported above
    started = time.perf_counter()
    for metric in rest:
        sink(metric)
    sink.flush()
    as_logged = len(rest) / (time.perf_counter() - started)

    written = ray.get(manager.written.remote(run_id))
    if written != count:
        raise SystemExit(f"expected {count} metrics in the journal, found {written}")
    return {"acknowledged": acknowledged, "sink": as_logged}


def _journal_alone(path: Path, count: int) -> float:
    records = [example_metric(step).model_dump(mode="json") for step in range(1, count + 1)]
    started = time.perf_counter()
    with Journal(path, genesis="0" * 64, fsync_every=1) as journal:
        for record in records:
            journal.append(record)
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
