"""What evidence costs: training with it against without, its bytes, and its verification.

Both sides are the same loop in a process of its own, in turns; the one writes a run folder with
signed records and a log, the other throws its events away. About one record a second.
"""

import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import both_ways
from benchmarks.outcome import Goal, Row, compare
from evidence.archive import open_pack
from evidence.errors import Unavailable
from evidence.verify import verify
from trainers.provenance import REPOSITORY

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run."""

    rounds: int
    steps: int
    metric_every: int
    """Steps of about a second."""


_LARGE = {
    "recipe": "mnist_mlp",
    "overrides": {
        "model": {"architecture": "mlp", "hidden": [2048, 2048]},
        "steps": 6,
        "checkpoint_every": 2,
        "kernel_set": "native",
        "threads": 2,
    },
}
"""Checkpoints of 70 MB each."""

FULL = Plan(3, 3000, 150)
QUICK = Plan(1, 60, 10)


def measure(plan: Plan) -> list[Row]:
    """Return the rows."""
    cache = both_ways.settings().cache
    both_ways.require_data("mnist", cache)
    request = {
        "recipe": "mnist_convnet",
        "overrides": {
            "steps": plan.steps,
            "metric_every": plan.metric_every,
            "checkpoint_every": plan.steps // 3,
            "kernel_set": "native",
            "threads": 2,
        },
    }
    with_it: list[float] = []
    without: list[float] = []
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="zp-evidence-") as scratch:
        home = Path(scratch, "home")
        for _ in range(plan.rounds):
            without.append(_run("plain", request, home, cache)["seconds"])
            shutil.rmtree(home, ignore_errors=True)
            told = _run("evidence", request, home, cache)
            with_it.append(told["seconds"])
        small, _ = _verification(Path(told["pack"]), plan.rounds)
        shutil.rmtree(home)
        large = _run("evidence", _LARGE, home, cache)
        verified, hashed = _verification(Path(large["pack"]), plan.rounds)
    per_step = told["evidence_bytes"] / plan.steps
    return [
        compare(
            "training with evidence", "s", ours=with_it, peer=("without", without),
            goal=Goal("at most 1.02", most=1.02),
            note=f"{plan.steps} steps of mnist_convnet, a metric each {plan.metric_every}",
        ),
        Row("evidence without weights", "bytes a step", ours=per_step,
            note=f"a metric each {plan.metric_every} steps, 3 checkpoints, all signed and logged"),
        Row("sealing", "s", ours=told["seal_s"]),
        compare(
            "verification", "s", ours=verified, peer=("SHA-256 of the files", hashed),
            goal=Goal("at most 1.3", most=1.3),
            note="every check that needs no tinygrad; three checkpoints of an MLP of 5.8 M weights",
        ),
        Row("verification of a small pack", "s", ours=statistics.median(small),
            note="mnist_convnet with three checkpoints: what every pack costs"),
    ]  # fmt: skip


def _run(mode: str, request: dict[str, Any], home: Path, cache: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.evidence_run", mode, json.dumps(request)]
    done = subprocess.run(
        [*command, str(home), str(cache)], cwd=REPOSITORY, capture_output=True, check=False
    )
    if done.returncode:
        raise Unavailable(f"{mode}: {done.stderr.decode()[-300:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _verification(pack: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Return seconds of verifying a pack, and of hashing its files; in turns, files in memory."""
    verified, hashed = [], []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        for path in sorted(pack.rglob("*")):
            if path.is_file():
                _hash(path)
        hashed.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        with open_pack(pack) as held:
            report = verify(held)
        verified.append(time.perf_counter() - begun)
        if report.exit_code:
            raise Unavailable(f"the pack does not verify: {report.summary}")
    return verified[1:], hashed[1:]


def _hash(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            state.update(data)
    return state.hexdigest()
