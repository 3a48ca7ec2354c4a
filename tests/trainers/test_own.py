"""Data of somebody's own: from IDX, .npy, CSV and text to what trainers read, and back."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evidence.errors import ConfigError, DigestMismatch, IntegrityError, InvalidInput
from evidence.records import FileDigest
from trainers import config as configs
from trainers import recipes
from trainers.data import arrays, catalog, own, store
from trainers.data.catalog import ARRAY_FILES, TEXT_FILE, ImageSet, TextSet
from trainers.data.images import Dataset
from trainers.data.load import load
from trainers.data.own import Given, Made
from trainers.data.text import Text

RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (20, 6, 5), np.uint8)
LABELS = np.arange(20, dtype=np.uint8) % 3


def npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array, allow_pickle=False)
    return path


def idx(path: Path, array: np.ndarray, code: int = 8) -> Path:
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(head + array.tobytes())
    return path


def stored(cache: Path, made: Made) -> Dataset | Text:
    for file, data in made.files.items():
        store.admit("mine", file, data, cache=cache, source="a test", own=made.entry)
    return load("mine", cache, own=made.entry)


def sorted_images(data: Dataset) -> list[bytes]:
    both = [np.asarray(data.train_images[:]), data.test_images]
    return sorted(image.tobytes() for image in np.concatenate(both))


def test_idx_and_npy_of_the_same_images_are_the_same_bytes(tmp_path: Path) -> None:
    of_npy = own.make(
        Given(npy(tmp_path / "i.npy", IMAGES), labels=npy(tmp_path / "l.npy", LABELS))
    )
    of_idx = own.make(Given(idx(tmp_path / "i", IMAGES), labels=idx(tmp_path / "l", LABELS)))
    assert of_npy.files == of_idx.files


def test_every_image_is_kept_once_with_its_label(tmp_path: Path) -> None:
    made = own.make(Given(npy(tmp_path / "i.npy", IMAGES), labels=npy(tmp_path / "l.npy", LABELS)))
    data = stored(tmp_path, made)
    assert isinstance(data, Dataset)
    assert (len(data.train_images), len(data.test_images)) == (18, 2)
    assert sorted_images(data) == sorted(image.tobytes() for image in IMAGES)
    of_image = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    for images, labels in (
        (data.train_images[:], data.train_labels[:]),
        (data.test_images, data.test_labels),
    ):
        assert [of_image[image.tobytes()] for image in images] == list(labels)
    assert made.entry.digests == data.digests


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((8, 4, 4), (1, 4, 4)),
        ((8, 3, 4, 5), (3, 4, 5)),
        ((8, 4, 5, 3), (3, 4, 5)),
        ((8, 4, 5, 5), (4, 5, 5)),
        ((8, 5, 5, 4), (4, 5, 5)),
        ((8, 7), (1, 1, 7)),
    ],
)
def test_images_of_any_usual_shape_are_taken(
    tmp_path: Path, shape: tuple[int, ...], found: tuple[int, ...]
) -> None:
    images = npy(tmp_path / "i.npy", RNG.integers(0, 256, shape, np.uint8))
    made = own.make(Given(images, labels=npy(tmp_path / "l.npy", LABELS[:8])))
    assert isinstance(made.entry, ImageSet)
    assert made.entry.image_shape == found


def test_numbers_are_scaled_by_the_training_part_alone(tmp_path: Path) -> None:
    train, test = np.array([[0.0, 5], [2, 5], [1, 5]]), np.array([[4.0, 5], [1, 7]])
    given = Given(
        npy(tmp_path / "a.npy", train),
        labels=npy(tmp_path / "al.npy", np.array([0, 1, 1])),
        test=npy(tmp_path / "b.npy", test),
        test_labels=npy(tmp_path / "bl.npy", np.array([1, 0])),
    )
    data = stored(tmp_path, own.make(given))
    assert isinstance(data, Dataset)
    assert data.train_images[:].reshape(3, 2).tolist() == [[0, 0], [255, 0], [128, 0]]
    assert data.test_images.reshape(2, 2).tolist() == [[255, 0], [128, 255]]


def test_a_table_has_its_classes_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = "\n".join(f"{i},{'cat' if i % 2 else 'ant'},{-i}" for i in range(10))
    path.write_text(f"x,kind,y\n{rows}\n")
    made = own.make(Given(path, label_column="kind"))
    assert isinstance(made.entry, ImageSet)
    assert (made.entry.classes, made.entry.image_shape) == (("ant", "cat"), (1, 1, 2))


def test_a_text_is_its_bytes_and_its_end_is_for_testing(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(bytes(range(256)) * 4)
    made = own.make(Given(path, test_share=0.25))
    data = stored(tmp_path, made)
    assert isinstance(data, Text)
    assert isinstance(data.train, np.ndarray)
    assert data.train.tobytes() + data.test.tobytes() == path.read_bytes()
    assert len(data.test) == 256


def test_a_text_larger_than_memory_stays_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(bytes(range(256)) * 40)
    made = own.make(Given(path))
    stored(tmp_path, made)
    data = load("mine", tmp_path, own=made.entry, resident_bytes=100)
    assert isinstance(data, Text)
    assert not isinstance(data.train, np.ndarray)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("t.csv", b"a,b\n1,x\n", "a header and two rows"),
        ("t.csv", b"a,b\n1,x\n2\n", "row 2: expected 2 fields, found 1"),
        ("t.csv", b"a,b\n1,x\nnan,y\n", "row 2, column a: expected a number"),
        ("t.csv", b"a,b\n1,x\nten,y\n", "row 2, column a: expected a number"),
        ("t.csv", b"a,b\n1,x\n2,x\n", "2 to 256 classes"),
        ("t.csv", b"\xff\xfe", "CSV in UTF-8"),
        ("t.txt", b"", "a text of some length"),
        ("i.npy", b"", "a file of labels"),
    ],
)
def test_what_makes_no_data_set_is_refused(
    tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=why):
        own.make(Given(path))


@pytest.mark.parametrize(
    ("images", "labels", "why"),
    [
        (IMAGES, LABELS[:-1], "labels: expected 20, found 19"),
        (IMAGES, LABELS.astype(np.float32), "expected integers"),
        (IMAGES[0, 0], LABELS, "expected images"),
        (IMAGES.astype(bool), LABELS, "expected numbers"),
        (np.full((20, 2), np.nan), LABELS, "finite"),
        (IMAGES, LABELS.astype(np.int64) - 1, "numbered from 0"),
        (IMAGES, LABELS.astype(np.int64) * 200, "2 to 256 classes"),
    ],
)
def test_images_that_do_not_fit_their_labels_are_refused(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, why: str
) -> None:
    given = Given(npy(tmp_path / "i.npy", images), labels=npy(tmp_path / "l.npy", labels))
    with pytest.raises(InvalidInput, match=why):
        own.make(given)


@pytest.mark.parametrize("data", [b"\0\0\x08\x03", b"\0\0\x08\x01\0\0\0\x09abc", b"no array"])
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "i.npy"
    path.write_bytes(data)
    with pytest.raises(InvalidInput):
        own.make(Given(path, labels=npy(tmp_path / "l.npy", LABELS)))


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "i.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InvalidInput, match=r"i\.npy"):
        own.make(Given(path, labels=npy(tmp_path / "l.npy", LABELS)))


# -- what a client may say of its data ---------------------------------------------------------


def described(**changes: Any) -> dict[str, Any]:
    whole = ImageSet(
        kind="images",
        layout="arrays",
        title="mine",
        image_shape=(1, 2, 2),
        classes=("a", "b"),
        mean=(0.5,),
        std=(0.5,),
        files=dict.fromkeys(ARRAY_FILES, FileDigest(bytes=1, sha256="a" * 64)),
    )
    return {**whole.model_dump(mode="json"), **changes}


def config(**changes: Any) -> configs.RunConfig:
    return configs.parse(
        {
            "dataset": "mine",
            "data": described(),
            "model": {"architecture": "mlp"},
            "steps": 10,
            **changes,
        }
    )


def test_a_config_has_the_whole_description() -> None:
    assert config().images.image_shape == (1, 2, 2)
    assert configs.parse(config().as_json()) == config()


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../../keys/service.key": {"bytes": 1, "sha256": "a" * 64}}},
        {"files": {}},
        {"layout": "mnist"},
        {"archives": [{"url": "https://10.0.0.1/", "format": "raw", "bytes": 1, "sha256": "a"}]},
        {"npm": {"package": "evil@1", "layout": "raw"}},
        {"image_shape": [0, 2, 2]},
        {"image_shape": [1, 2, 10**9]},
        {"mean": []},
        {"std": [0]},
        {"classes": ["one"]},
        {"more": 1},
    ],
)
def test_a_description_that_leads_elsewhere_or_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        config(data=described(**changes))
    assert str(caught.value.field).startswith("data")


def test_a_data_set_of_the_catalog_cannot_be_described_otherwise() -> None:
    with pytest.raises(ConfigError, match="in the catalog"):
        config(dataset="mnist")


def test_data_that_nobody_added_is_named() -> None:
    with pytest.raises(ConfigError, match=r"dataset: expected one of .*, or data that was added"):
        config(data=None)


def test_a_recipe_can_name_it() -> None:
    known = ImageSet.model_validate(described())

    def lookup(name: str) -> ImageSet | TextSet | None:
        return known if name == "mine" else None

    request = {"recipe": "mnist_mlp", "overrides": {"dataset": "mine"}}
    assert recipes.resolve(request, own=lookup).data == known
    assert recipes.resolve({"recipe": "mnist_mlp"}, own=lookup).data is None


def test_the_config_of_a_catalog_set_has_no_field_for_it() -> None:
    assert "data" not in recipes.load("mnist_mlp").as_json()


# -- bytes -------------------------------------------------------------------------------------


def test_other_bytes_are_not_taken_into_the_cache(tmp_path: Path) -> None:
    entry = TextSet(
        kind="text",
        title="mine",
        vocabulary=256,
        test_bytes=1,
        files={TEXT_FILE: FileDigest(bytes=2, sha256="a" * 64)},
    )
    with pytest.raises(DigestMismatch):
        store.admit("mine", TEXT_FILE, b"xy", cache=tmp_path, source="a test", own=entry)
    assert store.status("mine", tmp_path, own=entry).state == "absent"


@pytest.mark.parametrize(
    ("file", "array"),
    [
        ("train_images.npy", np.zeros((4, 1, 2, 3), np.uint8)),
        ("train_images.npy", np.zeros((4, 1, 2, 2), np.float32)),
        ("train_labels.npy", np.zeros((3,), np.uint8)),
        ("test_labels.npy", np.full((2,), 2, np.uint8)),
    ],
)
def test_arrays_that_are_not_what_the_description_says_are_found(
    file: str, array: np.ndarray
) -> None:
    good = {
        "train_images.npy": np.zeros((4, 1, 2, 2), np.uint8),
        "train_labels.npy": np.zeros(4, np.uint8),
        "test_images.npy": np.zeros((2, 1, 2, 2), np.uint8),
        "test_labels.npy": np.zeros(2, np.uint8),
    }
    entry = ImageSet.model_validate(described())
    raw = {name: arrays.encode(held) for name, held in good.items()}
    assert len(arrays.decode(raw, entry)) == 4
    with pytest.raises(IntegrityError):
        arrays.decode({**raw, file: arrays.encode(array)}, entry)


def test_the_catalog_knows_nothing_of_it() -> None:
    assert "mine" not in catalog.names()
