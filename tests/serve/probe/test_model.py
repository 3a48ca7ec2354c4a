import numpy as np
import pytest

from evidence import tensors
from evidence.errors import IntegrityError
from serve.probe import model
from serve.probe.model import NEAR
from trainers.data import catalog

MNIST = catalog.image_set("mnist")


def file_of(**arrays: np.ndarray) -> bytes:
    named = {name.replace("_", "."): tensors.from_numpy(array) for name, array in arrays.items()}
    return tensors.encode(named)


def biased(*logits: float) -> bytes:
    """A model of one layer that says the same of every image."""
    bias = np.zeros(10, np.float32)
    bias[: len(logits)] = logits
    return file_of(layers_0_weight=np.zeros((10, 784), np.float32), layers_0_bias=bias)


def test_loss_and_hits_are_those_of_the_definition() -> None:
    found = model.load(biased(2.0)).judge(np.zeros((4, 784)), np.array([0, 0, 0, 3]))
    right, wrong = np.exp(2.0) / (np.exp(2.0) + 9), 1 / (np.exp(2.0) + 9)
    assert found.loss == pytest.approx(-(3 * np.log(right) + np.log(wrong)) / 4)
    assert (found.hits, found.accuracy, found.ties) == (3, 0.75, 0)


def test_logits_that_float32_could_swap_are_counted() -> None:
    found = model.load(biased(2.0, 2.0 + NEAR / 2)).judge(np.zeros((2, 784)), np.array([0, 1]))
    assert found.ties == 2


def test_pixels_are_normalised_and_layers_follow_one_another() -> None:
    first = np.zeros((2, 784), np.float32)
    first[:, 0] = (1, -1)
    second = np.zeros((10, 2), np.float32)
    second[4] = 1
    data = file_of(
        layers_0_weight=first,
        layers_0_bias=np.zeros(2, np.float32),
        layers_1_weight=second,
        layers_1_bias=np.zeros(10, np.float32),
    )
    images = np.zeros((1, 1, 28, 28), np.uint8)
    images[0, 0, 0, 0] = 255
    logits = model.load(data).logits(model.normalised(images, MNIST))
    assert logits[0, 4] == pytest.approx((1 - 0.1307) / 0.3081)
    assert np.delete(logits[0], 4).tolist() == [0.0] * 9


@pytest.mark.parametrize(
    "data",
    [
        b"no safetensors",
        file_of(other=np.zeros(3, np.float32)),
        file_of(layers_0_weight=np.zeros((10, 784), np.float32)),
        file_of(
            layers_0_weight=np.zeros((10, 784), np.float32), layers_1_bias=np.zeros(10, np.float32)
        ),
    ],
)
def test_a_file_of_another_model_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        model.load(data)
