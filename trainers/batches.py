"""Which samples each step sees: a pure function of the seed and the step, so nothing to restore.

Epoch e goes through a permutation keyed by (seed, e); what does not fill a batch at its end is
dropped. Augmentation of step s is keyed by (seed, s). A sample of a text is a window: those of an
epoch follow one another, from an offset keyed by (seed, e) too.
"""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np

from evidence.errors import ConfigError
from trainers.config import Gpt, RunConfig
from trainers.data import text
from trainers.data.images import Dataset
from trainers.data.load import Data
from trainers.data.stream import Streamed, StreamedText
from trainers.data.text import Text

_ORDER, _AUGMENTATION, _WEIGHTS, _OFFSET = range(4)
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

    def __init__(self, config: RunConfig, data: Data, *, seed: int) -> None:
        self._source = _source(config, data, seed=seed)
        self._size = config.batch_size
        self._seed = seed
        self._epoch = -1
        self._order = np.empty(0, np.int64)
        if self._source.count < self._size:
            raise ConfigError(
                f"batch_size: expected at most the {self._source.count} training samples, "
                f"found {self._size}",
                field="batch_size",
                expected=f"at most {self._source.count}",
                found=str(self._size),
            )

    @property
    def take_work(self) -> bool:
        """Whether a batch is augmented, or read from files."""
        return self._source.takes_work

    def cursor(self, step: int) -> Cursor:
        """Return the place of the batch of `step`; 1 is the first step."""
        return Cursor(*divmod(step - 1, self._source.count // self._size))

    def at(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what the model reads and what it should say of it, of one step.

        Images (B, C, H, W) uint8 and labels (B,) int32; or windows (B, T) uint8 and the token
        behind each of theirs (B, T) int32.
        """
        cursor = self.cursor(step)
        if cursor.epoch != self._epoch:
            self._order = self._permutation(cursor.epoch)
            self._epoch = cursor.epoch
        chosen = self._order[cursor.batch * self._size :][: self._size]
        return self._source.take(chosen, _Moment(cursor.epoch, step))

    def order_digest(self, steps: int) -> str:
        """Return the SHA-256 over the samples of steps 1 to `steps`, in order, as int64.

        Little-endian, without anything between; an image by its number in the training split, a
        window by the place of its first token.
        """
        state = hashlib.sha256()
        in_epoch = self._source.count // self._size
        for epoch in range(-(-steps // in_epoch)):
            batches = min(in_epoch, steps - epoch * in_epoch)
            chosen = self._permutation(epoch)[: batches * self._size]
            state.update(self._source.places(chosen, epoch).astype("<i8").tobytes())
        return state.hexdigest()

    def _permutation(self, epoch: int) -> np.ndarray:
        """Return the order of all samples in an epoch, shape (count,), int64."""
        rng = np.random.default_rng((self._seed, _ORDER, epoch))
        return rng.permutation(self._source.count)


class Ahead:
    """The same batches, each made in a thread of its own while the step before it runs.

    Batches that are only copied out of memory take less time than a thread's turn, and are not.

    Args:
        batches: Asked by that thread only.
        last: Number of the last step.
    """

    def __init__(self, batches: Batches, *, last: int) -> None:
        self._batches = batches
        self._last = last
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[int, Future[tuple[np.ndarray, np.ndarray]]] | None = None

    def at(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the batch of `step` as `Batches.at` does, and begin the one behind it."""
        if not self._batches.take_work:
            return self._batches.at(step)
        begun = self._next
        due = begun[1] if begun and begun[0] == step else self._begin(step)
        self._next = (step + 1, self._begin(step + 1)) if step < self._last else None
        return due.result()

    def _begin(self, step: int) -> Future[tuple[np.ndarray, np.ndarray]]:
        return self._thread.submit(self._batches.at, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)


class _Moment(NamedTuple):
    epoch: int
    step: int


class _Source(Protocol):
    """Training samples by number."""

    @property
    def count(self) -> int: ...

    @property
    def takes_work(self) -> bool: ...

    def places(self, chosen: np.ndarray, epoch: int) -> np.ndarray: ...

    def take(self, chosen: np.ndarray, now: _Moment) -> tuple[np.ndarray, np.ndarray]: ...


def _source(config: RunConfig, data: Data, *, seed: int) -> _Source:
    if isinstance(data, Text):
        assert isinstance(config.model, Gpt), config.model
        return _Windows(data.train, length=config.model.context, seed=seed)
    return _Images(data, augments=config.augmentation == "crop_flip", seed=seed)


class _Images:
    def __init__(self, data: Dataset, *, augments: bool, seed: int) -> None:
        self.count = len(data.train_labels)
        self.takes_work = augments or isinstance(data.train_images, Streamed)
        self._data = data
        self._augments = augments
        self._seed = seed

    def places(self, chosen: np.ndarray, epoch: int) -> np.ndarray:  # noqa: ARG002  every epoch's
        return chosen

    def take(self, chosen: np.ndarray, now: _Moment) -> tuple[np.ndarray, np.ndarray]:
        images = self._data.train_images[chosen]
        if self._augments:
            rng = np.random.default_rng((self._seed, _AUGMENTATION, now.step))
            images = crop_and_flip(images, rng=rng)
        return images, self._data.train_labels[chosen].astype(np.int32)


class _Windows:
    def __init__(self, tokens: np.ndarray | StreamedText, *, length: int, seed: int) -> None:
        # The last window begins up to `length - 1` tokens later than it would without an offset.
        self.count = max(0, text.count(tokens, length=length) - 1)
        self.takes_work = isinstance(tokens, StreamedText)
        self._tokens = tokens
        self._length = length
        self._seed = seed

    def places(self, chosen: np.ndarray, epoch: int) -> np.ndarray:
        offset = np.random.default_rng((self._seed, _OFFSET, epoch)).integers(self._length)
        return np.asarray(offset + chosen * self._length)

    def take(self, chosen: np.ndarray, now: _Moment) -> tuple[np.ndarray, np.ndarray]:
        places = self.places(chosen, now.epoch)
        return text.windows(self._tokens, places, length=self._length)


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
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    cropped = windows[np.arange(count), :, tops, lefts]
    cropped[mirrored] = cropped[mirrored][..., ::-1]
    return cropped
