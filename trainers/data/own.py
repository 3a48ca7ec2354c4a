"""Data of somebody's own, from the files that they have to files that can be trained on.

    IDX, .npy   images and labels; a table of numbers, too, each row an image of one line
    .csv        a table: one column is the label, the others are numbers
    .txt, ...   one text, read byte by byte

What comes out is deterministic. Pixels and columns are uint8: numbers of other types are scaled,
each column of a table (or all of an image set) from its least to its greatest value in the training
part.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evidence import digest
from evidence.errors import InvalidInput
from evidence.records import FileDigest
from trainers.data import arrays
from trainers.data.catalog import ARRAY_FILES, TEXT_FILE, ImageSet, TextSet

MOST_BYTES = 1 << 30
"""Largest file that is read; a text may be larger than this once it is in the cache."""

_MOST_CLASSES = 256
_IDX_UBYTE = 8
_IDX_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_NDIM_TABLE, _NDIM_GREY, _NDIM_COLOUR = 2, 3, 4
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody has."""

    file: Path
    """Images, a table, or a text."""
    labels: Path | None = None
    """Labels of images."""
    test: Path | None = None
    """The same kind of file for testing; None splits `file`."""
    test_labels: Path | None = None
    label_column: str | None = None
    """Of a table; the last one if it is None."""
    test_share: float = 0.1
    """Part that is kept for testing where there is no file for it, (0, 1)."""
    title: str = ""
    """Name for people."""


@dataclass(frozen=True, slots=True)
class Made:
    """What can be trained on."""

    entry: ImageSet | TextSet
    files: Mapping[str, bytes]
    told: str
    """How it was made of what was given."""


def make(given: Given) -> Made:
    """Return the data set that files make.

    Raises:
        InvalidInput: They make none; names the file, what was expected and what was found.
        OSError: One cannot be read.
    """
    if not 0 < given.test_share < 1:
        raise InvalidInput(f"test-share: expected a number in (0, 1), found {given.test_share}")
    suffix = given.file.suffix.lower()
    if suffix == ".csv":
        return _of_table(given)
    if suffix == ".npy" or _is_idx(given.file):
        return _of_arrays(given)
    return _of_text(given)


# -- a text ------------------------------------------------------------------------------------


def _of_text(given: Given) -> Made:
    if given.labels or given.test_labels or given.label_column:
        raise InvalidInput(f"{given.file.name}: expected no labels beside a text")
    train = _read(given.file)
    test = _read(given.test) if given.test else b""
    size = len(test) or round(len(train) * given.test_share)
    data = train + test
    if not 0 < size < len(data):
        raise InvalidInput(
            f"{given.file.name}: expected a text of some length, found {len(data)} B"
        )
    entry = TextSet(
        kind="text",
        title=given.title or given.file.name,
        vocabulary=256,
        test_bytes=size,
        files={TEXT_FILE: _digest(data)},
    )
    return Made(entry, {TEXT_FILE: data}, f"a text; its last {size} bytes are for testing")


# -- images and tables -------------------------------------------------------------------------


def _of_arrays(given: Given) -> Made:
    if given.labels is None:
        raise InvalidInput(
            f"{given.file.name}: expected a file of labels beside images, found none",
            cure="--labels FILE",
        )
    images, labels = _images(given.file), _labels(given.labels)
    if given.test is None:
        if given.test_labels is not None:
            raise InvalidInput("test-labels: expected a file of test images beside it, found none")
        return _made(given, *_split(images, labels, given.test_share), names=None)
    if given.test_labels is None:
        raise InvalidInput("test: expected a file of test labels beside it, found none")
    test = (_images(given.test), _labels(given.test_labels))
    return _made(given, (images, labels), test, names=None)


