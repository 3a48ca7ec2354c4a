"""Which samples each step sees: a pure function of the seed and the step, so nothing to restore.

Epoch e goes through a permutation keyed by (seed, e); what does not fill a batch at its end is
dropped. Augmentation of step s is keyed by (seed, s).
"""

from dataclasses import dataclass

import numpy as np

from evidence.errors import ConfigError
from trainers.config import RunConfig
from trainers.data.images import Dataset

_ORDER, _AUGMENTATION, _WEIGHTS = range(3)
_PAD = 4


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where in the data a step stands."""

    epoch: int
    """0 for the first pass."""
    batch: int
    """0 for the first batch of an epoch."""


class Batches:
    """The training batches of one run.

    Args:
        config: Batch size and augmentation.
        data: Where samples come from.
        seed: The run's seed as an integer.

    Raises:
        ConfigError: The batch is larger than the training split.
    """

    def __init__(self, config: RunConfig, data: Dataset, *, seed: int) -> None:
        self._images = data.train_images
        self._labels = data.train_labels
        self._size = config.batch_size
        self._augments = config.augmentation == "crop_flip"
        self._seed = seed
        self._epoch = -1
        self._order = np.empty(0, np.int64)
        if len(self._labels) < self._size:
            raise ConfigError(
                f"batch_size: expected at most the {len(self._labels)} training samples, "
                f"found {self._size}",
                field="batch_size",
                expected=f"at most {len(self._labels)}",
                found=str(self._size),
            )

    def cursor(self, step: int) -> Cursor:
        """Return the place of the batch of `step`; 1 is the first step."""
        return Cursor(*divmod(step - 1, len(self._labels) // self._size))

    def at(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return images (B, C, H, W) uint8 and labels (B,) int32 of one step."""
        cursor = self.cursor(step)
        if cursor.epoch != self._epoch:
            rng = np.random.default_rng((self._seed, _ORDER, cursor.epoch))
            self._order = rng.permutation(len(self._labels))
            self._epoch = cursor.epoch
        chosen = self._order[cursor.batch * self._size :][: self._size]
        images = self._images[chosen]
        if self._augments:
            images = crop_and_flip(
                images, rng=np.random.default_rng((self._seed, _AUGMENTATION, step))
            )
        return images, self._labels[chosen].astype(np.int32)


def weights_rng(seed: int) -> np.random.Generator:
    """Return the generator that initial weights are drawn from."""
    return np.random.default_rng((seed, _WEIGHTS))


def crop_and_flip(images: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Return each image cropped at random out of its padded self, half of them mirrored.

    Args:
        images: (B, C, H, W), uint8; padded with 4 zero pixels on each side.
        rng: Where offsets (0 to 8 each way) and mirroring come from.

    Source: He et al. 2015, arXiv:1512.03385 §4.2.
    """
    count, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (_PAD, _PAD), (_PAD, _PAD)))
    tops, lefts = rng.integers(0, 2 * _PAD + 1, (2, count))
    mirrored = rng.integers(0, 2, count).astype(bool)
    rows = tops[:, None] + np.arange(height)
    columns = lefts[:, None] + np.arange(width)
    columns = np.where(mirrored[:, None], columns[:, ::-1], columns)
    samples = np.arange(count)[:, None, None]
    # Advanced indices around the channel slice put the channels last.
    cropped = padded[samples, :, rows[:, :, None], columns[:, None, :]]
    return np.ascontiguousarray(cropped.transpose(0, 3, 1, 2))
