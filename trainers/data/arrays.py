"""Images and labels as four .npy files: how data of somebody's own is kept."""

import io
from collections.abc import Mapping

import numpy as np

from evidence.errors import IntegrityError
from trainers.data.catalog import ARRAY_FILES, ImageSet


def decode(
    raw: Mapping[str, bytes], entry: ImageSet
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return images (N, C, H, W) and labels (N,) of both parts, uint8.

    Raises:
        IntegrityError: A file does not hold what the entry says.
    """
    found = [_array(file, raw.get(file, b"")) for file in ARRAY_FILES]
    for images, labels in (found[:2], found[2:]):
        if images.shape != (len(labels), *entry.image_shape) or labels.ndim != 1:
            raise IntegrityError(
                f"expected images (N, {', '.join(map(str, entry.image_shape))}) and labels (N,), "
                f"found {images.shape} and {labels.shape}"
            )
        if len(labels) and labels.max() >= len(entry.classes):
            raise IntegrityError(
                f"expected labels below {len(entry.classes)}, found {labels.max()}"
            )
    train_images, train_labels, test_images, test_labels = found
    return train_images, train_labels, test_images, test_labels


def encode(array: np.ndarray) -> bytes:
    """Return the .npy file of an array, the same bytes for equal arrays."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _array(file: str, data: bytes) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise IntegrityError(f"{file}: expected an array, found: {error}"[:300]) from error
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        raise IntegrityError(f"{file}: expected uint8, found {getattr(array, 'dtype', 'no array')}")
    return array
