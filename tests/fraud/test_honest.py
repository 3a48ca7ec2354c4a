"""Honest packs give no false alarm: every check passes, and a window picked at random is equal.

Each pack is one that the loop and the service's writer made. The quick suite has one of each kind;
the campaign (`make test-long`) has the others, and writes what each cost to var/fraud/honest.json.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evidence import canonical
from evidence.report import Verdict
from tests.fraud import forge, honest
from tests.trainers import tiny
from tests.trainers.replaying import claims_of, replayed
from tests.trainers.sealed import write_by_workers
from trainers import windows
from trainers.audit import Auditor, audit
from trainers.comparison import Outcome
from trainers.data import fetch
from trainers.windows import Request

long = pytest.mark.long

REQUIRED = (
    "records.chain", "records.commitment", "records.checkpoints", "log.inclusion",
    "model.signature", "model.rebuilt",
)  # fmt: skip

COSTS = Path(__file__).parents[2] / "var" / "fraud" / "honest.json"

Cost = Callable[..., None]


@pytest.fixture(scope="module")
def cost() -> Iterator[Cost]:
    """Takes what each pack cost, and writes all of it when the campaign ends."""
    told: list[dict[str, Any]] = []
    yield lambda **one: told.append(one)
    COSTS.parent.mkdir(parents=True, exist_ok=True)
    COSTS.write_bytes(canonical.encode({"packs": len(told), "costs": told}))


def require_verified(root: Path) -> float:
    """Make every check of a pack; return the seconds."""
    begun = time.perf_counter()
    report = forge.judge(root, required=REQUIRED)
    assert report.verdict is Verdict.PASSED, report.summary
    return time.perf_counter() - begun


def require_quiet(root: Path, name: str, cost: Cost) -> None:
    """Verify a pack and do one of its windows again, picked at random."""
    verified_s = require_verified(root)
    (chosen,) = windows.choose(claims_of(root).bounds, Request(count=1)).windows
    (one,) = replayed(root, (chosen.begin, chosen.end))
    assert one.outcome is Outcome.EQUAL, one
    cost(name=name, verified_s=verified_s, replay_s=one.seconds, trained_s=one.trained_seconds)


def require_audited(root: Path, name: str, cache: Path, cost: Cost) -> None:
    """Verify a pack and audit one window, in processes of its own on the published data."""
    verified_s = require_verified(root)
    auditor = Auditor(cache=cache, bring=lambda cfg: fetch.fetch(cfg.dataset, cache=cache))
    report = audit(root, Request(count=1), auditor)
    assert report.summary == "PASSED, 1 of 1 window equal", report.missing
    (one,) = report.windows
    cost(name=name, verified_s=verified_s, replay_s=one.seconds, trained_s=one.trained_seconds)


@pytest.mark.parametrize("kind", ["mlp_sgd", "mlp_adam_float16"])
def test_a_whole_run_gives_no_alarm(kind: str, tmp_path: Path, cost: Cost) -> None:
    root = honest.whole(tmp_path / "runs" / "pack", honest.config_of(kind))
    require_quiet(root, kind, cost)


def test_a_killed_and_resumed_run_gives_no_alarm(tmp_path: Path, cost: Cost) -> None:
    cfg = honest.config_of("mlp_adamw_cosine")
    root = honest.killed_and_resumed(tmp_path / "runs" / "pack", cfg, after=9)
    assert len(trained_attempts(root)) == 2
    require_quiet(root, "killed mlp_adamw_cosine", cost)


def test_a_run_of_two_workers_gives_no_alarm(tmp_path: Path, mnist_cache: Path, cost: Cost) -> None:
    cfg = tiny.run_config(steps=6, checkpoint_every=2, workers=2)
    root = write_by_workers(tmp_path / "pack", cfg, cache=mnist_cache, scratch=tmp_path)
    require_audited(root, "2 workers", mnist_cache, cost)


def trained_attempts(root: Path) -> set[int]:
    """Return the attempts that measured something."""
    return {metric.attempt for metric in claims_of(root).metrics}


@long
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("kind", honest.KINDS)
def test_whole_runs_give_no_alarm(kind: str, seed: int, tmp_path: Path, cost: Cost) -> None:
    cfg = honest.config_of(kind, seed=seed)
    require_quiet(honest.whole(tmp_path / "runs" / "pack", cfg), kind, cost)


@long
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", honest.KINDS)
def test_killed_and_resumed_runs_give_no_alarm(
    kind: str, seed: int, tmp_path: Path, cost: Cost
) -> None:
    cfg = honest.config_of(kind, seed=seed)
    root = honest.killed_and_resumed(tmp_path / "runs" / "pack", cfg, after=8 + seed)
    assert len(trained_attempts(root)) == 2
    require_quiet(root, f"killed {kind}", cost)


@long
@pytest.mark.parametrize("kind", ["mlp_sgd", "mlp_adam_float16", "convnet_dropout_in_pieces"])
@pytest.mark.parametrize("workers", [2, 4])
def test_runs_of_several_workers_give_no_alarm(
    workers: int, kind: str, tmp_path: Path, mnist_cache: Path, cost: Cost
) -> None:
    cfg = tiny.run_config(**honest.KINDS[kind], steps=6, checkpoint_every=2, workers=workers)
    root = write_by_workers(tmp_path / "pack", cfg, cache=mnist_cache, scratch=tmp_path)
    require_audited(root, f"{workers} workers {kind}", mnist_cache, cost)
