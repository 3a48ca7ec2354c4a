"""Data sets that stay in their files: the same samples, verified where they are read."""

from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from evidence import digest
from evidence.errors import DigestMismatch
from tests.trainers import tiny
from trainers.batches import Ahead, Batches
from trainers.config import RunConfig
from trainers.data import store
from trainers.data.images import Dataset
from trainers.data.load import load
from trainers.data.stream import Streamed, StreamedText, VerifiedFile


def file_of(path: Path, data: bytes) -> VerifiedFile:
    path.write_bytes(data)
    return VerifiedFile(path, name=path.name, sha256=digest.of_bytes(data))


def both(name: str, cache: Path, config: RunConfig) -> tuple[Batches, Batches]:
    """Return the batches of a set in memory and of the same set in its files."""
    resident, streamed = load(name, cache), load(name, cache, resident_bytes=0)
    return Batches(config, resident, seed=3), Batches(config, streamed, seed=3)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_streamed_images_are_the_same_bits(name: str, request: pytest.FixtureRequest) -> None:
    cache = request.getfixturevalue(f"{name}_cache")
    augmentation = "crop_flip" if name == "cifar10" else "none"
    resident, streamed = both(name, cache, tiny.run_config(augmentation=augmentation))
    for step in (1, 2, 1000):
        for expected, found in zip(resident.at(step), streamed.at(step), strict=True):
            assert expected.dtype == found.dtype
            np.testing.assert_array_equal(found, expected)
    assert load(name, cache).digests == load(name, cache, resident_bytes=0).digests


def test_streamed_images_have_the_same_test_part(mnist_cache: Path) -> None:
    resident, streamed = (load("mnist", mnist_cache, resident_bytes=n) for n in (1 << 30, 0))
    assert isinstance(resident, Dataset)
    assert isinstance(streamed, Dataset)
    np.testing.assert_array_equal(streamed.test_images, resident.test_images)
    np.testing.assert_array_equal(streamed.test_labels, resident.test_labels)


def test_a_file_with_other_bytes_is_refused_before_training(
    mnist_cache: Path, tmp_path: Path
) -> None:
    copytree(mnist_cache, tmp_path / "c")
    path = store.folder("mnist", tmp_path / "c") / "train-images-idx3-ubyte"
    with path.open("r+b") as file:
        file.seek(20_000_000)
        file.write(b"x")
    with pytest.raises(DigestMismatch, match="mnist/train-images"):
        load("mnist", tmp_path / "c", resident_bytes=0)


def test_a_file_that_changes_under_a_run_is_found_out(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(50_000)
    file = file_of(tmp_path / "f", data)
    assert file.gather(np.array([9_000]), length=5_000).tobytes() == data[9_000:14_000]
    with (tmp_path / "f").open("r+b") as other:
        other.seek(12_000)
        other.write(bytes([data[12_000] ^ 1]))
    with pytest.raises(DigestMismatch, match="bytes 8192 and on"):
        file.gather(np.array([9_000]), length=5_000)
    assert file.gather(np.array([0]), length=4_096).tobytes() == data[:4_096]
    with (tmp_path / "f").open("r+b") as other:
        other.truncate(100)
    with pytest.raises(DigestMismatch):
        file.gather(np.array([0]), length=200)


def test_records_lie_behind_one_another_over_files(tmp_path: Path) -> None:
    rows = np.arange(7 * 6, dtype=np.uint8).reshape(7, 6)
    files = [
        file_of(tmp_path / "a", b"hh" + rows[:4].tobytes()),
        file_of(tmp_path / "b", b"hh" + rows[4:].tobytes()),
    ]
    streamed = Streamed(files, header=2, stride=6, offset=1, shape=(2, 2))
    assert len(streamed) == 7
    chosen = np.array([6, 0, 4, 3, 3])
    np.testing.assert_array_equal(streamed[chosen], rows[chosen, 1:5].reshape(-1, 2, 2))


def test_streamed_windows_of_a_text_are_the_same_bits(tmp_path: Path) -> None:
    data = np.random.default_rng(1).bytes(20_000)
    streamed = StreamedText(file_of(tmp_path / "t", data), size=15_000)
    assert len(streamed) == 15_000
    starts = np.array([0, 4_090, 14_000])
    expected = np.frombuffer(data, np.uint8)[starts[:, None] + np.arange(33)]
    np.testing.assert_array_equal(streamed.windows(starts, length=33), expected)


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_batches_made_ahead_are_those_of_their_steps(augmentation: str) -> None:
    config = tiny.run_config(augmentation=augmentation)
    plain, behind = (Batches(config, tiny.dataset(), seed=3) for _ in range(2))
    with Ahead(behind, last=9) as ahead:
        for step in (4, 5, 6, 9, 2):  # a start anywhere, and a jump
            for expected, found in zip(plain.at(step), ahead.at(step), strict=True):
                np.testing.assert_array_equal(found, expected)
