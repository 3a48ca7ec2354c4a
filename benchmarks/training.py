"""Milliseconds of a training step: ours, PyTorch's, and tinygrad's as it comes, on real data.

Same model, batch, optimiser and precision (float32) on both sides, each in a process of its own, in
turns. `benchmarks/results/training.json` is a list of rows; see `Measured`.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import both_ways, outcome, peers
from benchmarks.outcome import Goal
from evidence.errors import ServiceError, Unavailable
from trainers import config
from trainers.batches import Batches
from trainers.config import RunConfig
from trainers.data import catalog
from trainers.data.load import load
from trainers.provenance import REPOSITORY

_BATCHES = 20
_THREADS = {"native": 2, "portable": 1}
_GOALS = {
    "torch-eager": Goal("at most 1", most=1.0),
    "tinygrad-stock": Goal("at most 0.333", most=1 / 3),
}
"""For the native kernel set."""


@dataclass(frozen=True, slots=True)
class Trainers:
    """Which of our processes do a step."""

    threads: int
    """Of each."""
    workers: int = 1
    """Data-parallel ones, which share a batch."""
    copies: int = 1
    """Independent ones at once."""


Way = tuple[str, Trainers]
"""A kernel set and the processes that do a step."""

_WAYS: tuple[Way, ...] = (
    ("native", Trainers(2)),
    ("native", Trainers(1, workers=2)),
    ("portable", Trainers(1)),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run."""

    rounds: int
    seconds: float
    """Of steps, about, after the warm-up of each process."""
    workloads: tuple[str, ...]
    peers: tuple[str, ...]
    cap_s: float
    """Most seconds of a process of `torch-compile` or `tinygrad-stock`."""


WORKLOADS = tomllib.loads((Path(__file__).parent / "workloads.toml").read_text())
FULL = Plan(3, 3.0, tuple(WORKLOADS), ("torch-eager", "torch-compile", "tinygrad-stock"), 240.0)
QUICK = Plan(1, 0.2, ("mlp",), ("tinygrad-stock",), 60.0)


@dataclass(frozen=True, slots=True)
class Side:
    """What the processes of one side measured."""

    step_ms: float
    warm_up_s: float
    peak_bytes: int
    operations: int | None
    """Floating-point operations of a step; only PyTorch counts them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A row of the result. Times are medians over all steps of all rounds."""

    workload: str
    kernel_set: str
    """Ours."""
    threads: int
    """Of each of ours; PyTorch has 2, tinygrad as it comes has what it takes."""
    workers: int
    """Ours that share a batch. Goals are for the faster of two threads and two workers."""
    ours_ms: float | None
    peer: str
    peer_ms: float | None
    ratio: float | None
    """ours_ms / peer_ms."""
    goal: str | None
    met: bool | None
    samples_s: float | None
    warm_up_s: float | None
    """Of our process, until three steps are done, compiled kernels in the cache."""
    peer_warm_up_s: float | None
    peak_mb: float | None
    peer_peak_mb: float | None
    peak_share: float | None
    """Operations of matrix products and convolutions over time, as a share of the sgemm peak."""
    not_run: str | None


def measure(plan: Plan) -> list[Measured]:
    """Return a row for each workload, kernel set and peer."""
    torch = _torch_python() if any(peer.startswith("torch") for peer in plan.peers) else None
    peak = _sgemm_flops(torch) if torch else None
    return [row for name in plan.workloads for row in _rows(name, plan, torch, peak)]


