"""Windows of real small runs done again: honest ones are equal, and what cannot be told is not.

The frauds are in `tests/fraud`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.archive import open_pack
from evidence.clock import timestamp, utc_now
from evidence.records import CHECKPOINT_FILES, Log, TrainingEvent
from tests.trainers import tiny
from tests.trainers.replaying import claims_of, replayed
from tests.trainers.sealed import Fraud, Pack, trained
from trainers.comparison import Outcome
from trainers.config import RunConfig
from trainers.replay import Replay
from trainers.windows import Window

SGD = {"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}}
CONFIG = tiny.run_config(**SGD, steps=9, checkpoint_every=3)
DATA = tiny.dataset()
MODEL, OPTIMIZER, _ = CHECKPOINT_FILES

Forge = Callable[[list[TrainingEvent]], list[TrainingEvent]]
"""Returns the events of a fraud; some take those of an honest run."""


@pytest.fixture(scope="module")
def honest() -> list[TrainingEvent]:
    """The events of an honest run of CONFIG."""
    return trained(CONFIG, DATA)


def written(root: Path, cfg: RunConfig, *attempts: list[TrainingEvent], **changes: Any) -> Path:
    data = tiny.data_of(cfg)
    return Pack(cfg, attempts, dict(data.digests), **changes).write(root / "pack")


OTHERS = {
    "adam": {"optimizer": {"name": "adam", "lr": 0.01}},
    "float16": {"precision": "float16"},
    "bfloat16": {"precision": "bfloat16"},
    "dropout_in_pieces": {
        "model": {
            "architecture": "convnet", "channels": [4], "kernel": 3, "hidden": 16, "dropout": 0.5,
        },
        "micro_steps": 2,
    },
}  # fmt: skip


@pytest.mark.slow
def test_an_honest_run_is_equal_in_every_window(
    honest: list[TrainingEvent], tmp_path: Path
) -> None:
    results = replayed(written(tmp_path, CONFIG, honest))
    assert [str(one.window) for one in results] == ["0 to 3", "3 to 6", "6 to 9"]
    for one in results:
        assert (one.outcome, one.differing, one.first) == (Outcome.EQUAL, 0, None)
        assert [(fact.name, fact.is_equal) for fact in one.digests] == [
            ("model_digest", True), ("optimizer_digest", True), ("state_digest", True),
        ]  # fmt: skip
        assert one.compared == 3 + 3 * 3 + 2 + 3
        assert one.trained_seconds is not None
        assert one.ratio == one.seconds / one.trained_seconds


@pytest.mark.slow
@pytest.mark.parametrize("overrides", OTHERS.values(), ids=OTHERS)
def test_every_kind_of_run_is_equal(overrides: dict[str, Any], tmp_path: Path) -> None:
    cfg = tiny.run_config(**{**overrides, "steps": 6, "checkpoint_every": 2})
    (one,) = replayed(written(tmp_path, cfg, trained(cfg, tiny.data_of(cfg))), (2, 4))
    assert one.outcome is Outcome.EQUAL


@pytest.mark.slow
def test_a_resumed_run_is_equal(honest: list[TrainingEvent], tmp_path: Path) -> None:
    cut = tiny.checkpoints(honest)[6]
    begun = honest[: honest.index(cut) + 1]
    root = written(tmp_path, CONFIG, begun, trained(CONFIG, DATA, cut))
    assert [one.outcome for one in replayed(root)] == [Outcome.EQUAL] * 3


@pytest.mark.slow
def test_pruned_checkpoints_are_compared_on_the_way(tmp_path: Path) -> None:
    cfg = tiny.run_config(**SGD, steps=9, checkpoint_every=3, keep_last=1)
    (one,) = replayed(written(tmp_path, cfg, trained(cfg, DATA)))
    assert (str(one.window), one.outcome) == ("0 to 9", Outcome.EQUAL)
    assert one.compared == 3 + 9 * 3 + 3 * 2 + 3 * 3


@pytest.mark.slow
def test_metrics_that_are_seldom_cannot_say_how_long_training_took(tmp_path: Path) -> None:
    cfg = tiny.run_config(**SGD, steps=9, checkpoint_every=3, metric_every=3)
    (one,) = replayed(written(tmp_path, cfg, trained(cfg, DATA)), (3, 6))
    assert one.outcome is Outcome.EQUAL
    assert (one.trained_seconds, one.trained_reason) == (None, "1 of 3 steps have a metric")


@pytest.mark.slow
def test_steps_before_the_kernels_changed_are_not_held_against_the_run(tmp_path: Path) -> None:
    events = Fraud(skipped=(5, 8)).train(CONFIG, DATA)
    at = events.index(tiny.checkpoints(events)[6]) + 1
    changed = Log(timestamp=timestamp(utc_now()), name="kernels_changed", message="another node")
    root = written(tmp_path, CONFIG, events[:at], [changed, *events[at:]])
    equal, before, after = replayed(root)
    assert [one.outcome for one in (equal, before, after)] == [
        Outcome.EQUAL, Outcome.CANNOT_TELL, Outcome.MISMATCH,
    ]  # fmt: skip
    assert before.first is not None
    assert "other kernels" in before.first.meaning


@pytest.mark.slow
def test_a_start_that_is_no_state_of_the_run_is_refused(
    honest: list[TrainingEvent], tmp_path: Path
) -> None:
    root = written(tmp_path, CONFIG, honest)
    claims = claims_of(root)
    moved = replace(DATA, digests={"tiny": "0" * 64})
    with open_pack(root) as pack:
        result = Replay(claims, pack, moved, has_same_kernels=True).window(Window(begin=3, end=6))
    assert result.outcome is Outcome.MISMATCH
    assert result.refused is not None
    assert "tensor seed" in result.refused


@pytest.mark.slow
def test_a_run_that_hides_that_it_diverged_is_found(tmp_path: Path) -> None:
    cfg = tiny.run_config(
        optimizer={"name": "sgd", "lr": 10.0, "momentum": 0.99}, steps=90, checkpoint_every=30
    )
    calm = Fraud(lr_of=lambda *_: 0.01).train(cfg, DATA)
    (one,) = replayed(written(tmp_path, cfg, calm), (0, 30))
    assert one.outcome is Outcome.MISMATCH
    assert one.first is not None
    assert (one.first.step, one.first.earliest) == (2, 1)
    assert one.ended is not None
    assert one.tensors is not None
    assert one.tensors.reason == "the replay did not come to the end of the window"
