"""Kernels of our own in C: values, gradients, accuracy at the edges, and bits over threads."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tinygrad import Tensor, dtypes
from tinygrad.dtype import DType

from tests.trainers.kernels.near import assert_near, assert_same, draw
from trainers.kernels import (
    activation,
    cross_entropy,
    layer_norm,
    normalisation,
    pooling,
    softmax,
)
from trainers.kernels.matmul import affine
from trainers.kernels.ops import Ops

ROOT = Path(__file__).parents[3]


def reference_weights(scores: Tensor, *, scale: float, is_causal: bool) -> Tensor:
    scaled = scores * scale
    if is_causal:
        seen = Tensor.ones(*scores.shape[-2:], dtype=dtypes.bool).tril()
        scaled = seen.where(scaled, -float("inf"))
    return scaled.softmax(axis=-1)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_weights_equal_tinygrads(seed: int, *, is_causal: bool) -> None:
    rng = np.random.default_rng(seed)
    matrices, queries, keys = (int(n) for n in rng.integers(1, 70, size=3))
    keys = max(keys, queries) if is_causal else keys
    scores = draw(rng, matrices, queries, keys)
    assert_same(
        lambda x: softmax.weights(x, scale=0.25, is_causal=is_causal),
        lambda x: reference_weights(x, scale=0.25, is_causal=is_causal),
        scores,
    )


@pytest.mark.parametrize("size", [1e-30, 1.0, 50.0, 1e4, 1e30])
def test_weights_of_any_size_of_scores_add_up_to_1(size: float) -> None:
    scores = draw(np.random.default_rng(1), 2, 9, 33) * size
    found = softmax.weights(scores, scale=1.0, is_causal=True).numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    assert not np.triu(found, k=1).any()


def test_weights_are_near_those_of_float64() -> None:
    x = draw(np.random.default_rng(2), 4, 64, 200) * 5
    wide = x.numpy().astype(np.float64)
    exact = np.exp(wide - wide.max(axis=-1, keepdims=True))
    exact /= exact.sum(axis=-1, keepdims=True)
    found = softmax.weights(x, scale=1.0, is_causal=False).numpy()
    np.testing.assert_allclose(found, exact, rtol=4e-6, atol=1e-30)


def test_more_keys_than_a_causal_query_has_are_refused() -> None:
    with pytest.raises(AssertionError):
        softmax.weights(Tensor.empty(1, 5, 4), scale=1.0, is_causal=True)


@pytest.mark.parametrize("shape", [(1024,), (2, 512), (3, 4, 256)])
def test_gelu_equals_tinygrads(shape: tuple[int, ...]) -> None:
    x = draw(np.random.default_rng(len(shape)), *shape) * 3
    assert activation.is_fit(x)
    assert_same(activation.gelu, lambda x: x.gelu(), x)


def test_gelu_of_huge_numbers_is_themselves_or_nothing() -> None:
    x = Tensor([-1e30, -50.0, 50.0, 1e30] * 256).contiguous().realize()
    found = activation.gelu(x).numpy()[:4]
    np.testing.assert_allclose(found, [0, 0, 50, 1e30], rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("kernel_library")
@pytest.mark.parametrize("seed", range(4))
def test_an_affine_map_equals_tinygrads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, inner, outputs = (int(n) for n in rng.integers(1, 90, size=3))
    x, w, b = draw(rng, rows, inner), draw(rng, outputs, inner), draw(rng, outputs)
    assert_same(affine, lambda x, w, b: x @ w.transpose() + b, x, w, b)


@pytest.mark.parametrize("output", [0, 1, 2], ids=["normalised", "mean", "variance"])
@pytest.mark.parametrize("seed", range(4))
def test_batch_norm_equals_tinygrads(seed: int, output: int) -> None:
    rng = np.random.default_rng(seed)
    batch, channels, height, width = (int(n) for n in rng.integers(2, 12, size=4))
    x = draw(rng, batch, channels, height, width) * 3 + 1
    weight, bias = draw(rng, channels), draw(rng, channels)
    found = normalisation.batch_norm(x, weight, bias, epsilon=1e-5)[output]
    wanted = Ops().batch_norm(x, weight, bias, epsilon=1e-5)[output]
    assert_near(found, wanted)


@pytest.mark.parametrize("seed", range(4))
def test_gradients_of_batch_norm_equal_tinygrads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch, channels, height, width = (int(n) for n in rng.integers(2, 12, size=4))
    assert_same(
        lambda x, w, b: normalisation.batch_norm(x, w, b, epsilon=1e-5)[0],
        lambda x, w, b: Ops().batch_norm(x, w, b, epsilon=1e-5)[0],
        draw(rng, batch, channels, height, width), draw(rng, channels), draw(rng, channels),
    )  # fmt: skip


@pytest.mark.parametrize("has_residual", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_batch_norm_with_what_follows_equals_tinygrads(seed: int, *, has_residual: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(2, 12, size=4))
    inputs = [draw(rng, *shape), draw(rng, shape[1]), draw(rng, shape[1])]
    inputs += [draw(rng, *shape)] if has_residual else []

    def ours(x: Tensor, w: Tensor, b: Tensor, r: Tensor | None = None) -> Tensor:
        return normalisation.batch_norm_relu(x, w, b, r, epsilon=1e-5)[0]

    def reference(x: Tensor, w: Tensor, b: Tensor, r: Tensor | None = None) -> Tensor:
        return Ops().batch_norm_relu(x, w, b, r, epsilon=1e-5)[0]

    assert_same(ours, reference, *inputs)


def test_a_residual_of_another_shape_is_refused() -> None:
    x, ones = Tensor.empty(2, 3, 4, 4), Tensor.empty(3)
    with pytest.raises(AssertionError):
        normalisation.batch_norm_relu(x, ones, ones, Tensor.empty(2, 3, 4, 1), epsilon=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_layer_norm_equals_tinygrads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch, time, width = (int(n) for n in rng.integers(1, 70, size=3))
    width += 1
    assert_same(
        lambda x, w, b: layer_norm.layer_norm(x, w, b, epsilon=1e-5),
        lambda x, w, b: Ops().layer_norm(x, w, b, epsilon=1e-5),
        draw(rng, batch, time, width) * 3 + 1, draw(rng, width), draw(rng, width),
    )  # fmt: skip


def test_layer_norm_of_equal_numbers_is_the_bias() -> None:
    x, bias = Tensor.full((3, 20), 7.0).contiguous(), draw(np.random.default_rng(3), 20)
    found = layer_norm.layer_norm(x, Tensor.ones(20).contiguous(), bias, epsilon=1e-5)
    np.testing.assert_array_equal(found.numpy(), np.tile(bias.numpy(), (3, 1)))


def test_weights_of_another_width_are_refused() -> None:
    with pytest.raises(AssertionError):
        layer_norm.layer_norm(Tensor.empty(4, 8), Tensor.empty(7), Tensor.empty(7), epsilon=1e-5)


def labels(rng: np.random.Generator, rows: int, classes: int) -> Tensor:
    return Tensor(rng.integers(0, classes, rows).astype(np.int32)).realize()


@pytest.mark.parametrize("seed", range(8))
def test_cross_entropy_equals_tinygrads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, classes = (int(n) for n in rng.integers(1, 90, size=2))
    y = labels(rng, rows, classes)
    logits = draw(rng, rows, classes) * float(rng.choice([0.1, 1, 30]))
    assert_same(
        lambda x: cross_entropy.cross_entropy(x, y)[0].mean(),
        lambda x: Ops().cross_entropy(x, y)[0],
        logits,
    )
    assert cross_entropy.cross_entropy(logits, y)[1].sum().item() == (
        Ops().cross_entropy(logits, y)[1].item()
    )


@pytest.mark.parametrize("size", [1e-30, 1.0, 80.0, 1e4, 1e30])
def test_losses_are_those_of_float64(size: float) -> None:
    rng = np.random.default_rng(9)
    logits, y = draw(rng, 50, 37) * size, labels(rng, 50, 37)
    wide, places = logits.numpy().astype(np.float64), (np.arange(50), y.numpy())
    top = wide.max(axis=1)
    exact = np.log(np.exp(wide - top[:, None]).sum(axis=1)) + top - wide[places]
    found = cross_entropy.cross_entropy(logits, y)[0].numpy()
    np.testing.assert_allclose(found, exact, rtol=4e-6, atol=4e-7)


def test_of_equal_logits_the_first_is_the_one_that_is_said() -> None:
    logits = Tensor([[2.0, 5, 5], [2, 5, 5], [5, 5, 5], [5, 5, 5]]).realize()
    y = Tensor([1, 2, 0, 1], dtype=dtypes.int32).realize()
    assert cross_entropy.cross_entropy(logits, y)[1].tolist() == [1, 0, 1, 0]
    assert Ops().cross_entropy(logits, y)[1].item() == 2


@pytest.mark.parametrize("place", [0, 15, 16, 20])
def test_a_logit_that_is_no_number_makes_a_loss_that_is_none(place: int) -> None:
    values = np.zeros((2, 21), np.float32)
    values[0, place] = np.nan
    y = Tensor([3, 3], dtype=dtypes.int32).realize()
    losses = cross_entropy.cross_entropy(Tensor(values).realize(), y)[0].numpy()
    assert np.isnan(losses).tolist() == [True, False]


@pytest.mark.parametrize("label", [-1, 10, 2**31 - 1])
def test_a_label_that_is_no_class_makes_a_loss_that_is_none(label: int) -> None:
    x = draw(np.random.default_rng(1), 2, 10)
    y = Tensor([label, 4], dtype=dtypes.int32).realize()
    losses, hits = cross_entropy.cross_entropy(x, y)
    (dx,) = losses[1:].sum().gradient(x)
    assert np.isnan(losses.numpy()).tolist() == [True, False]
    assert hits.numpy()[0] == 0
    assert np.isfinite(dx.numpy()).all()


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.int32])
def test_numbers_of_another_type_are_refused(dtype: DType) -> None:
    x, w = Tensor.empty(2, 4, 4, 4, dtype=dtype), Tensor.empty(4)
    for compute in (
        lambda: pooling.max_pool_2x2(x),
        lambda: layer_norm.layer_norm(x, w, w, epsilon=1e-5),
        lambda: normalisation.batch_norm(x, w, w, epsilon=1e-5),
        lambda: cross_entropy.cross_entropy(x.reshape(32, 4), Tensor.empty(32, dtype=dtypes.int32)),
        lambda: softmax.weights(x[0].half(), scale=1.0, is_causal=False),
    ):
        with pytest.raises(AssertionError):
            compute()


def test_labels_of_another_type_are_refused() -> None:
    with pytest.raises(AssertionError):
        cross_entropy.cross_entropy(Tensor.empty(2, 3), Tensor.empty(2))


@pytest.mark.parametrize("seed", range(8))
def test_a_2x2_pool_has_the_bits_and_gradient_of_tinygrads_own(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch, channels, height, width = (int(n) for n in rng.integers(2, 14, size=4))
    x = draw(rng, batch, channels, height, width)
    # Few values, so that windows have two, three and four equal ones.
    x = (x * float(rng.choice([1, 2]))).round().realize() if seed % 2 else x
    ways = pooling.max_pool_2x2, Ops().max_pool_2x2
    for way in ways:
        np.testing.assert_array_equal(way(x).numpy(), x.max_pool2d().numpy())  # type: ignore[union-attr]  # no indices
    ours, theirs = ((way(x) + 1).square().sum().gradient(x)[0].numpy() for way in ways)
    np.testing.assert_array_equal(ours, theirs)


def test_a_window_of_no_numbers_stays_one() -> None:
    x = Tensor.full((1, 1, 4, 4), float("nan")).contiguous().realize()
    assert np.isnan(pooling.max_pool_2x2(x).numpy()).all()


def test_an_image_smaller_than_a_window_is_refused() -> None:
    with pytest.raises(AssertionError):
        pooling.max_pool_2x2(Tensor.empty(1, 1, 1, 5))


@pytest.mark.parametrize("place", [0, 20])
def test_a_score_that_is_no_number_stays_one(place: int) -> None:
    values = np.zeros((1, 1, 21), np.float32)
    values[0, 0, place] = np.nan
    found = softmax.weights(Tensor(values).realize(), scale=1.0, is_causal=False).numpy()
    assert np.isnan(found).all()


PROGRAM = """
import json, sys
from pathlib import Path
from trainers import runtime
threads, kernels = int(sys.argv[1]), sys.argv[2]
runtime.prepare_process(device="CPU", cache=Path("var/cache"), threads=threads, kernels=kernels)
import numpy as np
from tinygrad import Tensor
from evidence import digest
from trainers.kernels import (
    activation,
    cross_entropy,
    layer_norm,
    normalisation,
    pooling,
    softmax,
)
x = Tensor(np.random.default_rng(0).standard_normal((6, 64, 112), dtype=np.float32) * 4).realize()
def made(compute):
    y = compute(x)
    return [y, *(y * y).sum().gradient(x)]
