import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import seed
from evidence.errors import ConfigError, InvalidInput
from tests.trainers import tiny
from trainers import config, recipes

MINIMAL: dict[str, Any] = {"dataset": "mnist", "model": {"architecture": "mlp"}, "steps": 10}

OUT_OF_BOUNDS = [
    ({"steps": 2}, "steps"),
    ({"steps": "10"}, "steps"),
    ({"steps": True}, "steps"),
    ({"seed": -1}, "seed"),
    ({"dataset": "fashion"}, "dataset"),
    ({"device": "TPU"}, "device"),
    ({"precision": "int8"}, "precision"),
    ({"name": "../up"}, "name"),
    ({"name": "Upper"}, "name"),
    ({"name": ""}, "name"),
    ({"max_grad_norm": 0}, "max_grad_norm"),
    ({"max_restarts": 101}, "max_restarts"),
    ({"beam": 1}, "beam"),  # with the portable set, which is the default
    ({"beam": 17, "kernel_set": "native"}, "beam"),
    ({"beam": 1, "kernel_set": "native", "workers": 2}, "beam"),
    ({"batch_size": 10, "micro_steps": 3}, "micro_steps"),
    ({"kernel_set": "native", "threads": 0}, "threads"),
    ({"kernel_set": "portable", "threads": 2}, "threads"),
    ({"threads": 2}, "threads"),
    ({"batch_size": 64, "workers": 3}, "workers"),
    ({"batch_size": 64, "micro_steps": 16, "workers": 8}, "workers"),
    ({"batch_size": 17, "workers": 17}, "workers"),
    ({"workers": 0}, "workers"),
    ({"workers": 2, "device": "CUDA"}, "device"),
    ({"checkpoint_every": 4}, "checkpoint_every"),
    ({"checkpoint_every": 0}, "checkpoint_every"),
    ({"schedule": {"warmup_steps": 10}}, "schedule"),
    ({"schedule": {"shape": "cosine"}}, "schedule.shape"),
    ({"optimizer": {"lr": 0}}, "optimizer.lr"),
    ({"optimizer": {"name": "lion"}}, "optimizer.name"),
    ({"optimizer": {"name": "sgd", "nesterov": True}}, "config"),
    ({"model": {"architecture": "vgg"}}, "model"),
    ({"model": {"architecture": "mlp", "hidden": []}}, "model.hidden"),
    ({"model": {"architecture": "mlp", "hidden": [16, 7]}}, "model.hidden.1"),
    ({"model": {"architecture": "mlp", "hidden": [8] * 5}}, "model.hidden"),
    ({"model": {"architecture": "mlp", "code": "x"}}, "model.code"),
    ({"model": {"architecture": "convnet", "kernel": 4}}, "model.kernel"),
    ({"model": {"architecture": "resnet", "depth": 21}}, "model.depth"),
    ({"learning_rate": 1}, "learning_rate"),
    ({"v": 2}, "v"),
]


@pytest.mark.parametrize(("change", "field"), OUT_OF_BOUNDS)
def test_a_wrong_field_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse({**MINIMAL, **change})
    assert caught.value.field == field
    assert caught.value.expected
    assert caught.value.found
    assert "more" not in caught.value.detail


def test_threads_are_refused_under_portable_with_the_reason() -> None:
    told = "threads: expected 1 under the kernel set portable, found 2"
    with pytest.raises(ConfigError, match=told):
        config.parse({**MINIMAL, "threads": 2})
    assert config.parse({**MINIMAL, "kernel_set": "native", "threads": 2}).threads == 2


def test_a_mistyped_field_lists_the_allowed_names() -> None:
    with pytest.raises(ConfigError, match="one of name, lr, momentum"):
        config.parse({**MINIMAL, "optimizer": {"learningrate": 1}})


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="v: expected"):
        config.parse({**MINIMAL, "v": 2})


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(InvalidInput):
        config.parse({**MINIMAL, "max_grad_norm": math.nan})


@given(
    steps=st.integers(3, 10_000_000),
    hidden=st.lists(st.integers(8, 4096), min_size=1, max_size=4),
    lr=st.floats(1e-9, 10),
    size=st.integers(1, 8192),
)
def test_every_config_within_bounds_survives_json(
    steps: int, hidden: list[int], lr: float, size: int
) -> None:
    parsed = config.parse(
        {
            "dataset": "cifar10",
            "model": {"architecture": "mlp", "hidden": hidden},
            "steps": steps,
            "batch_size": size,
            "optimizer": {"lr": lr},
        }
    )
    assert config.parse(parsed.as_json()) == parsed
    assert parsed.steps // parsed.checkpoint_every >= 3
    assert parsed.is_checkpoint(steps)
    assert parsed.is_metric(steps)


