from pathlib import Path

import pytest

from evidence.errors import ConfigError
from serve.probe import owners
from serve.probe.finding import differs


@pytest.mark.parametrize(
    ("place", "field", "owner"),
    [
        ("GET /api/training/runs/{run_id}/metrics", "/metrics/7/loss", "trainers"),
        ("GET /api/training/runs/{run_id}/metrics", "content-type", "http-api"),
        ("GET /api/training/runs/{run_id}/checkpoints/{step}", "model.safetensors", "trainers"),
        ("GET /api/training/runs/{run_id}", "/config/nonce", "cluster"),
        ("GET /api/training/runs/{run_id}", "status", "http-api"),
        ("GET /api/log/proof/consistency", "/hashes", "evidence"),
        ("GET /api/nodes", "/nodes/CPU/probe", "cluster"),
        ("GET /api/datasets", "/datasets/mnist", "trainers"),
        ("GET /api/healthz", "/mocks", "http-api"),
        ("pack/provenance.json", "/nonce", "evidence"),
        ("pack/checkpoints/step_000100/model.safetensors", "", "trainers"),
    ],
)
def test_a_discrepancy_has_the_owner_of_its_place_and_field(
    place: str, field: str, owner: str
) -> None:
    assert owners.read().of(differs(place, 1, 2, field=field)) == owner


@pytest.mark.parametrize(
    "text",
    ["", '[[owner]]\nplace = "GET /x"\nname = "a"\n', "[[owner]]\nteam = 1\n", "[[owner"],
)
def test_a_file_that_leaves_something_without_an_owner_is_refused(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "owners.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"owners\.toml"):
        owners.read(file)
