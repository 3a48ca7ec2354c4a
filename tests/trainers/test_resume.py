"""A run that is stopped and gone on with in another process ends with the same bytes."""

from pathlib import Path
from typing import Any

import pytest

from tests.trainers import tiny

DROPOUT_AND_ADAMW = {
    "model": {
        "architecture": "convnet", "channels": [4], "kernel": 3, "hidden": 16, "dropout": 0.5,
    },
    "steps": 12,
    "checkpoint_every": 4,
    "micro_steps": 2,
    "max_grad_norm": 1.0,
}  # fmt: skip
BATCH_NORM_AND_AUGMENTATION = {
    "model": {"architecture": "resnet", "depth": 8, "width": 8},
    "steps": 6,
    "batch_size": 4,
    "checkpoint_every": 2,
    "augmentation": "crop_flip",
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
}
FLOAT16 = {"precision": "float16", "steps": 9, "checkpoint_every": 3}
GPT = {
    "dataset": "tinyshakespeare",
    "model": {"architecture": "gpt", "layers": 2, "width": 16, "heads": 2, "context": 16,
              "dropout": 0.2},
    "steps": 9,
    "batch_size": 8,
    "micro_steps": 2,
    "checkpoint_every": 3,
}  # fmt: skip
VIT = {
    "model": {"architecture": "vit", "layers": 1, "width": 16, "heads": 2, "patch": 7},
    "checkpoint_every": 2,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        DROPOUT_AND_ADAMW, BATCH_NORM_AND_AUGMENTATION, FLOAT16, GPT,
        pytest.param(VIT, marks=pytest.mark.long),
    ],
    ids=["dropout_and_adamw", "batch_norm_and_augmentation", "float16", "gpt", "vit"],
)  # fmt: skip
def test_a_resumed_run_ends_with_the_same_bytes(overrides: dict[str, Any], tmp_path: Path) -> None:
    whole = tiny.run_elsewhere(overrides, tmp_path)
    resumed = tiny.run_elsewhere(overrides, tmp_path)
    first = str(overrides["checkpoint_every"])
    assert resumed["checkpoints"] == {
        step: files for step, files in whole["checkpoints"].items() if step != first
    }
    assert resumed["metrics"].items() <= whole["metrics"].items()


@pytest.mark.slow
def test_reporting_more_often_changes_no_bit() -> None:
    seldom = tiny.run(tiny.run_config(checkpoint_every=2, metric_every=6, name="seldom"))
    often = tiny.run(tiny.run_config(checkpoint_every=1, metric_every=1, name="often"))
    assert tiny.checkpoints(seldom)[6].files == tiny.checkpoints(often)[6].files


@pytest.mark.slow
def test_another_seed_gives_other_weights() -> None:
    one = tiny.checkpoints(tiny.run(tiny.run_config(seed=1)))[6].record
    two = tiny.checkpoints(tiny.run(tiny.run_config(seed=2)))[6].record
    assert one.model_digest != two.model_digest
