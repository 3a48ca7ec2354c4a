"""How long a newcomer waits: from POST to the first metric event, against the bare script.

The trainer is cold (a new process) on both sides; compiled kernels are in the cache.
"""

from dataclasses import dataclass

from benchmarks import training
from benchmarks.outcome import Row, compare


@dataclass(frozen=True, slots=True)
class Plan:
    """How often."""

    rounds: int


FULL = Plan(3)
QUICK = Plan(1)

_REQUEST = {"recipe": "mnist_mlp", "overrides": {"steps": 60, "device": "CPU"}}


def measure(plan: Plan) -> list[Row]:
    """Return one row: seconds to the first metric."""
    ours, bare = [], []
    with training.service() as (_, client):
        training.by_bare_script(_REQUEST)  # compiles
        for _ in range(plan.rounds):
            ours.append(training.by_service(client, _REQUEST).first_metric_s)
            bare.append(training.by_bare_script(_REQUEST).first_metric_s)
    note = "POST to the event at the client; start of the process to the line in the file"
    return [
        compare("mnist_mlp, cold trainer", "s", ours=ours, peer=(training.BARE, bare), note=note)
    ]