def document(_: str, rows: Iterable[Measured], before: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows as they are written, each with the machine and commit it was measured on."""
    common = {**outcome.code_and_date(), "machine": before}
    return [{**asdict(row), **common} for row in rows]


def _rows(name: str, plan: Plan, torch: Path | None, peak: float | None) -> Iterator[Measured]:
    workload = WORKLOADS[name]
    mine, theirs = _alternately(name, plan, torch)
    eager = theirs.get("torch-eager")
    operations = eager.operations if isinstance(eager, Side) else None
    fastest = min((way for way in mine if way[0] == "native"), key=lambda way: mine[way].step_ms)
    for (kernel_set, trainers), side_of_ours in mine.items():
        is_best = (kernel_set, trainers) == fastest
        for peer, side in theirs.items():
            if peer != "torch-eager" and not is_best:
                continue
            known = side if isinstance(side, Side) else None
            ratio = side_of_ours.step_ms / known.step_ms if known else None
            goal = _GOALS.get(peer) if is_best else None
            yield Measured(
                workload=name,
                kernel_set=kernel_set,
                threads=trainers.threads,
                workers=trainers.workers,
                ours_ms=side_of_ours.step_ms,
                peer=peer,
                peer_ms=known.step_ms if known else None,
                ratio=ratio,
                goal=goal.text if goal else None,
                met=goal.is_met(ratio) if goal and ratio is not None else None,
                samples_s=1000 * workload["batch_size"] / side_of_ours.step_ms,
                warm_up_s=side_of_ours.warm_up_s,
                peer_warm_up_s=known.warm_up_s if known else None,
                peak_mb=side_of_ours.peak_bytes / 1e6,
                peer_peak_mb=known.peak_bytes / 1e6 if known else None,
                peak_share=operations / (side_of_ours.step_ms / 1000) / peak
                if operations and peak
                else None,
                not_run=None if known else str(side),
            )


def _alternately(
    name: str, plan: Plan, torch: Path | None
) -> tuple[dict[Way, Side], dict[str, Side | str]]:
    """Return what each side of a workload measured, or why not."""
    configs = {kernels: config_of(name, kernels) for kernels in _THREADS}
    batches = write_batches(name, configs["native"])
    mine: dict[Way, list[dict[str, Any]]] = {way: [] for way in _WAYS}
    eager: list[dict[str, Any]] = []

    for way in _WAYS:
        _measured(way, configs, batches, 1)  # compiles
    for _ in range(plan.rounds):
        for way in _WAYS:
            mine[way].append(_timed(lambda n, w=way: _measured(w, configs, batches, n), plan))
        if "torch-eager" in plan.peers:
            eager.append(_timed(lambda n: _torch(torch, name, batches, "eager", n), plan))
    theirs: dict[str, Side | str] = {"torch-eager": _side(eager)} if eager else {}
    for peer in plan.peers:
        if peer == "torch-compile":
            theirs[peer] = _once(lambda: _torch(torch, name, batches, "compile", 5, plan.cap_s))
        if peer == "tinygrad-stock":
            theirs[peer] = _once(lambda: _stock(configs["native"], batches, plan.cap_s))
    return {way: _side(found) for way, found in mine.items()}, theirs


def _stock(run: RunConfig, batches: Path, cap_s: float) -> dict[str, Any]:
    return ours(run, batches, 3, "stock", cap_s=cap_s)[0]


def _measured(
    way: Way, configs: Mapping[str, RunConfig], batches: Path, steps: int
) -> dict[str, Any]:
    kernels, trainers = way
    return ours(configs[kernels], batches, steps, kernels, trainers=trainers)[0]


def _timed(run: Any, plan: Plan) -> dict[str, Any]:
    """Return what a process measured in about `plan.seconds` of steps."""
    first = run(3)
    steps = math.ceil(plan.seconds * 1000 / statistics.median(first["step_ms"]))
    told: dict[str, Any] = run(max(5, steps))
    return told


def _once(run: Any) -> Side | str:
    try:
        return _side([run()])
    except ServiceError as error:
        return error.detail


def _side(told: list[dict[str, Any]]) -> Side:
    return Side(
        step_ms=statistics.median(ms for one in told for ms in one["step_ms"]),
        warm_up_s=statistics.median(one["warm_up_s"] for one in told),
        peak_bytes=max(one["peak_bytes"] for one in told),
        operations=told[0].get("operations"),
    )


def config_of(name: str, kernels: str) -> RunConfig:
    """Return the config of a workload under a kernel set."""
    return config.parse({**WORKLOADS[name], "steps": 1000, "kernel_set": kernels})


def write_batches(name: str, run: RunConfig) -> Path:
    """Write the batches of a workload's first steps, which every side goes round in."""
    cache = both_ways.settings().cache
    both_ways.require_data(run.dataset, cache)
    data, entry = load(run.dataset, cache), catalog.entry(run.dataset)
    chosen = Batches(run, data, seed=1)
    pairs = [chosen.at(step) for step in range(1, _BATCHES + 1)]
    path = both_ways.settings().home / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        inputs=np.stack([inputs for inputs, _ in pairs]),
        targets=np.stack([targets for _, targets in pairs]),
        mean=np.array(getattr(entry, "mean", [0.0]), np.float32),
        std=np.array(getattr(entry, "std", [1.0]), np.float32),
    )
    return path


