"""An MLP computed again from its tensors, in numpy alone: none of the code that trained it.

The network: linear layers `layers.N.weight` (outputs, inputs) and `layers.N.bias`, ReLU between
them, over pixels normalised as the catalog of data sets says. In float32, as the service computes,
in another order of additions: two logits closer than NEAR may change places.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evidence import tensors
from evidence.errors import IntegrityError
from evidence.tensors import RawTensor
from trainers.data.catalog import ImageSet

NEAR = 1e-4
"""Difference of the two best logits below which float32 may decide otherwise."""

_NAME = re.compile(r"layers\.(\d+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a model makes of labelled images."""

    loss: float
    """Mean cross-entropy in nats."""
    hits: int
    """Images classified right."""
    ties: int
    """Images whose two best logits are closer than NEAR."""
    images: int

    @property
    def accuracy(self) -> float:
        """Fraction classified right, [0, 1]."""
        return self.hits / self.images


class Mlp:
    """A model of a checkpoint.

    Args:
        held: The tensors of its file.

    Raises:
        IntegrityError: They are not those of an MLP.
    """

    def __init__(self, held: Mapping[str, RawTensor]) -> None:
        matches = [_NAME.fullmatch(name) for name in held]
        numbers = sorted({int(found[1]) for found in matches if found})
        if not numbers or len(held) != 2 * len(numbers):
            raise IntegrityError(f"expected the tensors of an MLP, found {sorted(held)[:6]}")
        try:
            self._layers = [
                (_array(held[f"layers.{n}.weight"]), _array(held[f"layers.{n}.bias"]))
                for n in numbers
            ]
        except KeyError as error:
            raise IntegrityError(f"expected weight and bias of each layer, no {error}") from error

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Return the logits (n, classes), float32, of what `normalised` gave.

        Raises:
            ValueError: The shapes of inputs and layers do not fit one another.
        """
        x = inputs
        for weight, bias in self._layers[:-1]:
            x = np.maximum(x @ weight.T + bias, np.float32(0))
        weight, bias = self._layers[-1]
        return np.asarray(x @ weight.T + bias)

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """Return the probabilities (n, classes) of inputs; raises as `logits`."""
        return np.asarray(np.exp(_log_softmax(self.logits(inputs))))

    def judge(self, inputs: np.ndarray, labels: np.ndarray) -> Judgement:
        """Return loss and hits over labelled inputs; raises as `logits`."""
        logits = self.logits(inputs)
        chosen = _log_softmax(logits)[np.arange(len(labels)), labels.astype(np.int64)]
        best = np.sort(logits, axis=1)[:, -2:]
        return Judgement(
            loss=-float(chosen.mean(dtype=np.float64)),
            hits=int((logits.argmax(axis=1) == labels).sum()),
            ties=int((best[:, 1] - best[:, 0] < NEAR).sum()),
            images=len(labels),
        )


def load(data: bytes) -> Mlp:
    """Return the model of a checkpoint's file.

    Raises:
        IntegrityError: It is no safetensors file, or not of an MLP.
        InvalidInput: A tensor has a dtype that numpy has not.
    """
    return Mlp(tensors.decode(data, name="model.safetensors"))


def normalised(images: np.ndarray, entry: ImageSet) -> np.ndarray:
    """Return images (n, C, H, W), uint8, as inputs (n, C * H * W), float32."""
    mean, std = (np.array(one, np.float32).reshape(1, -1, 1, 1) for one in (entry.mean, entry.std))
    normal = (images.astype(np.float32) / np.float32(255) - mean) / std
    return normal.reshape(len(images), -1)


def _array(tensor: RawTensor) -> np.ndarray:
    return tensors.to_numpy(tensor).astype(np.float32)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
