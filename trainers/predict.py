"""Classes and probabilities from a model, and its loss and accuracy on labelled images."""

from dataclasses import dataclass

import numpy as np
from tinygrad import Tensor, TinyJit, dtypes

from evidence import tensors
from evidence.errors import InvalidInput
from trainers.config import RunConfig
from trainers.data import catalog
from trainers.models import build
from trainers.models.build import Model
from trainers.step import Slot, logits

BATCH_SIZE = 500
"""Images per forward pass; a last, smaller batch is filled with zeros."""


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
    """How well a model does on labelled images."""

    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    """Fraction classified right, [0, 1]."""
    samples: int
    """How many images that is over."""


class Forward:
    """The compiled forward pass of one model; its weights may change between calls."""

    def __init__(self, config: RunConfig, model: Model) -> None:
        self._config = config
        self._model = model
        self._images = catalog.image_set(config.dataset)
        self._slots: dict[tuple[int, ...], Slot] = {}
        self._jit = TinyJit(self._log_probabilities)

    def log_probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return log-probabilities (n, classes), float32, of images (n, C, H, W), uint8."""
        results = [np.empty((0, len(self._images.classes)), np.float32)]
        size = min(BATCH_SIZE, max(1, len(images)))
        for start in range(0, len(images), size):
            piece = images[start : start + size]
            full = np.zeros((size, *images.shape[1:]), np.uint8)
            full[: len(piece)] = piece
            results.append(self._jit(self._slot(full.shape).put(full)).numpy()[: len(piece)])
        return np.concatenate(results)

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> Evaluation:
        """Return mean loss and accuracy over images (n, C, H, W) and labels (n,)."""
        log_p = self.log_probabilities(images)
        chosen = log_p[np.arange(len(labels)), labels]
        return Evaluation(
            loss=-float(chosen.mean(dtype=np.float64)),
            accuracy=int((log_p.argmax(axis=1) == labels).sum()) / len(labels),
            samples=len(labels),
        )

    def _slot(self, shape: tuple[int, ...]) -> Slot:
        """Return the input slot of this shape; a run evaluates one shape again and again."""
        if shape not in self._slots:
            self._slots[shape] = Slot(shape, dtypes.uint8)
        return self._slots[shape]

    def _log_probabilities(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        form = self._config.precision
        scores = logits(self._model, x_BCHW, images=self._images, form=form)
        return scores.log_softmax().realize()


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
    entry = catalog.image_set(config.dataset)
    if images.ndim != 4 or images.shape[1:] != entry.image_shape or images.dtype != np.uint8:  # noqa: PLR2004
        raise InvalidInput(
            f"images: expected uint8 (n, {', '.join(map(str, entry.image_shape))}), "
            f"found {images.dtype} {images.shape}",
            field="images",
        )
    probabilities = np.exp(_loaded(config, model_file).log_probabilities(images))
    return [
        Prediction(
            label=int(row.argmax()),
            name=entry.classes[int(row.argmax())],
            probabilities=tuple(float(value) for value in row.clip(0, 1)),
        )
        for row in probabilities
    ]


def evaluate(
    config: RunConfig, model_file: bytes, images: np.ndarray, labels: np.ndarray
) -> Evaluation:
    """Return loss and accuracy of a stored model over images (n, C, H, W) and labels (n,).

    Raises:
        IntegrityError: The file is not safetensors, or its tensors are not this model's.
    """
    return _loaded(config, model_file).evaluate(images, labels)


def _loaded(config: RunConfig, model_file: bytes) -> Forward:
    model = build.build(config, rng=np.random.default_rng(0))
    values = tensors.decode(model_file, name="model.safetensors")
    build.assign(build.model_tensors(model), values, source="model.safetensors")
    return Forward(config, model)
