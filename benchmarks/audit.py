"""What an audited window costs: seconds of its replay against what the pack says training took.

The run is made by the service and is sealed; the audit is what `zpctl audit` does, a window in the
middle of it, in processes of its own. Compiled kernels are in the cache, on both sides.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks import both_ways
from benchmarks.outcome import Goal, Row, compare
from evidence.errors import Unavailable
from evidence.report import Verdict
from serve.client import Client
from trainers import audit
from trainers.audit import Auditor
from trainers.audit_report import AuditReport
from trainers.data import store
from trainers.windows import Request

_GOAL = Goal("at most 1.2", most=1.2)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run."""

    rounds: int
    runs: tuple[tuple[str, int], ...]
    """Recipe, steps of a window; a run has three."""


FULL = Plan(3, (("mnist_convnet", 1000), ("mnist_mlp", 3000)))
QUICK = Plan(1, (("mnist_mlp", 100),))


def measure(plan: Plan) -> list[Row]:
    """Return two rows a recipe: the window alone, and the whole audit."""
    with both_ways.service() as (_, client):
        return [
            row
            for recipe, steps in plan.runs
            for row in _rows(client, recipe, steps, rounds=plan.rounds)
        ]


def _rows(client: Client, recipe: str, steps: int, *, rounds: int) -> list[Row]:
    overrides = {"steps": 3 * steps, "checkpoint_every": steps, "device": "CPU"}
    view = client.submit({"recipe": recipe, "overrides": overrides})
    for _ in client.follow(view["run_id"]):
        pass
    root = both_ways.settings().runs_root / view["run_id"]
    reports = [_audited(root, steps) for _ in range(rounds)]
    trained = [report.seconds.trained or 0.0 for report in reports]
    replayed = [report.seconds.replay for report in reports]
    whole = [report.seconds.replay + report.seconds.preparation for report in reports]
    peer = ("training, by its metrics", trained)
    name = f"{recipe}, {steps} steps"
    note = "from reading the checkpoint to the comparison, kernels captured and evaluation included"
    return [
        compare(f"{name}: replay", "s", ours=replayed, peer=peer, goal=_GOAL, note=note),
        compare(
            f"{name}: with its process", "s", ours=whole, peer=peer,
            note="a process started and data read and verified besides",
        ),
    ]  # fmt: skip


def _audited(root: Path, steps: int) -> AuditReport:
    """Audit the second window of a run, with what is in the cache.

    Raises:
        Unavailable: It did not pass.
    """
    cache = both_ways.settings().cache
    auditor = Auditor(cache=cache, bring=lambda config: store.status(config.dataset, cache))
    report = audit.audit(root, Request(begin=steps, end=2 * steps), auditor)
    if report.verdict is not Verdict.PASSED:
        raise Unavailable(f"the audit did not pass: {report.summary}")
    return report
