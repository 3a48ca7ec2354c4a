"""Kernels of our own in C: values, gradients, accuracy at the edges, and bits over threads."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tinygrad import Tensor, dtypes

from tests.trainers.kernels.near import assert_near, assert_same, draw
from trainers.kernels import activation, normalisation, softmax
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


PROGRAM = """
import json, sys
from pathlib import Path
from trainers import runtime
threads, kernels = int(sys.argv[1]), sys.argv[2]
runtime.prepare_process(device="CPU", cache=Path("var/cache"), threads=threads, kernels=kernels)
import numpy as np
from tinygrad import Tensor
from evidence import digest
from trainers.kernels import activation, normalisation, softmax
x = Tensor(np.random.default_rng(0).standard_normal((6, 64, 112), dtype=np.float32) * 4).realize()
def made(compute):
    y = compute(x)
    return [y, *(y * y).sum().gradient(x)]
ones = Tensor.ones(64).contiguous().realize()
norm = lambda x: normalisation.batch_norm(x.reshape(6, 64, 8, 14), ones, ones, epsilon=1e-5)[0]
weights = lambda x: softmax.weights(x, scale=0.3, is_causal=True)
found = [*made(norm), *made(weights), *made(activation.gelu)]
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
