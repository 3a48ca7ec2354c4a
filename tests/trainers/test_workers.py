"""A step of several workers, each of them in turn in this process."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from evidence.errors import ConfigError
from tests.trainers import tiny
from trainers.group import sum_in_order
from trainers.step import Stepper

SEED = "00000000000000aa"
SIZE = 2
BATCH_NORM = {"model": {"architecture": "resnet", "depth": 8, "width": 8}}


class InTurn:
    """One worker of two; `brought` has the terms of those that had their turn before it.

    A worker adds up what is there, so only the last one gets the sums; the others stop behind.
    """

    size = SIZE

    def __init__(self, rank: int, brought: list[np.ndarray]) -> None:
        self.rank = rank
        self._brought = brought

    def share(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        self._own, self._total = np.zeros((2, count), np.float32)
        return self._own, self._total

    def add_up(self) -> None:
        self._brought.insert(self.rank, self._own.copy())
        sum_in_order(self._brought, into=self._total)

    def gather(self, word: bytes) -> Sequence[bytes]:
        return [word] * self.size


def step_of(group: InTurn, **overrides: Any) -> Stepper:
    """Return a worker's stepper after its turn in step 1."""
    cfg = tiny.run_config(workers=SIZE, **overrides)
    return stepped(Stepper(cfg, seed=SEED, group=group), cfg.batch_size)


def stepped(stepper: Stepper, size: int) -> Stepper:
    data = tiny.dataset()
    images, labels = data.train_images[:size], data.train_labels[:size].astype(np.int32)
    stepper.update(images, labels, lr=0.01, step=1)
    return stepper


def arrays(stepper: Stepper) -> dict[str, bytes]:
    tensors = {**stepper.weights, **stepper.updater.state, **stepper._running}
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def last_to_come(first: int, **overrides: Any) -> Stepper:
    """Return the worker that comes last to step 1, after worker `first`."""
    brought: list[np.ndarray] = []
    step_of(InTurn(first, brought), **overrides)
    return step_of(InTurn(1 - first, brought), **overrides)


def test_two_workers_move_the_weights_as_two_micro_steps_do() -> None:
    pieces = stepped(Stepper(tiny.run_config(micro_steps=2), seed=SEED), 32)
    assert arrays(last_to_come(0)) == arrays(last_to_come(1)) == arrays(pieces)


def test_workers_that_cut_their_parts_up_end_in_one_state() -> None:
    cut = {"micro_steps": 4, "max_grad_norm": 0.1}
    assert arrays(last_to_come(0, **cut)) == arrays(last_to_come(1, **cut))


@pytest.mark.slow
def test_running_statistics_are_the_mean_over_the_workers() -> None:
    brought: list[np.ndarray] = []
    first, last = (step_of(InTurn(rank, brought), **BATCH_NORM) for rank in range(SIZE))
    for name, running in last._running.items():
        terms = [one._sums.own[f"running.{name}"].numpy() for one in (first, last)]
        assert running.numpy().tobytes() == ((terms[0] + terms[1]) * np.float32(0.5)).tobytes()
        assert terms[0].tobytes() != terms[1].tobytes()


def test_each_worker_draws_its_own_dropout() -> None:
    model = {"architecture": "convnet", "channels": [4], "kernel": 3, "hidden": 16, "dropout": 0.5}
    brought: list[np.ndarray] = []
    same = np.tile(np.arange(16), SIZE)
    steppers = []
    for rank in range(SIZE):
        cfg = tiny.run_config(workers=SIZE, model=model)
        stepper = Stepper(cfg, seed=SEED, group=InTurn(rank, brought))
        data = tiny.dataset()
        images, labels = data.train_images[same], data.train_labels[same].astype(np.int32)
        stepper.update(images, labels, lr=0.01, step=1)
        steppers.append(stepper.rng_counter.numpy().tolist())
    assert steppers[0] == steppers[1]
    assert brought[0].tobytes() != brought[1].tobytes()


def test_a_group_of_another_size_is_refused() -> None:
    cfg = tiny.run_config(workers=2)
    with pytest.raises(ConfigError, match="workers: expected 2 of them, found 1"):
        tiny.run(cfg)