def _of_table(given: Given) -> Made:
    if given.labels or given.test_labels:
        raise InvalidInput(f"{given.file.name}: a table has its labels in a column (--label)")
    header, rows, labels = _table(given.file, given.label_column)
    if given.test is None:
        train, test = _split(rows, labels, given.test_share)
    else:
        other, test_rows, test_labels = _table(given.test, given.label_column)
        if other != header:
            raise InvalidInput(f"{given.test.name}: expected the columns of {given.file.name}")
        train, test = (rows, labels), (test_rows, test_labels)
    names = sorted({*train[1], *test[1]})
    as_numbers = {name: number for number, name in enumerate(names)}
    numbered = [
        (part, np.array([as_numbers[name] for name in told], np.int64))
        for part, told in (train, test)
    ]
    return _made(given, numbered[0], numbered[1], names=names)


_Part = tuple[np.ndarray, np.ndarray]


def _made(given: Given, train: _Part, test: _Part, *, names: Sequence[str] | None) -> Made:
    """Return the set of two parts, each of images (N, C, H, W) or rows (N, F), and labels."""
    for part, (images, labels) in (("training", train), ("test", test)):
        if len(images) != len(labels) or not len(labels):
            raise InvalidInput(
                f"{given.file.name}: expected as many labels as images in the {part} part, "
                f"found {len(images)} and {len(labels)}"
            )
    if train[0].shape[1:] != test[0].shape[1:]:
        raise InvalidInput(
            f"{given.file.name}: expected test images of shape {train[0].shape[1:]}, "
            f"found {test[0].shape[1:]}"
        )
    classes = names or [str(i) for i in range(int(max(train[1].max(), test[1].max())) + 1)]
    if min(train[1].min(), test[1].min()) < 0 or not 1 < len(classes) <= _MOST_CLASSES:
        raise InvalidInput(
            f"labels: expected 2 to {_MOST_CLASSES} classes numbered from 0, found {len(classes)}"
        )
    (train_x, test_x), scaled = _as_bytes(train[0], test[0])
    mean, std = _moments(train_x)
    held = (train_x, train[1].astype(np.uint8), test_x, test[1].astype(np.uint8))
    files = {name: arrays.encode(array) for name, array in zip(ARRAY_FILES, held, strict=True)}
    channels, height, width = train_x.shape[1:]
    entry = ImageSet(
        kind="images",
        layout="arrays",
        title=given.title or given.file.name,
        image_shape=(channels, height, width),
        classes=tuple(classes),
        mean=mean,
        std=std,
        files={name: _digest(data) for name, data in files.items()},
    )
    told = f"{len(train_x)} for training, {len(test_x)} for testing; {scaled}"
    return Made(entry, files, told)


def _split(x: np.ndarray, y: np.ndarray, share: float) -> tuple[_Part, _Part]:
    """Return training and test part, mixed by a fixed permutation."""
    if len(x) != len(y):
        raise InvalidInput(f"labels: expected {len(x)}, found {len(y)}")
    order = np.random.default_rng(0).permutation(len(x))
    cut = len(x) - max(1, round(len(x) * share))
    return (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])


def _as_bytes(train: np.ndarray, test: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], str]:
    """Return both parts as uint8 (N, C, H, W), and how they were scaled."""
    is_table = train.ndim == _NDIM_TABLE
    if is_table:
        train, test = train[:, None, None, :], test[:, None, None, :]
    if train.dtype == np.uint8 and test.dtype == np.uint8:
        return (train, test), "the bytes are as given"
    axes = (0, 1, 2) if is_table else None
    low = np.min(train, axis=axes, keepdims=True).astype(np.float64)
    span = np.max(train, axis=axes, keepdims=True) - low
    span[span == 0] = 1
    scaled = [
        np.clip(np.rint((part - low) / span * 255), 0, 255).astype(np.uint8)
        for part in (train, test)
    ]
    what = "each column" if is_table else "all pixels"
    return (scaled[0], scaled[1]), f"{what} scaled to 0 to 255 by the training part"