@given(width=st.one_of(st.integers(max_value=7), st.integers(min_value=4097)))
def test_no_width_out_of_bounds_is_taken(width: int) -> None:
    with pytest.raises((ConfigError, InvalidInput)):
        config.parse({**MINIMAL, "model": {"architecture": "mlp", "hidden": [width]}})


def test_the_marked_fields_are_those_that_the_seed_leaves_out() -> None:
    assert config.bits_free_fields() == seed.FREE_FIELDS


def test_every_field_says_what_it_is() -> None:
    for part in (config.RunConfig, config.Mlp, config.Convnet, config.Resnet, config.Optimizer):
        assert [name for name, field in part.model_fields.items() if not field.description] == []


def test_the_seed_ignores_what_changes_no_bit_and_nothing_else() -> None:
    base = tiny.run_config()
    data = {"file": "0" * 64}
    expected = seed.derive(base.as_json(), data)
    free = tiny.run_config(name="other", metric_every=3, checkpoint_every=1, keep_last=1)
    assert seed.derive(free.as_json(), data) == expected
    for change in ({"steps": 7}, {"seed": 1}, {"batch_size": 64}, {"precision": "bfloat16"}):
        assert seed.derive(tiny.run_config(**change).as_json(), data) != expected
    assert seed.derive(base.as_json(), {"file": "1" * 64}) != expected
    assert seed.derive(base.as_json(), data, "nonce") != expected


def test_a_seed_is_read_as_numpy_and_tinygrad_take_it() -> None:
    assert seed.as_integer("0123456789abcdef") == 0x0123456789ABCDEF
    assert seed.as_uint32("0123456789abcdef") == 0x89ABCDEF
    with pytest.raises(InvalidInput, match="16 lower-case hex digits"):
        seed.as_integer("0123456789ABCDEF")


@pytest.mark.parametrize("name", recipes.names())
def test_each_recipe_is_a_valid_config_of_its_own_name(name: str) -> None:
    loaded = recipes.load(name)
    assert (loaded.name, loaded.recipe) == (name, name)
    assert loaded.steps <= 10_000


def test_the_recipes_are_there() -> None:
    assert recipes.names() == [
        "cifar10_resnet", "cifar10_vit", "mnist_convnet", "mnist_mlp", "shakespeare_gpt",
    ]  # fmt: skip


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="cifar10_vit, mnist_convnet, mnist_mlp"):
        recipes.resolve({"recipe": "mnist_cnvnet"})


@pytest.mark.parametrize("request_", [{}, {"recipe": None}, {"overrides": {}}, {"recipe": 1}])
def test_a_request_without_a_recipe_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="recipe"):
        recipes.resolve(request_)


def test_overrides_that_are_no_object_are_refused() -> None:
    with pytest.raises(ConfigError, match="overrides: expected an object"):
        recipes.resolve({"recipe": "mnist_mlp", "overrides": [1]})


def test_overrides_reach_into_parts() -> None:
    resolved = recipes.resolve(
        {
            "recipe": "mnist_convnet",
            "overrides": {"steps": 20, "name": "mine", "model": {"dropout": 0.25}},
        }
    )
    assert isinstance(resolved.model, config.Convnet)
    assert (resolved.model.dropout, resolved.model.hidden) == (0.25, 128)
    assert (resolved.steps, resolved.checkpoint_every, resolved.name) == (20, 5, "mine")


def test_another_architecture_replaces_the_model() -> None:
    resolved = recipes.resolve(
        {"recipe": "mnist_convnet", "overrides": {"model": {"architecture": "mlp"}}}
    )
    assert isinstance(resolved.model, config.Mlp)


def test_a_full_config_resolves_to_itself() -> None:
    full = recipes.load("mnist_mlp")
    assert recipes.resolve(full.as_json()) == full


@pytest.mark.parametrize(
    "module",
    ["trainers.config", "trainers.recipes", "trainers.devices", "trainers.runtime",
     "trainers.data.fetch", "trainers.data.images", "trainers.__main__"],
)  # fmt: skip
def test_what_the_service_imports_does_not_load_tinygrad(module: str) -> None:
    code = f"import sys, {module}; sys.exit('tinygrad' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tiny.ROOT, check=False).returncode == 0
