"""Classes and probabilities from a model, and its loss and accuracy on the test part."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tinygrad import Tensor, TinyJit, dtypes

from evidence import tensors
from evidence.errors import InvalidInput
from trainers.config import RunConfig
from trainers.data import text
from trainers.data.catalog import ImageSet
from trainers.data.images import Dataset
from trainers.data.load import Data
from trainers.models import build
from trainers.models.build import Model
from trainers.step import Slot, input_shape, logits

BATCH_SIZE = 125
"""Images per forward pass; a last, smaller batch is filled with zeros."""

_BATCH_TOKENS = 8192
"""Tokens per forward pass of a model that reads text, or one window if that is longer."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one image."""

    label: int
    """Index of the most probable class."""
    name: str
    """Its name."""
    probabilities: tuple[float, ...]
    """One per class, in label order, each in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a model does on the test part of a data set."""

    loss: float
    """Mean cross-entropy in nats, over images or tokens."""
    accuracy: float
    """Fraction of images or tokens said right, [0, 1]."""
    samples: int
    """How many images or windows that is over."""


class Forward:
    """The compiled forward pass of one model; its weights may change between calls."""

    def __init__(self, config: RunConfig, model: Model) -> None:
        self._config = config
        self._model = model
        self._entry = config.entry
        self._slots: dict[tuple[int, ...], Slot] = {}
        self._jit = TinyJit(self._log_probabilities)

    def log_probabilities(self, inputs: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield log-probabilities, float32, a forward pass at a time, with the place of the first.

        Args:
            inputs: Images (n, C, H, W), which give (b, classes), or windows (n, T), which give
                (b, T, tokens); uint8.
        """
        size = min(self._batch_size(), max(1, len(inputs)))
        for start in range(0, len(inputs), size):
            piece = inputs[start : start + size]
            full = np.zeros((size, *inputs.shape[1:]), np.uint8)
            full[: len(piece)] = piece
            yield start, self._jit(self._slot(full.shape).put(full)).numpy()[: len(piece)]

    def evaluate(self, data: Data) -> Evaluation:
        """Return mean loss and accuracy over the test part."""
        inputs, targets = self._test_part(data)
        judged = [
            _judged(log_p, targets[start : start + len(log_p)])
            for start, log_p in self.log_probabilities(inputs)
        ]
        return Evaluation(
            loss=-float(
                np.concatenate([of_right for of_right, _ in judged]).mean(dtype=np.float64)
            ),
            accuracy=sum(hits for _, hits in judged) / targets.size,
            samples=len(targets),
        )

    def _test_part(self, data: Data) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and what is asked of them: all images, or windows one after another."""
        if isinstance(data, Dataset):
            return data.test_images, data.test_labels.astype(np.int64)
        (length,) = input_shape(self._config)
        starts = np.arange(text.count(data.test, length=length)) * length
        return text.windows(data.test, starts, length=length)

    def _batch_size(self) -> int:
        if isinstance(self._entry, ImageSet):
            return BATCH_SIZE
        return max(1, _BATCH_TOKENS // input_shape(self._config)[0])

    def _slot(self, shape: tuple[int, ...]) -> Slot:
        """Return the input slot of this shape; a run evaluates one shape again and again."""
        if shape not in self._slots:
            self._slots[shape] = Slot(shape, dtypes.uint8)
        return self._slots[shape]

    def _log_probabilities(self, x: Tensor) -> Tensor:
        scores = logits(self._model, x, entry=self._entry, form=self._config.precision)
        return scores.log_softmax().realize()


def _judged(log_p: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the log-probability of each right answer, and how many are the most probable."""
    of_right = np.take_along_axis(log_p, targets[..., None], axis=-1).ravel()
    return of_right, int((log_p.argmax(axis=-1) == targets).sum())


def predict(config: RunConfig, model_file: bytes, images: np.ndarray) -> list[Prediction]:
    """Return the most probable class and all probabilities for each image.

    Args:
        config: The run that the model is of.
        model_file: Its model.safetensors; the caller has verified its digest.
        images: (n, C, H, W), uint8, of the data set's shape.

    Raises:
        InvalidInput: The images have another shape or dtype.
        IntegrityError: The file is not safetensors, or its tensors are not this model's.
    """
    entry = config.images
    if images.ndim != 4 or images.shape[1:] != entry.image_shape or images.dtype != np.uint8:  # noqa: PLR2004
        raise InvalidInput(
            f"images: expected uint8 (n, {', '.join(map(str, entry.image_shape))}), "
            f"found {images.dtype} {images.shape}",
            field="images",
        )
    pieces = _loaded(config, model_file).log_probabilities(images)
    return [
        Prediction(
            label=int(row.argmax()),
            name=entry.classes[int(row.argmax())],
            probabilities=tuple(float(value) for value in row.clip(0, 1)),
        )
        for _, piece in pieces
        for row in np.exp(piece)
    ]


def evaluate(config: RunConfig, model_file: bytes, data: Data) -> Evaluation:
    """Return loss and accuracy of a stored model over the test part of its data set.

    Raises:
        IntegrityError: The file is not safetensors, or its tensors are not this model's.
    """
    return _loaded(config, model_file).evaluate(data)


def _loaded(config: RunConfig, model_file: bytes) -> Forward:
    model = build.build(config, rng=np.random.default_rng(0))
    values = tensors.decode(model_file, name="model.safetensors")
    build.assign(build.model_tensors(model), values, source="model.safetensors")
    return Forward(config, model)
