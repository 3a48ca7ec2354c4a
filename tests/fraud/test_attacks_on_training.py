"""Frauds that train otherwise than they say: every check passes, the replay finds each.

They train for real but for the one thing that they hide, and sign, seal and log all of it with the
service's own keys.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from evidence.records import Checkpoint, TrainingEvent
from tests.fraud import forge
from tests.fraud.forge import CONFIG, DATA, MODEL, OPTIMIZER
from tests.trainers import tiny
from tests.trainers.replaying import replayed
from tests.trainers.sealed import Batch, Fraud, edited, mixed, trained
from trainers.comparison import Outcome

Forge = Callable[[list[TrainingEvent]], list[TrainingEvent]]
"""Returns the events of a fraud; some take those of an honest run."""

FIRST = (MODEL, "layers.0.bias")


class Found(NamedTuple):
    """Where a replay finds a fraud."""

    window: tuple[int, int]
    step: int
    """The first of which something recorded differs."""
    earliest: int
    """The earliest that can have caused it."""
    tensor: tuple[str, str] | None
    """The first that differs at the end of the window."""


def skipped_step(_: list[TrainingEvent]) -> list[TrainingEvent]:
    return Fraud(skipped=(5,)).train(CONFIG, DATA)


def other_learning_rate(_: list[TrainingEvent]) -> list[TrainingEvent]:
    return Fraud(lr_of=lambda step, lr: 2 * lr if step == 4 else lr).train(CONFIG, DATA)


def swapped_batches(_: list[TrainingEvent]) -> list[TrainingEvent]:
    order = {4: 5, 5: 4}
    return Fraud(batch_of=lambda step, at: at(order.get(step, step))).train(CONFIG, DATA)


def flipped_labels(_: list[TrainingEvent]) -> list[TrainingEvent]:
    def flipped(step: int, at: Callable[[int], Batch]) -> Batch:
        images, labels = at(step)
        return (images, np.where(np.arange(32) < 3, 9 - labels, labels)) if step == 8 else at(step)

    return Fraud(batch_of=flipped).train(CONFIG, DATA)


def _of_another_seed() -> list[TrainingEvent]:
    other = CONFIG.model_copy(update={"seed": 1})
    return forge.seeded(trained(other, DATA), CONFIG)


def other_seed(honest: list[TrainingEvent]) -> list[TrainingEvent]:
    return [honest[0], *_of_another_seed()[1:]]


def other_seed_committed(_: list[TrainingEvent]) -> list[TrainingEvent]:
    return _of_another_seed()


def other_data(_: list[TrainingEvent]) -> list[TrainingEvent]:
    labels = 9 - np.asarray(DATA.train_labels)
    return trained(CONFIG, replace(DATA, train_labels=labels))


def _last(events: list[TrainingEvent]) -> Checkpoint:
    last = events[-1]
    assert isinstance(last, Checkpoint)
    return last


def pretrained_start(honest: list[TrainingEvent]) -> list[TrainingEvent]:
    return Fraud(weights=_last(honest)).train(CONFIG, DATA)


def pretrained_start_committed(honest: list[TrainingEvent]) -> list[TrainingEvent]:
    return Fraud(weights=_last(honest), admits=True).train(CONFIG, DATA)


def fewer_steps(honest: list[TrainingEvent]) -> list[TrainingEvent]:
    """Tell steps 4 to 6 once more, as 7 to 9."""
    points = tiny.checkpoints(honest)
    third, sixth = (honest.index(points[step]) + 1 for step in (3, 6))
    again = [forge.moved(event, 3, like=points[9]) for event in honest[third:sixth]]
    return [*honest[:sixth], *again]


def reused_weights(honest: list[TrainingEvent]) -> list[TrainingEvent]:
    return mixed(honest, 6, MODEL, lambda before, _, __: before)


def halfway_weights(honest: list[TrainingEvent]) -> list[TrainingEvent]:
    return mixed(honest, 6, MODEL, lambda before, _, after: (before + after) / 2)


def forgotten_momentum(honest: list[TrainingEvent]) -> list[TrainingEvent]:
    return mixed(honest, 6, OPTIMIZER, lambda _, here, __: np.zeros_like(here))


def lower_loss(honest: list[TrainingEvent]) -> list[TrainingEvent]:
    return edited(honest, 5, loss=0.125)


def better_test(honest: list[TrainingEvent]) -> list[TrainingEvent]:
    return edited(honest, 6, split="test", accuracy=0.984375)


FRAUDS: dict[Forge, Found] = {
    skipped_step: Found((3, 6), 6, 5, FIRST),
    other_learning_rate: Found((3, 6), 5, 4, FIRST),
    swapped_batches: Found((3, 6), 4, 4, FIRST),
    flipped_labels: Found((6, 9), 8, 7, FIRST),
    other_seed: Found((0, 3), 1, 1, FIRST),
    other_seed_committed: Found((0, 3), 0, 0, FIRST),
    other_data: Found((0, 3), 1, 1, FIRST),
    pretrained_start: Found((0, 3), 1, 1, FIRST),
    pretrained_start_committed: Found((0, 3), 0, 0, FIRST),
    fewer_steps: Found((6, 9), 7, 7, FIRST),
    reused_weights: Found((3, 6), 6, 6, FIRST),
    halfway_weights: Found((3, 6), 6, 6, FIRST),
    forgotten_momentum: Found((3, 6), 6, 6, (OPTIMIZER, "momentum.layers.0.bias")),
    lower_loss: Found((3, 6), 5, 4, None),
    better_test: Found((3, 6), 6, 6, None),
}


@pytest.mark.parametrize("fraud", FRAUDS, ids=lambda fraud: fraud.__name__)
def test_only_the_replay_finds_it_at_its_step_and_tensor(
    fraud: Forge, honest: list[TrainingEvent], tmp_path: Path
) -> None:
    expected = FRAUDS[fraud]
    root = forge.write(tmp_path, fraud(honest))
    assert forge.failed(forge.judge(root)) == []
    (one,) = replayed(root, expected.window)
    assert one.outcome is Outcome.MISMATCH
    assert one.first is not None
    assert (one.first.step, one.first.earliest) == (expected.step, expected.earliest)
    assert one.tensors is not None
    found = one.tensors.first
    assert (found and (found.file, found.name)) == expected.tensor
    if found is None:
        assert one.tensors.reason == "the states at the end of the window are equal"
    else:
        assert found.largest
        assert 0 < found.elements <= found.of


def test_a_window_that_the_fraud_did_not_touch_is_equal(
    honest: list[TrainingEvent], tmp_path: Path
) -> None:
    """Why an audit of few windows finds a fraud of one window only by chance."""
    root = forge.write(tmp_path, skipped_step(honest))
    assert [one.outcome for one in replayed(root)] == [
        Outcome.EQUAL, Outcome.MISMATCH, Outcome.EQUAL,
    ]  # fmt: skip


@pytest.mark.parametrize("fraud", [other_seed_committed, pretrained_start_committed])
def test_a_false_beginning_that_was_committed_to_is_found_from_any_window(
    fraud: Forge, honest: list[TrainingEvent], tmp_path: Path
) -> None:
    (last,) = replayed(forge.write(tmp_path, fraud(honest)), (6, 9))
    assert last.first is not None
    assert last.first.step == 0


def test_data_that_nobody_publishes_cannot_be_audited(
    honest: list[TrainingEvent], tmp_path: Path, mnist_cache: Path
) -> None:
    """A run on other data that tells the digests of what it read: checks pass, the audit stops."""
    from trainers.audit import Audit, Auditor  # noqa: PLC0415 - after the process is prepared
    from trainers.windows import Request  # noqa: PLC0415

    def bring(config: Any) -> Any:
        raise AssertionError(f"{config.dataset} is asked for, and cannot be the data of the run")

    root = forge.write(tmp_path, honest)
    audit = Audit(root, Request(everything=True), Auditor(cache=mnist_cache, bring=bring))
    for _ in (*audit.checks(), *audit.windows()):
        pass
    report = audit.report()
    assert (report.exit_code, [one.what for one in report.missing]) == (4, ["data"])
