"""Each limit refuses what is over it and names the field, the limit and its variable."""

from pathlib import Path
from typing import Any

import pytest

from cluster.limits import require_space, require_within
from cluster.settings import Limits
from evidence.errors import ConfigError, StorageFull
from tests.cluster import small

OVER: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "max_steps": ({"max_steps": 5}, {}, "steps"),
    "max_batch_size": ({"max_batch_size": 63}, {}, "batch_size"),
    "max_learning_rate": ({"max_learning_rate": 0.4}, {}, "optimizer.lr"),
    "max_wall_s": ({"max_wall_s": 59}, {"max_wall_s": 60}, "max_wall_s"),
    "max_restarts": ({"max_restarts": 2}, {"max_restarts": 3}, "max_restarts"),
    "architectures": ({"architectures": ("resnet",)}, {}, "model.architecture"),
    "name_pattern": ({"name_pattern": "[a-z]+"}, {"name": "run-1"}, "name"),
}


def test_the_defaults_take_a_small_run() -> None:
    require_within(small.config(), Limits())


@pytest.mark.parametrize("limit", sorted(OVER))
def test_what_is_over_a_limit_is_refused_by_field(limit: str) -> None:
    limits, overrides, field = OVER[limit]
    with pytest.raises(ConfigError) as caught:
        require_within(small.config(**overrides), Limits(**limits))
    assert caught.value.field == field


@pytest.mark.parametrize("limit", sorted(OVER))
def test_a_refusal_names_the_limit_and_its_variable(limit: str) -> None:
    limits, overrides, _ = OVER[limit]
    named = rf"\(limit {limit}, set by ZEROPOINT_{limit.upper()}\)"
    with pytest.raises(ConfigError, match=named):
        require_within(small.config(**overrides), Limits(**limits))


def test_exactly_the_limit_is_allowed() -> None:
    limits = Limits(max_steps=6, max_batch_size=64, max_learning_rate=0.5, name_pattern="run")
    require_within(small.config(), limits)


def test_a_name_must_match_as_a_whole() -> None:
    with pytest.raises(ConfigError, match="name"):
        require_within(small.config(name="run-1"), Limits(name_pattern="run"))


def test_a_nearly_full_disk_takes_no_new_run(tmp_path: Path) -> None:
    with pytest.raises(StorageFull, match="min_free_bytes"):
        require_space(tmp_path, Limits(min_free_bytes=1 << 60))


def test_a_disk_with_space_takes_one(tmp_path: Path) -> None:
    require_space(tmp_path, Limits(min_free_bytes=0))
