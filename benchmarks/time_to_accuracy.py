"""From POST to a stated test accuracy through the service, with a new trainer and a warm cache."""

import statistics
import time
from dataclasses import dataclass
from typing import Any

from benchmarks import both_ways
from benchmarks.outcome import Row
from evidence.errors import Unavailable
from serve.client import Client


@dataclass(frozen=True, slots=True)
class Workload:
    """A recipe and what it has to reach."""

    recipe: str
    accuracy: float
    """Of the test split, [0, 1]."""
    overrides: dict[str, Any]
    most_s: float | None
    """Goal in seconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run."""

    rounds: int
    workloads: tuple[Workload, ...]


_FAST = {"device": "CPU", "kernel_set": "native", "threads": 2}
FULL = Plan(
    3,
    (
        Workload("mnist_convnet", 0.985, _FAST, 15.0),
        Workload("mnist_mlp", 0.96, _FAST, None),
    ),
)
QUICK = Plan(1, (Workload("mnist_mlp", 0.5, {**_FAST, "steps": 60}, None),))


def measure(plan: Plan) -> list[Row]:
    """Return a row a workload."""
    with both_ways.service() as (_, client):
        return [_row(client, workload, plan.rounds) for workload in plan.workloads]


def _row(client: Client, workload: Workload, rounds: int) -> Row:
    _seconds(client, workload)  # compiles
    seconds = [_seconds(client, workload) for _ in range(rounds)]
    ours, most_s = statistics.median(seconds), workload.most_s
    return Row(
        f"{workload.recipe} to {100 * workload.accuracy:g} %, native, 2 threads",
        "s",
        ours=ours,
        goal=None if most_s is None else f"at most {most_s:g} s",
        met=None if most_s is None else ours <= most_s,
        note="POST to the first evaluation that reaches it; evaluations are at checkpoints",
        samples={"ours": seconds},
    )


def _seconds(client: Client, workload: Workload) -> float:
    begun = time.monotonic()
    request = {"recipe": workload.recipe, "overrides": workload.overrides}
    run_id = client.submit(request)["run_id"]
    reached: float | None = None
    for event in client.follow(run_id):
        metric = event.data
        if event.kind != "metric" or metric["split"] != "test" or reached is not None:
            continue
        if metric["accuracy"] >= workload.accuracy:
            reached = time.monotonic() - begun
    if reached is None:
        raise Unavailable(f"{workload.recipe} did not reach {100 * workload.accuracy:g} %")
    return reached
