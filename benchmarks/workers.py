"""Samples a second of one trainer, of two copies at once, of two workers, and of two threads.

Kernel set `native`, float32, real data, steps as `benchmarks.training` does them. A worker of the
group sees as many samples a step as the single trainer does, so the batch is twice as large; two
copies share nothing and say what the machine can give.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import training
from benchmarks.outcome import Row, compare
from benchmarks.training import WORKLOADS, Trainers
from trainers import config

_SIZE = 2
_LEAST_OF_ONE, _LEAST_OF_COPIES = 1.8, 0.95


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run."""

    rounds: int
    seconds: float
    """Of steps, about, in each process."""
    workloads: tuple[str, ...]


FULL = Plan(3, 3.0, ("mlp", "convnet", "resnet"))
QUICK = Plan(1, 0.2, ("mlp",))


def measure(plan: Plan) -> list[Row]:
    """Return the rows of each workload."""
    return [row for name in plan.workloads for row in _rows(name, plan)]


def _rows(name: str, plan: Plan) -> list[Row]:
    one = _Side(name, Trainers(1))
    copies = _Side(name, Trainers(1, copies=_SIZE))
    group = _Side(name, Trainers(1, workers=_SIZE))
    threads = _Side(name, Trainers(_SIZE))
    for _ in range(plan.rounds):
        for side in (one, copies, group, threads):
            side.measure(plan.seconds)
    unit = "samples/s"
    ours = group.samples_s
    to_one = compare(f"{name}, 2 workers", unit, ours=ours, peer=("one trainer", one.samples_s))
    to_copies = compare(
        f"{name}, 2 workers", unit, ours=ours, peer=("two copies", copies.samples_s)
    )
    met = (to_one.ratio or 0) >= _LEAST_OF_ONE or (to_copies.ratio or 0) >= _LEAST_OF_COPIES
    return [
        replace(to_one, goal="at least 1.8, or 0.95 of two copies", met=met),
        to_copies,
        compare(f"{name}, 2 workers", unit, ours=ours, peer=("2 threads", threads.samples_s)),
        compare(
            f"{name}, two copies", unit, ours=copies.samples_s, peer=("one trainer", one.samples_s)
        ),
    ]


class _Side:
    """One way to train a workload, measured again and again."""

    def __init__(self, name: str, trainers: Trainers) -> None:
        size = int(WORKLOADS[name]["batch_size"]) * trainers.workers
        self._trainers = trainers
        self._config = config.parse(
            {**WORKLOADS[name], "batch_size": size, "steps": 1000, "kernel_set": "native"}
        )
        self._batches = training.write_batches(f"{name}-{size}", self._config)
        self._steps = 0
        self.samples_s: list[float] = []

    def measure(self, seconds: float) -> None:
        """Measure once, for about so many seconds."""
        if not self._steps:  # the first time compiles
            ms = statistics.median(self._told(3)[0]["step_ms"])
            self._steps = max(5, math.ceil(seconds * 1000 / ms))
        told = self._told(self._steps)
        size = self._config.batch_size
        self.samples_s.append(sum(1000 * size / statistics.median(one["step_ms"]) for one in told))

    def _told(self, steps: int) -> Sequence[dict[str, Any]]:
        return training.ours(self._config, self._batches, steps, "native", trainers=self._trainers)
