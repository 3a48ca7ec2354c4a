"""Model entries, and the files that they name."""

from pathlib import Path
from typing import Any

import pytest

from evidence.errors import Forbidden, InvalidInput, NotFound, SourcesExhausted
from petals_bridge import random_model
from petals_bridge.models import BUILT_IN, ModelRegistry, materialise, parse, require_architecture


def test_the_built_in_entries_are_good_and_approved() -> None:
    assert [entry.name for entry in ModelRegistry([BUILT_IN]) if entry.approved] == ["stories260k"]


def test_the_random_model_is_the_same_each_time(tmp_path: Path) -> None:
    one, two = random_model.make(tmp_path / "1"), random_model.make(tmp_path / "2")
    assert one.files == two.files
    assert one.digest == two.digest
    assert random_model.make(tmp_path / "3", seed=1).digest != one.digest


def test_files_are_found_by_what_they_are_and_checked(tmp_path: Path) -> None:
    entry = random_model.make(tmp_path / "made")
    (tmp_path / "made" / "model.safetensors").rename(
        tmp_path / "made" / "called-otherwise.safetensors"
    )
    folder = materialise(entry, tmp_path / "in", source=None, search_path=[tmp_path / "made"])
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert require_architecture(entry, folder)["num_hidden_layers"] == 4


def test_a_changed_file_is_no_source_and_is_named(tmp_path: Path) -> None:
    entry = random_model.make(tmp_path / "made")
    path = tmp_path / "made" / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(SourcesExhausted, match=r"model\.safetensors"):
        materialise(entry, tmp_path / "in", source=tmp_path / "made", search_path=[tmp_path])


def test_a_copy_that_was_damaged_later_is_made_again(tmp_path: Path) -> None:
    entry = random_model.make(tmp_path / "made")
    folder = materialise(entry, tmp_path / "in", source=tmp_path / "made", search_path=[])
    (folder / "config.json").write_bytes(b"{}")
    materialise(entry, tmp_path / "in", source=tmp_path / "made", search_path=[])
    assert require_architecture(entry, folder)["model_type"] == "llama"


def test_an_unknown_model_and_one_that_is_not_approved_do_not_load(tmp_path: Path) -> None:
    random_model.make(tmp_path)
    path = tmp_path / f"{random_model.NAME}.toml"
    path.write_text(path.read_text().replace("approved = true", "approved = false"))
    registry = ModelRegistry([tmp_path])
    with pytest.raises(Forbidden, match="not approved"):
        registry.require(random_model.NAME)
    with pytest.raises(NotFound):
        registry.require("../../etc/passwd")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "random-llama"', 'name = "../x"'),
        ('architecture = "llama"', 'architecture = "bloom"'),
        ("blocks = 4", "blocks = 0"),
        ("dht_prefix = ", 'dht_prefix = "a.b"\nwas = '),
        ('"config.json" = ', '"../config.json" = '),
        ('"config.json" = "', '"config.json" = "x'),
        ('kind = "bytes"', 'kind = "llama2c"'),
        ("approved = true", "approved = true\nextra = 1"),
        ("revision = ", "revision = ["),
    ],
)
def test_a_bad_entry_is_refused(tmp_path: Path, old: str, new: str) -> None:
    random_model.make(tmp_path)
    text = (tmp_path / f"{random_model.NAME}.toml").read_text()
    assert old in text
    with pytest.raises(InvalidInput):
        parse(text.replace(old, new).encode(), name="x.toml")


def test_an_entry_that_says_otherwise_than_its_config_is_refused(tmp_path: Path) -> None:
    entry: Any = random_model.make(tmp_path)
    with pytest.raises(InvalidInput, match=r"config\.json has"):
        require_architecture(entry.model_copy(update={"blocks": 3}), tmp_path)
