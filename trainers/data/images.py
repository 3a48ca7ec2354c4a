"""Decode raw files of images into arrays; the bytes that are hashed are those that are decoded.

Formats: MNIST's IDX (http://yann.lecun.com/exdb/mnist/, "file formats"), CIFAR-10's binary version
(https://www.cs.toronto.edu/~kriz/cifar.html): 1 label byte, then 3072 pixel bytes a record.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainers.data import arrays
from trainers.data.catalog import ImageSet
from trainers.data.stream import Streamed, VerifiedFile

_IDX_IMAGES_HEADER_BYTES = 16
_IDX_LABELS_HEADER_BYTES = 8
_TEST_FILES = ("t10k-", "test_batch")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images and labels of one data set, in file order."""

    name: str
    """Key in the catalog."""
    train_images: np.ndarray | Streamed
    """(N, C, H, W), uint8, 0 to 255."""
    train_labels: np.ndarray | Streamed
    """(N,), uint8, 0 to len(classes) - 1."""
    test_images: np.ndarray
    """(M, C, H, W), uint8."""
    test_labels: np.ndarray
    """(M,), uint8."""
    classes: tuple[str, ...]
    """Class names in label order."""
    digests: Mapping[str, str]
    """SHA-256 of each raw file that the arrays were decoded from, by file name."""


def decode(name: str, raw: Mapping[str, bytes], entry: ImageSet) -> Dataset:
    """Return the images of the set `name` from its raw files, which the caller has verified.

    Raises:
        IntegrityError: Files of the layout `arrays` do not hold what the entry says.
    """
    if entry.layout == "arrays":
        return Dataset(name, *arrays.decode(raw, entry), entry.classes, entry.digests)
    decode = {"mnist": _decode_mnist, "cifar10": _decode_cifar10}[entry.layout]
    return Dataset(name, *decode(raw), entry.classes, entry.digests)


def stream(name: str, files: Mapping[str, VerifiedFile], entry: ImageSet) -> Dataset:
    """Return the images of the set `name`, whose training part stays in its files."""
    test = {file: _whole(files[file]) for file in files if file.startswith(_TEST_FILES)}
    if entry.layout == "mnist":
        images, labels = files["train-images-idx3-ubyte"], files["train-labels-idx1-ubyte"]
        train_images = Streamed(
            [images], header=_IDX_IMAGES_HEADER_BYTES, stride=28 * 28, shape=(1, 28, 28)
        )
        train_labels = Streamed([labels], header=_IDX_LABELS_HEADER_BYTES, stride=1, shape=())
        judged = _mnist(test, "t10k")
    else:
        train = [files[f"data_batch_{i}.bin"] for i in range(1, 6)]
        stride = 1 + 3 * 32 * 32
        train_images = Streamed(train, stride=stride, offset=1, shape=(3, 32, 32))
        train_labels = Streamed(train, stride=stride, shape=())
        judged = _cifar10_records(test["test_batch.bin"])
    return Dataset(name, train_images, train_labels, *judged, entry.classes, entry.digests)


def _whole(file: VerifiedFile) -> bytes:
    return file.gather(np.array([0]), length=file.size).tobytes()


_Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _decode_mnist(raw: Mapping[str, bytes]) -> _Arrays:
    return *_mnist(raw, "train"), *_mnist(raw, "t10k")


def _mnist(raw: Mapping[str, bytes], part: str) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.frombuffer(
        raw[f"{part}-images-idx3-ubyte"], np.uint8, offset=_IDX_IMAGES_HEADER_BYTES
    )
    labels = np.frombuffer(
        raw[f"{part}-labels-idx1-ubyte"], np.uint8, offset=_IDX_LABELS_HEADER_BYTES
    )
    return pixels.reshape(-1, 1, 28, 28), labels


def _decode_cifar10(raw: Mapping[str, bytes]) -> _Arrays:
    train = [raw[f"data_batch_{i}.bin"] for i in range(1, 6)]
    train_images, train_labels = _cifar10_records(b"".join(train))
    return train_images, train_labels, *_cifar10_records(raw["test_batch.bin"])


def _cifar10_records(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].copy()
