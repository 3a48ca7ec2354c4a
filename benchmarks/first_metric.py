"""How long a newcomer waits: from POST to the first metric event, against the bare script.

The trainer is cold (a new process) on both sides; compiled kernels are in the cache.
"""

from dataclasses import dataclass, replace

from benchmarks import both_ways
from benchmarks.outcome import Row, compare


@dataclass(frozen=True, slots=True)
class Plan:
    """How often."""

    rounds: int


FULL = Plan(3)
QUICK = Plan(1)

_MOST_S = 3.0
_REQUEST = {"recipe": "mnist_mlp", "overrides": {"steps": 60, "device": "CPU"}}


def measure(plan: Plan) -> list[Row]:
    """Return one row: seconds to the first metric."""
    ours, bare = [], []
    with both_ways.service() as (_, client):
        both_ways.by_bare_script(_REQUEST)  # compiles
        for _ in range(plan.rounds):
            ours.append(both_ways.by_service(client, _REQUEST).first_metric_s)
            bare.append(both_ways.by_bare_script(_REQUEST).first_metric_s)
    note = "POST to the event at the client; start of the process to the line in the file"
    row = compare("mnist_mlp, cold trainer", "s", ours=ours, peer=(both_ways.BARE, bare), note=note)
    return [replace(row, goal="at most 3 s", met=row.ours is not None and row.ours <= _MOST_S)]
