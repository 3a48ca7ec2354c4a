import json
from pathlib import Path

import pytest

from cluster import job_request
from evidence.errors import ConfigError, InvalidInput


def test_values_are_json_where_they_can_be_read_as_such_and_text_otherwise() -> None:
    pairs = ["steps=300", "optimizer.lr=1e-3", "device=CPU", "keep_last=null", "model.hidden=[64]"]
    assert job_request.parse_settings(pairs) == {
        "steps": 300,
        "optimizer": {"lr": 0.001},
        "device": "CPU",
        "keep_last": None,
        "model": {"hidden": [64]},
    }


def test_settings_of_one_part_are_put_together_and_the_last_one_wins() -> None:
    pairs = ["optimizer.name=sgd", "optimizer.lr=1", "optimizer.lr=2"]
    assert job_request.parse_settings(pairs) == {"optimizer": {"name": "sgd", "lr": 2}}


@pytest.mark.parametrize("pair", ["steps", "=3", "optimizer.=3", ".lr=3"])
def test_a_pair_without_key_or_value_is_refused(pair: str) -> None:
    with pytest.raises(InvalidInput, match="expected key=value"):
        job_request.parse_settings([pair])


def test_settings_lie_over_the_overrides_of_a_request_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('recipe = "mnist_mlp"\n[overrides]\nsteps = 60\nseed = 7\n')
    assert job_request.of_file(file, {"steps": 90}) == {
        "recipe": "mnist_mlp",
        "overrides": {"steps": 90, "seed": 7},
    }


def test_settings_lie_over_a_full_config(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"dataset": "mnist", "optimizer": {"name": "sgd", "lr": 1}}))
    assert job_request.of_file(file, {"optimizer": {"lr": 2}}) == {
        "dataset": "mnist",
        "optimizer": {"name": "sgd", "lr": 2},
    }


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.toml", "steps"), ("b.json", "[]")])
def test_a_file_that_is_no_config_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ConfigError, match=name):
        job_request.of_file(file, {})
