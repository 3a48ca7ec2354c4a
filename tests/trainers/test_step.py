import numpy as np
import pytest
from tinygrad import Context, Tensor
from tinygrad.nn import optim

from tests.trainers import tiny
from trainers import optimise
from trainers.kernels.ops import LibraryOps, Ops
from trainers.models.layers import BatchNorm
from trainers.optimise import Updater
from trainers.precision import LossScale
from trainers.step import Stepper

SEED = "00000000000000aa"


def weights_after(steps: int, **overrides: object) -> dict[str, np.ndarray]:
    cfg = tiny.run_config(**overrides)
    stepper = Stepper(cfg, seed=SEED)
    data = tiny.dataset()
    for step in range(1, steps + 1):
        images = data.train_images[: cfg.batch_size]
        labels = data.train_labels[: cfg.batch_size].astype(np.int32)
        stepper.update(images, labels, lr=0.01, step=step)
    return {name: tensor.numpy() for name, tensor in stepper.weights.items()}


def test_accumulated_pieces_equal_the_whole_batch() -> None:
    sgd = {"name": "sgd", "lr": 0.01}
    whole = weights_after(4, optimizer=sgd)
    pieces = weights_after(4, optimizer=sgd, micro_steps=4)
    for name, weight in whole.items():
        np.testing.assert_allclose(pieces[name], weight, atol=1e-6)


def test_gradients_are_clipped_as_numpy_would() -> None:
    rng = np.random.default_rng(1)
    arrays = {name: rng.standard_normal((5, 7), dtype=np.float32) for name in ("a", "b")}
    norm = np.sqrt(sum(float((array**2).sum()) for array in arrays.values()))
    gradients = {name: Tensor(array) for name, array in arrays.items()}
    for max_norm in (norm / 3, norm * 3):
        factor = optimise.clip_factor(gradients, max_norm=max_norm)
        for name, array in arrays.items():
            expected = array * min(1.0, max_norm / norm)
            np.testing.assert_allclose((gradients[name] * factor).numpy(), expected, rtol=1e-5)


OPTIMIZERS = {
    "sgd": ({"name": "sgd"}, lambda w: optim.SGD(w, 0.05)),
    "momentum": (
        {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1},
        lambda w: optim.SGD(w, 0.05, momentum=0.9, weight_decay=0.1),
    ),
    "nesterov": (
        {"name": "sgd", "momentum": 0.9, "nesterov": True},
        lambda w: optim.SGD(w, 0.05, momentum=0.9, nesterov=True),
    ),
    "adam": ({"name": "adam"}, lambda w: optim.Adam(w, 0.05)),
    "adamw": (
        {"name": "adamw", "weight_decay": 0.1},
        lambda w: optim.AdamW(w, 0.05, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("in_one_pass", [False, True])
@pytest.mark.parametrize("method", OPTIMIZERS)
def test_an_optimiser_moves_weights_as_tinygrads_own(method: str, *, in_one_pass: bool) -> None:
    values, make = OPTIMIZERS[method]
    rng = np.random.default_rng(2)
    first = {
        name: rng.standard_normal(shape, dtype=np.float32)
        for name, shape in {"a": (4, 6), "b": (3,), "c": (130, 131)}.items()
    }
    ours, theirs = ({n: Tensor(v.copy()).realize() for n, v in first.items()} for _ in range(2))
    config = tiny.run_config(optimizer=values).optimizer
    updater = Updater(config, ours, max_grad_norm=None, in_one_pass=in_one_pass)
    other = make([*theirs.values()])  # type: ignore[no-untyped-call]  # a lambda of the table
    lr, half = (Tensor(np.array(x, np.float32)).realize() for x in (0.05, 0.5))
    for apply in (True, True, False, True):
        drawn = {n: rng.standard_normal(v.shape, dtype=np.float32) for n, v in first.items()}
        gradients = {n: Tensor(v).realize() for n, v in drawn.items()}
        Tensor.realize(*updater.update(gradients, scale=half, lr=lr, apply=Tensor(apply)))
        if apply:
            for name, tensor in theirs.items():
                tensor.grad = (gradients[name] * 0.5).realize()
            with Context(TRAINING=1):  # type: ignore[no-untyped-call]  # tinygrad's
                other.step()
    for name, tensor in ours.items():
        np.testing.assert_allclose(tensor.numpy(), theirs[name].numpy(), rtol=1e-5, atol=1e-6)
    assert updater.state["updates"].item() == 3


def test_an_overflowing_float16_step_changes_nothing_but_the_scale() -> None:
    cfg = tiny.run_config(precision="float16")
    stepper = Stepper(cfg, seed=SEED)
    data = tiny.dataset()
    images, labels = data.train_images[:32], data.train_labels[:32].astype(np.int32)
    before = {name: tensor.numpy() for name, tensor in stepper.weights.items()}
    stepper.loss_scale = LossScale(2.0**24, 7)
    skipped = stepper.update(images, labels, lr=0.01, step=1)
    assert not skipped.applied
    assert stepper.loss_scale == LossScale(2.0**23, 0)
    assert stepper.updater.state["updates"].item() == 0
    for name, tensor in stepper.weights.items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])
    stepper.loss_scale = LossScale(2.0**8, 0)
    assert stepper.update(images, labels, lr=0.01, step=2).applied
    assert stepper.updater.state["updates"].item() == 1


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_low_precision_stays_near_float32(precision: str) -> None:
    wide = weights_after(3)
    narrow = weights_after(3, precision=precision)
    # Adam's first steps are near the learning rate whatever the gradient's size: 3 steps of 0.01.
    for name, weight in wide.items():
        assert np.abs(narrow[name] - weight).mean() < 0.005


def test_dropout_draws_anew_each_step() -> None:
    cfg = tiny.run_config(
        model={
            "architecture": "convnet",
            "channels": [4],
            "kernel": 3,
            "hidden": 16,
            "dropout": 0.5,
        }
    )
    stepper = Stepper(cfg, seed=SEED)
    data = tiny.dataset()
    images, labels = data.train_images[:32], data.train_labels[:32].astype(np.int32)
    counters = []
    for step in range(1, 5):
        stepper.update(images, labels, lr=0.0, step=step)
        counters.append(int(stepper.rng_counter.numpy()[0]))
    assert np.diff(counters).tolist() == [counters[1] - counters[0]] * 3
    assert counters[1] > counters[0]


@pytest.mark.parametrize("ops", [Ops(), LibraryOps()], ids=["tinygrad", "library"])
def test_batch_norm_normalises_and_moves_its_statistics_as_numpy_would(ops: Ops) -> None:
    x = np.random.default_rng(4).standard_normal((6, 3, 4, 4), dtype=np.float32) * 2 + 1
    layer = BatchNorm(ops, 3)
    with Context(TRAINING=1):  # type: ignore[no-untyped-call]  # tinygrad's
        out = layer(Tensor(x)).numpy()
    Tensor.realize(layer.running_mean, layer.running_var)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    shape = (1, 3, 1, 1)
    expected = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-5)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * mean, atol=1e-6)
    unbiased = x.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * unbiased, atol=1e-5)
    still = layer(Tensor(x)).numpy()
    moved = (x - layer.running_mean.numpy().reshape(shape)) / np.sqrt(
        layer.running_var.numpy().reshape(shape) + 1e-5
    )
    np.testing.assert_allclose(still, moved, atol=1e-5)
