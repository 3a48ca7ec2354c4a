"""The canary itself: training on true labels learns, on shuffled ones it does not."""

from pathlib import Path

import pytest

from tests.trainers import tiny
from trainers import canary
from trainers.canary import Outcome
from trainers.data.images import Dataset
from trainers.data.load import load


def test_true_labels_are_learnt_and_shuffled_ones_are_not(data_cache: Path) -> None:
    data = load("mnist", data_cache)
    assert isinstance(data, Dataset)
    outcome = canary.run(data, seed=1)
    assert outcome.has_passed, outcome
    assert outcome.true_labels > outcome.shuffled_labels + 0.5


@pytest.mark.parametrize(
    ("true_labels", "shuffled_labels", "passed"),
    [(0.8, 0.19, True), (0.79, 0.1, False), (0.9, 0.2, False), (0.1, 0.1, False), (1, 1, False)],
)
def test_both_halves_count(true_labels: float, shuffled_labels: float, *, passed: bool) -> None:
    assert Outcome(true_labels, shuffled_labels).has_passed is passed


def test_a_trainer_that_cannot_learn_fails_it() -> None:
    """320 made-up images are too few for the accuracy that MNIST allows after shuffling."""
    data = tiny.dataset()
    outcome = canary.run(data, seed=1)
    assert outcome.true_labels > outcome.shuffled_labels
