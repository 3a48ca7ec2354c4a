"""Texts: which bytes a step sees, and what is asked of each."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import ConfigError, InvalidInput
from tests.trainers import tiny
from trainers.batches import Batches
from trainers.config import RunConfig
from trainers.data import catalog, text
from trainers.data.text import Text


def config(**overrides: Any) -> RunConfig:
    model = {"architecture": "gpt", "layers": 1, "width": 8, "heads": 1, "context": 16}
    values = {"dataset": "tinyshakespeare", "model": model, "batch_size": 8}
    return tiny.run_config(**{**values, **overrides})


def numbered(count: int) -> Text:
    """Return a text in which each byte tells where it stands, modulo 251."""
    tokens = (np.arange(count) % 251).astype(np.uint8)
    return Text(name="numbered", train=tokens, test=tokens, digests={})


@given(start=st.integers(0, 40), length=st.integers(1, 20))
def test_what_follows_each_token_is_asked(start: int, length: int) -> None:
    inputs, targets = text.windows(numbered(100).train, np.array([start]), length=length)
    assert inputs.shape == targets.shape == (1, length)
    assert inputs[0].tolist() == list(range(start, start + length))
    assert targets[0].tolist() == list(range(start + 1, start + length + 1))


@given(size=st.integers(0, 100), length=st.integers(1, 20))
def test_as_many_windows_are_counted_as_there_are(size: int, length: int) -> None:
    tokens = numbered(size).train
    starts = np.arange(text.count(tokens, length=length)) * length
    assert all(start + length + 1 <= size for start in starts)
    assert len(starts) * length + length + 1 > size or size == 0


def test_an_epoch_reads_each_place_at_most_once_and_nearly_all() -> None:
    data = numbered(245)
    batches = Batches(config(batch_size=7), data, seed=3)
    epoch = [batches.at(step)[0] for step in (1, 2)]
    seen = np.concatenate(epoch).ravel()
    assert len(np.unique(seen)) == len(seen) == 2 * 7 * 16
    assert batches.cursor(3).epoch == 1


def test_another_epoch_begins_elsewhere() -> None:
    batches = Batches(config(batch_size=7), numbered(245), seed=3)
    first = [int(batches.at(step)[0].min()) % 16 for step in range(1, 40)]
    assert len(set(first)) > 1


@given(steps=st.lists(st.integers(1, 90), min_size=1, max_size=6))
def test_a_batch_of_windows_depends_on_its_step_alone(steps: list[int]) -> None:
    used = Batches(config(), tiny.shakespeare(), seed=1)
    for step in steps:
        for found, fresh in zip(
            used.at(step), Batches(config(), tiny.shakespeare(), seed=1).at(step), strict=True
        ):
            np.testing.assert_array_equal(found, fresh)


def test_a_text_that_is_too_short_for_a_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size: expected at most the 4 training samples"):
        Batches(config(), numbered(90), seed=1)


def test_the_text_is_cut_where_the_catalog_says() -> None:
    raw = bytes(range(256)) * 1000
    entry = catalog.text_set("tinyshakespeare")
    data = text.decode("tinyshakespeare", {"input.txt": raw}, entry)
    assert len(data.test) == entry.test_bytes
    assert isinstance(data.train, np.ndarray)
    assert data.train.tobytes() + data.test.tobytes() == raw


def test_a_text_is_no_set_of_images_and_images_are_no_text() -> None:
    with pytest.raises(InvalidInput, match="which is a text"):
        catalog.image_set("tinyshakespeare")
    with pytest.raises(InvalidInput, match="which holds images"):
        catalog.text_set("mnist")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"dataset": "mnist"}, r"model: expected a text \(tinyshakespeare\)"),
        ({"model": {"architecture": "mlp"}}, "model: expected images"),
        ({"model": {"architecture": "gpt", "width": 10, "heads": 4}}, "heads: expected a divisor"),
        ({"augmentation": "crop_flip"}, "augmentation: expected none"),
        (
            {"dataset": "mnist", "model": {"architecture": "vit", "patch": 5}},
            "patch to be a divisor of the image's 28 pixels",
        ),
    ],
)
def test_a_model_that_cannot_read_the_data_is_refused(
    overrides: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**overrides)
