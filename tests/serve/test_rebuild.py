from pathlib import Path
from typing import Any

import pytest

from evidence.errors import ConfigError, Unavailable
from evidence.subject import DescribeModel
from serve import rebuild
from tests.cluster import small


@pytest.fixture
def describe(tmp_path: Path) -> DescribeModel:
    return rebuild.describer(cache=tmp_path / "cache", scratch=tmp_path)


def config(**changes: Any) -> dict[str, Any]:
    return {**small.config().as_json(), **changes}


def test_a_model_is_described_on_any_device(describe: DescribeModel) -> None:
    model = describe(config(device="METAL"))
    assert model["architecture"] == "mlp"
    assert model == describe(config())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"model": {"architecture": "resnet", "hidden": [16]}}, "model.hidden"),
        ({"model": {"architecture": "other"}}, "model"),
        ({"overrides": {}}, "overrides"),
        ({"device": "other"}, "device"),
        ({"steps": "6"}, "steps"),
    ],
)
def test_a_config_that_the_trainers_refuse_is_an_error_of_the_config(
    change: dict[str, Any], field: str, describe: DescribeModel
) -> None:
    with pytest.raises(ConfigError) as caught:
        describe(config(**change))
    assert caught.value.field == field


def test_a_process_that_cannot_start_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "absent"))
    with pytest.raises(Unavailable, match="the trainers' process"):
        rebuild.describer(cache=tmp_path, scratch=tmp_path)(config())


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        (b'{"code":"config_error","detail":"steps: no"}\n', ConfigError),
        (b'{"code":"not_installed","detail":"no compiler"}\n', Unavailable),
        (b"Killed\n", Unavailable),
        (b"", Unavailable),
    ],
)
def test_only_what_is_wrong_with_the_config_is_held_against_it(
    stderr: bytes, kind: type[Exception]
) -> None:
    assert type(rebuild._error_of(stderr)) is kind
