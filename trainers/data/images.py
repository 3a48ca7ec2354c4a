"""Decode raw files of images into arrays; the bytes that are hashed are those that are decoded.

Formats: MNIST's IDX (http://yann.lecun.com/exdb/mnist/, "file formats"), CIFAR-10's binary version
(https://www.cs.toronto.edu/~kriz/cifar.html): 1 label byte, then 3072 pixel bytes a record.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainers.data import catalog

_IDX_IMAGES_HEADER_BYTES = 16
_IDX_LABELS_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images and labels of one data set, in file order."""

    name: str
    """Key in the catalog."""
    train_images: np.ndarray
    """(N, C, H, W), uint8, 0 to 255."""
    train_labels: np.ndarray
    """(N,), uint8, 0 to len(classes) - 1."""
    test_images: np.ndarray
    """(M, C, H, W), uint8."""
    test_labels: np.ndarray
    """(M,), uint8."""
    classes: tuple[str, ...]
    """Class names in label order."""
    digests: Mapping[str, str]
    """SHA-256 of each raw file that the arrays were decoded from, by file name."""


def decode(name: str, raw: Mapping[str, bytes]) -> Dataset:
    """Return the images of the set `name` from its raw files, which the caller has verified."""
    entry = catalog.image_set(name)
    decode = {"mnist": _decode_mnist, "cifar10": _decode_cifar10}[name]
    train_images, train_labels, test_images, test_labels = decode(raw)
    return Dataset(
        name=name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=entry.classes,
        digests=entry.digests,
    )


_Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _decode_mnist(raw: Mapping[str, bytes]) -> _Arrays:
    def images(file: str) -> np.ndarray:
        pixels = np.frombuffer(raw[file], np.uint8, offset=_IDX_IMAGES_HEADER_BYTES)
        return pixels.reshape(-1, 1, 28, 28)

    def labels(file: str) -> np.ndarray:
        return np.frombuffer(raw[file], np.uint8, offset=_IDX_LABELS_HEADER_BYTES)

    return (
        images("train-images-idx3-ubyte"),
        labels("train-labels-idx1-ubyte"),
        images("t10k-images-idx3-ubyte"),
        labels("t10k-labels-idx1-ubyte"),
    )


def _decode_cifar10(raw: Mapping[str, bytes]) -> _Arrays:
    train = [raw[f"data_batch_{i}.bin"] for i in range(1, 6)]
    train_images, train_labels = _cifar10_records(b"".join(train))
    return train_images, train_labels, *_cifar10_records(raw["test_batch.bin"])


def _cifar10_records(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].copy()