def ours(
    run: RunConfig,
    batches: Path,
    steps: int,
    kernels: str,
    *,
    trainers: Trainers | None = None,
    cap_s: float = 600.0,
) -> list[dict[str, Any]]:
    """Return what `step_ours.py` measures in new processes: of a group its first worker's.

    Args:
        run: The workload's config.
        batches: Written by `write_batches`.
        steps: After the warm-up.
        kernels: native, portable, or stock for tinygrad as it comes.
        trainers: How many processes; one with the threads of the kernel set if not given.
        cap_s: Most seconds.

    Raises:
        Unavailable: One failed, or was not done in time.
    """
    wanted = trainers or Trainers(_THREADS.get(kernels, 2))
    with tempfile.TemporaryDirectory(prefix="zpg-") as scratch:
        folder = Path(scratch, "group")
        folder.mkdir()
        together = run.model_copy(update={"workers": wanted.workers})
        commands = [
            [
                *command(together, batches, steps, kernels, threads=wanted.threads),
                str(folder),
                str(rank),
            ]
            for _ in range(wanted.copies)
            for rank in range(wanted.workers)
        ]
        with ThreadPoolExecutor(len(commands)) as pool:
            told = list(pool.map(lambda one: answer(one, cap_s), commands))
    groups = [told[i : i + wanted.workers] for i in range(0, len(told), wanted.workers)]
    return [{**group[0], "peak_bytes": sum(one["peak_bytes"] for one in group)} for group in groups]


def command(run: RunConfig, batches: Path, steps: int, kernels: str, *, threads: int) -> list[str]:
    """Return the command of `ours`, without folder and rank."""
    return [
        sys.executable, "-m", "benchmarks.step_ours",
        json.dumps(run.as_json()), str(batches), str(both_ways.settings().cache),
        str(threads), str(steps), "stock" if kernels == "stock" else "library",
    ]  # fmt: skip


def _torch(
    python: Path | None, name: str, batches: Path, mode: str, steps: int, cap_s: float = 600.0
) -> dict[str, Any]:
    program = Path(__file__).parent / "step_torch.py"
    workload = json.dumps(WORKLOADS[name])
    return answer(
        [str(python), str(program), workload, str(batches), mode, "2", str(steps), "cpu"], cap_s
    )


def answer(command: list[str], cap_s: float) -> dict[str, Any]:
    """Return the JSON that a command prints.

    Raises:
        Unavailable: It failed, or was not done within `cap_s` seconds.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=REPOSITORY, timeout=cap_s, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"not done within {cap_s:g} s") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{command[1]}: {error.stderr.strip()[-300:]}") from error
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _torch_python() -> Path:
    return peers.require(peers.TORCH)


def _sgemm_flops(torch: Path) -> float:
    """Return the machine's float32 peak: PyTorch's product of two matrices of 2,048, 2 threads."""
    program = Path(__file__).parent / "step_torch.py"
    return float(answer([str(torch), str(program), "sgemm", "2"], 120.0)["flops_s"])
