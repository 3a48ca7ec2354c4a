"""The canary: a small run on true and on shuffled labels, which must come out differently.

A trainer that learns nothing, or that shows numbers which it did not compute, gives itself away:
with true labels held-out accuracy must be high, with shuffled ones no better than guessing.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evidence.errors import InvalidInput
from evidence.records import Metric, Split, TrainingEvent
from trainers import config, loop
from trainers.checkpoint import Start
from trainers.config import RunConfig
from trainers.data.images import Dataset

LEAST_TRUE: Final = 0.80
"""Held-out accuracy that true labels must reach."""

MOST_SHUFFLED: Final = 0.20
"""Held-out accuracy that shuffled labels must stay below; guessing gives 0.1."""

DATASET: Final = "mnist"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a canary measured."""

    true_labels: float
    """Held-out accuracy after training on the labels as they are, [0, 1]."""
    shuffled_labels: float
    """The same after training on shuffled ones."""

    @property
    def has_passed(self) -> bool:
        """Whether training learns from labels, and from nothing else."""
        return self.true_labels >= LEAST_TRUE and self.shuffled_labels < MOST_SHUFFLED


def run_config() -> RunConfig:
    """Return the run that a canary does twice."""
    return config.parse(
        {
            "name": "canary",
            "dataset": DATASET,
            "model": {"architecture": "mlp", "hidden": [32]},
            "steps": 300,
            "batch_size": 64,
            "optimizer": {"name": "adamw", "lr": 0.003},
            "checkpoint_every": 100,
            "metric_every": 100,
        }
    )


def run(data: Dataset, *, seed: int) -> Outcome:
    """Train twice and return what was measured on the test images.

    Args:
        data: MNIST, verified.
        seed: Of the shuffling; another one each time, so that nothing can be prepared for it.

    Raises:
        InvalidInput: The training labels are not in memory.
        ServiceError: What the loop raises.
    """
    if not isinstance(data.train_labels, np.ndarray):
        raise InvalidInput("canary: expected labels in memory, found a stream")
    shuffled = np.random.default_rng(seed).permutation(data.train_labels)
    return Outcome(
        true_labels=_accuracy(data), shuffled_labels=_accuracy(replace(data, train_labels=shuffled))
    )


def _accuracy(data: Dataset) -> float:
    """Train and return the last accuracy on the test images."""
    measured: list[float] = []

    def take(event: TrainingEvent) -> None:
        if isinstance(event, Metric) and event.split is Split.TEST and event.accuracy is not None:
            measured.append(event.accuracy)

    loop.train(run_config(), data, Start.fresh(), take)
    return measured[-1]
