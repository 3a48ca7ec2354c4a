"""A captured step as one list of calls: the kernels and bits of tinygrad's own way to run it."""

from collections.abc import Iterator

import numpy as np
import pytest
from tinygrad import Context, Device, Tensor, TinyJit

from tests.trainers.kernels.near import draw
from trainers.kernels import dispatch
from trainers.kernels.dispatch import CallList
from trainers.kernels.matmul import matmul


@pytest.fixture(autouse=True)
def _shortened() -> Iterator[None]:
    before = Device["CPU"].graph
    dispatch.shorten("CPU")
    yield
    Device["CPU"].graph = before


def chain(a: Tensor, b: Tensor) -> Tensor:
    """Return what five kernels make, some of both inputs."""
    made = matmul(a, b).exp().contiguous()
    return matmul(made, (b + 1).contiguous()).tanh().realize()


def lists(jit: object) -> int:
    """Return how many lists of calls a captured function is."""
    linear = jit.captured.linear  # type: ignore[attr-defined]  # tinygrad's
    return sum(call.src[0].arg == "graph" for call in linear.src)


def test_a_list_has_the_bits_of_single_calls_and_follows_its_inputs() -> None:
    rng = np.random.default_rng(0)
    jit = TinyJit(chain)
    for _ in range(5):
        a, b = draw(rng, 2, 6, 6), draw(rng, 2, 6, 6)
        np.testing.assert_array_equal(jit(a, b).numpy(), chain(a, b).numpy())
    assert lists(jit) == 1


def test_a_list_writes_where_the_step_does() -> None:
    total = Tensor.zeros(4, 4).contiguous().realize()

    def add(x: Tensor) -> Tensor:
        doubled = (x * 2).contiguous()
        total.assign(total + doubled.exp().contiguous()).realize()
        return total

    jit, expected = TinyJit(add), np.zeros((4, 4), np.float32)
    rng = np.random.default_rng(1)
    for _ in range(5):
        x = draw(rng, 4, 4)
        jit(x)
        expected += (x * 2).exp().numpy()
    np.testing.assert_array_equal(total.numpy(), expected)
    assert lists(jit) == 1


def test_a_view_of_an_input_is_found_again() -> None:
    rng = np.random.default_rng(2)
    jit = TinyJit(lambda x: matmul(x[1:], x[:1]).exp().contiguous().sin().realize())
    for _ in range(5):
        x = draw(rng, 2, 4, 4)
        wanted = matmul(x[1:], x[:1]).exp().contiguous().sin()
        np.testing.assert_array_equal(jit(x).numpy(), wanted.numpy())


def test_single_kernels_are_run_where_each_is_to_be_printed() -> None:
    rng = np.random.default_rng(3)
    jit = TinyJit(chain)
    with Context(DEBUG=2):  # type: ignore[no-untyped-call]  # tinygrad
        for _ in range(3):
            jit(draw(rng, 1, 3, 3), draw(rng, 1, 3, 3))
    assert lists(jit) == 0


def test_other_devices_keep_their_way() -> None:
    Device["CPU"].graph = None
    dispatch.shorten("METAL")
    assert Device["CPU"].graph is None
    dispatch.shorten("CPU")
    assert Device["CPU"].graph is CallList