def wide_gradient(compute):
    return list(compute(x).square().sum().gradient(wide))
ones = Tensor.ones(64).contiguous().realize()
norm = lambda x: normalisation.batch_norm(x.reshape(6, 64, 8, 14), ones, ones, epsilon=1e-5)[0]
norm_relu = lambda x: normalisation.batch_norm_relu(
    x.reshape(6, 64, 8, 14), ones, ones, x.reshape(6, 64, 8, 14), epsilon=1e-5)[0]
weights = lambda x: softmax.weights(x, scale=0.3, is_causal=True)
y = Tensor(np.arange(384, dtype=np.int32) % 112).realize()
loss = lambda x: cross_entropy.cross_entropy(x.reshape(384, 112), y)[0]
wide = Tensor(np.linspace(-1, 2, 112, dtype=np.float32)).realize()
rows = lambda x: layer_norm.layer_norm(x, wide, wide, epsilon=1e-5)
pool = lambda x: pooling.max_pool_2x2(x.reshape(6, 64, 8, 14))
computed = norm, norm_relu, weights, activation.gelu, loss, rows, pool
found = [one for compute in computed for one in made(compute)]
found += wide_gradient(rows)
print(json.dumps([digest.of_bytes(one.numpy().tobytes()) for one in found]))
"""


def bits(threads: int, kernel_set: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(threads), kernel_set],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: list[str] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_neither_threads_nor_the_width_of_vectors_change_a_bit() -> None:
    portable = bits(1, "portable")
    assert bits(1, "native") == portable
    assert bits(2, "native") == portable
