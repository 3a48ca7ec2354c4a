"""Samples a second of one trainer, of two copies at once, of two workers, and of two threads.

Every trainer is a process of its own (no service): kernel set `native`, float32, real data.
A worker of the group sees as many samples a step as the single trainer does, so its batch is twice
as large; two copies share nothing and say what the machine can give.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import both_ways
from benchmarks.outcome import Row, compare
from benchmarks.training import WORKLOADS
from evidence.errors import Unavailable
from trainers import config
from trainers.provenance import REPOSITORY

_SIZE = 2
_WARM_UP_STEPS = 5
_LEAST_OF_ONE, _LEAST_OF_COPIES = 1.8, 0.95


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run."""

    rounds: int
    steps: dict[str, int]
    """Steps of a process, by workload."""


FULL = Plan(3, {"mlp": 400, "convnet": 80, "resnet": 40})
QUICK = Plan(1, {"mlp": 30})


def measure(plan: Plan) -> list[Row]:
    """Return the rows of each workload."""
    cache = both_ways.settings().cache
    rows: list[Row] = []
    for name, steps in plan.steps.items():
        both_ways.require_data(str(WORKLOADS[name]["dataset"]), cache)
        rows += _rows(name, steps, plan.rounds, cache)
    return rows


def _rows(name: str, steps: int, rounds: int, cache: Path) -> list[Row]:
    one: list[float] = []
    copies: list[float] = []
    group: list[float] = []
    threads: list[float] = []
    for _ in range(rounds):
        one += _samples_s(name, steps, cache, processes=1)
        copies.append(sum(_samples_s(name, steps, cache, processes=_SIZE)))
        group.append(_samples_s(name, steps, cache, processes=_SIZE, is_group=True)[0])
        threads += _samples_s(name, steps, cache, processes=1, threads=_SIZE)
    unit = "samples/s"
    to_one = compare(f"{name}, 2 workers", unit, ours=group, peer=("one trainer", one))
    to_copies = compare(f"{name}, 2 workers", unit, ours=group, peer=("two copies", copies))
    met = (to_one.ratio or 0) >= _LEAST_OF_ONE or (to_copies.ratio or 0) >= _LEAST_OF_COPIES
    return [
        replace(to_one, goal="at least 1.8, or 0.95 of two copies", met=met),
        to_copies,
        compare(f"{name}, 2 workers", unit, ours=group, peer=("2 threads", threads)),
        compare(f"{name}, two copies", unit, ours=copies, peer=("one trainer", one)),
    ]


def _samples_s(
    name: str,
    steps: int,
    cache: Path,
    *,
    processes: int,
    threads: int = 1,
    is_group: bool = False,
) -> list[float]:
    """Return the samples a second of each process that reports; of a group, its first worker's."""
    batch_size = int(WORKLOADS[name]["batch_size"]) * (_SIZE if is_group else 1)
    run = config.parse(
        {
            **WORKLOADS[name],
            "batch_size": batch_size,
            "steps": steps,
            "checkpoint_every": max(1, steps // 3),
            "kernel_set": "native",
            "threads": threads,
            "workers": _SIZE if is_group else 1,
        }
    )
    with tempfile.TemporaryDirectory(prefix="zpg-") as scratch:
        folder = Path(scratch, "group")
        folder.mkdir()
        arguments = [json.dumps(run.as_json()), str(cache), str(folder) if is_group else ""]
        command = [sys.executable, "-m", "benchmarks.workers", *arguments]
        started = [
            subprocess.Popen([*command, str(rank)], cwd=REPOSITORY, stdout=subprocess.PIPE)
            for rank in range(processes)
        ]
        told = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise Unavailable(f"{name}: a trainer of the benchmark failed")
    took = [json.loads(text) for text in told]
    return [1000 * batch_size / statistics.median(ms) for ms in took if ms]


def train(arguments: Sequence[str]) -> list[float]:
    """Train in this process and return the milliseconds of each step behind the warm-up.

    Args:
        arguments: Config, cache, folder of the group (empty for none), rank.
    """
    text, cache, folder, rank = arguments
    run = config.parse(json.loads(text))
    from trainers import runtime  # noqa: PLC0415 - a benchmark's process only

    runtime.prepare_process(
        device="CPU", cache=Path(cache), threads=run.threads, kernels=run.kernel_set
    )
    # tinygrad reads the environment when it is imported, so what uses it comes after that line.
    from evidence.records import Metric, Split  # noqa: PLC0415
    from trainers.checkpoint import Start  # noqa: PLC0415
    from trainers.data.load import load  # noqa: PLC0415
    from trainers.group import ALONE  # noqa: PLC0415
    from trainers.loop import train as run_loop  # noqa: PLC0415
    from trainers.shared_memory import SharedMemoryGroup  # noqa: PLC0415

    group = SharedMemoryGroup(Path(folder), rank=int(rank), size=run.workers) if folder else ALONE
    took: list[float] = []

    def take(event: Any) -> None:
        is_step = isinstance(event, Metric) and event.split is Split.TRAIN
        if is_step and event.step > _WARM_UP_STEPS and event.step_ms is not None:
            took.append(event.step_ms)

    run_loop(run, load(run.dataset, Path(cache)), Start.fresh(), take, group=group)
    return took if group.rank == 0 else []


if __name__ == "__main__":
    sys.stdout.write(json.dumps(train(sys.argv[1:])))
