"""What the service costs a training loop: steps/s with events, evidence and checkpoints, or bare.

Both sides are `trainers.loop.train` with the same request, one thread, the same compiled kernels.
The service stays up, idle, while the bare script runs; a row tells what it then uses.
"""

import time
from dataclasses import dataclass

import psutil

from benchmarks import both_ways
from benchmarks.outcome import Goal, Row, compare
from serve.client import Client
from serve.local import LocalService

_GOAL = Goal("at least 0.97 (3 % overhead)", least=0.97)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run."""

    rounds: int
    runs: tuple[tuple[str, int, int], ...]
    """Recipe, steps, steps between metrics."""
    after_step: int
    idle_s: float


FULL = Plan(
    3,
    (("mnist_mlp", 3000, 1), ("mnist_mlp", 3000, 50), ("mnist_convnet", 900, 1)),
    after_step=50,
    idle_s=10.0,
)
QUICK = Plan(1, (("mnist_mlp", 300, 1),), after_step=50, idle_s=1.0)


def measure(plan: Plan) -> list[Row]:
    """Return one row a recipe, and what the idle service uses."""
    with both_ways.service() as (service, client):
        rows = [_row(client, run, plan) for run in plan.runs]
        idle = _cores_used(service, plan.idle_s)
    note = "all processes of a service without runs; it stays up beside the bare script"
    return [*rows, Row("idle service", "cores", ours=idle, note=note)]


def _row(client: Client, run: tuple[str, int, int], plan: Plan) -> Row:
    recipe, steps, every = run
    overrides = {"steps": steps, "metric_every": every, "device": "CPU"}
    request = {"recipe": recipe, "overrides": overrides}
    both_ways.by_bare_script({**request, "overrides": {**overrides, "steps": 12}})  # compiles
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(plan.rounds):
        served = both_ways.by_service(client, request)
        ours.append(both_ways.steps_per_s(served.metrics, after_step=plan.after_step))
        alone = both_ways.by_bare_script(request)
        bare.append(both_ways.steps_per_s(alone.metrics, after_step=plan.after_step))
    note = f"steps {plan.after_step} to {steps}, evaluations and checkpoints included"
    peer = (both_ways.BARE, bare)
    workload = f"{recipe}, a metric each {every} step(s)"
    return compare(workload, "steps/s", ours=ours, peer=peer, goal=_GOAL, note=note)


def _cores_used(service: LocalService, seconds: float) -> float:
    """Return how many cores a service uses, as the mean over some seconds."""
    before = _processor_time(service)
    time.sleep(seconds)
    after = _processor_time(service)
    return sum(after[pid] - before[pid] for pid in after.keys() & before.keys()) / seconds


def _processor_time(service: LocalService) -> dict[int, float]:
    times: dict[int, float] = {}
    for process in service.processes():
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        times[process.pid] = used.user + used.system
    return times