def _moments(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, of values in [0, 1], to 4 digits."""
    mean = images.mean(axis=(0, 2, 3), dtype=np.float64) / 255
    std = images.std(axis=(0, 2, 3), dtype=np.float64) / 255
    least = 1e-3
    return (
        tuple(round(float(value), 4) for value in mean),
        tuple(max(least, round(float(value), 4)) for value in std),
    )


# -- files -------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise InvalidInput(f"{path.name}: expected at most {MOST_BYTES} bytes, found {size}")
    return path.read_bytes()


def _images(path: Path) -> np.ndarray:
    array = _array(path)
    if array.ndim == _NDIM_TABLE:
        return array
    if array.ndim == _NDIM_GREY:
        return array[:, None]
    if array.ndim == _NDIM_COLOUR:
        _, first, _, last = array.shape
        if (first in _CHANNELS and last not in _CHANNELS[:2]) or first in _CHANNELS[:2]:
            return array
        if last in _CHANNELS:
            return array.transpose(0, 3, 1, 2)
    raise InvalidInput(
        f"{path.name}: expected images (N, H, W), (N, C, H, W) or (N, H, W, C) with 1, 3 or 4 "
        f"channels, or rows (N, F), found {array.shape}"
    )


def _labels(path: Path) -> np.ndarray:
    array = _array(path).squeeze()
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidInput(
            f"{path.name}: expected integers (N,), found {array.dtype} {array.shape}"
        )
    return array.astype(np.int64)


def _array(path: Path) -> np.ndarray:
    data = _read(path)
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise InvalidInput(
                f"{path.name}: expected a .npy array, found: {error}"[:300]
            ) from error
    else:
        array = _idx(path.name, data)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise InvalidInput(f"{path.name}: expected numbers, found {getattr(array, 'dtype', '?')}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(f"{path.name}: expected finite numbers, found NaN or an infinity")
    return array


def _is_idx(path: Path) -> bool:
    with path.open("rb") as file:
        magic = file.read(4)
    return len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _IDX_DTYPES and 0 < magic[3] < 5  # noqa: PLR2004 - the magic number


def _idx(name: str, data: bytes) -> np.ndarray:
    """Return the array of an IDX file (http://yann.lecun.com/exdb/mnist/, "file formats")."""
    if len(data) < _IDX_UBYTE or data[:2] != b"\0\0" or data[2] not in _IDX_DTYPES:
        raise InvalidInput(f"{name}: expected an IDX file, found other bytes")
    ndim = data[3]
    shape = [int(size) for size in np.frombuffer(data, ">u4", ndim, 4)]
    body = np.frombuffer(data, _IDX_DTYPES[data[2]], offset=4 + 4 * ndim)
    if body.size != int(np.prod(shape)):
        raise InvalidInput(f"{name}: expected {int(np.prod(shape))} values, found {body.size}")
    return body.reshape(shape).astype(body.dtype.newbyteorder("="))


def _table(path: Path, label: str | None) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the names of the columns of numbers, rows (N, F) float64, labels (N,) of text."""
    try:
        text = _read(path).decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path.name}: expected CSV in UTF-8, found: {error}"[:300]) from error
    if len(lines) < 3:  # noqa: PLR2004 - a header, a row to train on, a row to test on
        raise InvalidInput(f"{path.name}: expected a header and two rows, found {len(lines)} lines")
    header = lines[0]
    if label is not None and label not in header:
        raise InvalidInput(
            f"{path.name}: expected a column {label!r}, found {', '.join(header)}"[:300]
        )
    at = header.index(label) if label is not None else len(header) - 1
    numbers = np.empty((len(lines) - 1, len(header) - 1))
    labels = []
    for row, line in enumerate(lines[1:]):
        if len(line) != len(header):
            raise InvalidInput(
                f"{path.name}, row {row + 1}: expected {len(header)} fields, found {len(line)}"
            )
        labels.append(line[at].strip())
        for column, field in enumerate(line[:at] + line[at + 1 :]):
            numbers[row, column] = _number(path, row, header, column + (column >= at), field)
    return header, numbers, np.array(labels)


def _number(path: Path, row: int, header: Sequence[str], column: int, field: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InvalidInput(
            f"{path.name}, row {row + 1}, column {header[column]}: expected a number, "
            f"found {field[:80]!r}",
            field=header[column],
        )
    return value


def _digest(data: bytes) -> FileDigest:
    return FileDigest(bytes=len(data), sha256=digest.of_bytes(data))
