"""gpt and vit: what they see, what they do not, and that they learn."""

from typing import Any

import numpy as np
import pytest
from tinygrad import Tensor

from evidence.records import Split
from tests.trainers import tiny
from tests.trainers.kernels.near import assert_same, draw, needs_library
from trainers.config import Vit
from trainers.data import catalog
from trainers.kernels.ops import LibraryOps, Ops
from trainers.models import build
from trainers.models.vit import VitNet

GPT: dict[str, Any] = {
    "dataset": "tinyshakespeare",
    "model": {"architecture": "gpt", "layers": 2, "width": 16, "heads": 2, "context": 16},
    "batch_size": 16,
    "optimizer": {"lr": 0.02},
}
VIT: dict[str, Any] = {
    "model": {"architecture": "vit", "layers": 1, "width": 16, "heads": 2, "patch": 7},
    "optimizer": {"lr": 0.02},
}


def attention_in_numpy(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, *, is_causal: bool
) -> np.ndarray:
    scores = q @ k.swapaxes(-2, -1) / np.sqrt(q.shape[-1])
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: np.ndarray = weights / weights.sum(axis=-1, keepdims=True) @ v
    return result


@pytest.mark.parametrize("is_causal", [False, True])
def test_attention_is_the_formula(*, is_causal: bool) -> None:
    rng = np.random.default_rng(1)
    q, k, v = (draw(rng, 2, 3, 7, 5) for _ in range(3))
    found = Ops().attention(q, k, v, is_causal=is_causal).numpy()
    wanted = attention_in_numpy(q.numpy(), k.numpy(), v.numpy(), is_causal=is_causal)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@needs_library
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_attention_of_the_library_equals_tinygrads(seed: int, *, is_causal: bool) -> None:
    rng = np.random.default_rng(seed)
    batch, heads, time, width = (int(n) for n in rng.integers(1, 20, size=4))
    q, k, v = (draw(rng, batch, heads, time, width) for _ in range(3))
    ours, reference = LibraryOps(), Ops()
    assert_same(
        lambda q, k, v: ours.attention(q, k, v, is_causal=is_causal),
        lambda q, k, v: reference.attention(q, k, v, is_causal=is_causal),
        q, k, v,
    )  # fmt: skip


def test_gpt_sees_no_later_token() -> None:
    model = build.build(tiny.run_config(**GPT), rng=np.random.default_rng(2))
    tokens = np.random.default_rng(3).integers(0, 256, (1, 16))
    changed = tokens.copy()
    changed[0, 9:] = (changed[0, 9:] + 1) % 256
    before, after = (
        model(Tensor(one.astype(np.uint8)).one_hot(256).float()).numpy()
        for one in (tokens, changed)
    )
    np.testing.assert_array_equal(before[0, :9], after[0, :9])
    assert np.abs(before[0, 9:] - after[0, 9:]).min(axis=-1).max() > 0


def test_a_patch_is_a_square_of_the_image() -> None:
    images = catalog.image_set("cifar10")
    config = Vit(architecture="vit", layers=1, width=8, heads=1, patch=8)
    model = VitNet(config, images=images, ops=Ops(), rng=np.random.default_rng(0))
    pixels = np.arange(3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)
    patches = model._patches(Tensor(pixels)).numpy()
    assert patches.shape == (1, 16, 3 * 8 * 8)
    np.testing.assert_array_equal(patches[0, 5], pixels[0, :, 8:16, 8:16].ravel())


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [GPT, VIT], ids=["gpt", "vit"])
def test_a_transformer_learns(overrides: dict[str, Any]) -> None:
    events = tiny.run(tiny.run_config(**{**overrides, "steps": 60, "checkpoint_every": 20}))
    losses = [m.loss for m in tiny.metrics(events) if m.split is Split.TEST and m.loss is not None]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.8 * losses[0]


@pytest.mark.slow
def test_a_model_of_tokens_tells_its_tokens_per_second() -> None:
    for metric in tiny.metrics(tiny.run(tiny.run_config(**GPT))):
        assert metric.tokens_s is not None
        assert metric.samples_s is not None
        assert metric.tokens_s == pytest.approx(16 * metric.samples_s)
        assert "tokens_s" not in metric.reasons
