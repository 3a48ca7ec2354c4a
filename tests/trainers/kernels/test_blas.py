"""OpenBLAS's kernels: one that fails says so, one thread, and the same bits in every process."""

import ctypes
from typing import Any

import numpy as np
import pytest
from tinygrad import Tensor

from evidence.errors import Unavailable
from tests.trainers import tiny
from tests.trainers.kernels.near import assert_same, draw
from trainers import runtime
from trainers.kernels import blas, foreign, library, openblas
from trainers.kernels.convolution import conv2d

CONVNET: dict[str, Any] = {
    "model": {"architecture": "convnet", "channels": [4], "kernel": 3, "hidden": 16},
    "steps": 3,
    "checkpoint_every": 1,
    "kernel_set": "native",
}


@pytest.fixture(autouse=True)
def _openblas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.VARIABLE, "openblas")


def through(table: Tensor) -> Tensor:
    """Return 4 x 4 ones times ones, called through a table."""
    ones = Tensor.ones(4, 4).contiguous().realize()
    body = "  sgemm(ROW_MAJOR, PLAIN, PLAIN, 4, 4, 4, 1, p1, 4, p2, 4, 0, p0, 4);"
    source = blas.source("square", body, operands=3)
    (made,) = foreign.call(
        source, table, outputs=[foreign.empty(4, 4)], inputs=[ones, ones], operations=128,
    )  # fmt: skip
    return made.realize()


def test_a_kernel_without_its_function_is_an_error_and_the_next_one_runs() -> None:
    through(blas.tabulate(0, ctypes.addressof(openblas.load().status))).numpy()
    with pytest.raises(Unavailable, match="OpenBLAS: a kernel ended with status 1"):
        foreign.require_success()
    assert through(blas.table()).numpy().min() == 4
    foreign.require_success()


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(7, 7, 1, 0), (4, 5, 2, 2), (5, 1, 3, 0), (3, 5, 3, 4), (9, 3, 5, 1)],
)
def test_windows_at_the_edges_are_those_of_tinygrad(
    size: int, kernel: int, stride: int, padding: int
) -> None:
    rng = np.random.default_rng(size)
    x, w = draw(rng, 2, 3, size, size + 2), draw(rng, 4, 3, kernel, kernel)
    assert_same(
        lambda x, w: conv2d(x, w, stride=stride, padding=padding),
        lambda x, w: x.conv2d(w, stride=stride, padding=padding),
        x, w,
    )  # fmt: skip


def test_the_description_names_the_library_by_its_digest() -> None:
    told = runtime.describe()["kernels"]
    assert (told["backend"], told["package"], told["threads"]) == (
        "openblas", "scipy-openblas64 0.3.34.481.3", 1,
    )  # fmt: skip
    assert len(told["sha256"]) == len(told["digest"]) == 64


@pytest.mark.slow
def test_a_run_repeats_its_bits_in_another_process_with_more_threads() -> None:
    once = tiny.run_elsewhere(CONVNET, library="openblas")
    assert tiny.run_elsewhere(CONVNET, library="openblas", threads=2) == once
    plain = tiny.run_elsewhere(CONVNET, library="tinygrad")
    assert plain["checkpoints"] != once["checkpoints"]
    for name, (loss, *_) in plain["metrics"].items():
        assert loss == pytest.approx(once["metrics"][name][0], rel=1e-3)
