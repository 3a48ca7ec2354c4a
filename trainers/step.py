"""The compiled work of a run: one update of the weights, and the forward pass alone.

An update is one kernel graph; with several micro steps or workers, as many calls of one that adds
gradients into accumulators, then one call of another that applies them. TinyJit captures each once.
In between the workers of a group add up what each of them found, and then all apply the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tinygrad import Context, Device, Tensor, TinyJit, dtypes
from tinygrad.device import Buffer
from tinygrad.dtype import DType

from evidence import seed as run_seed
from evidence.tensors import RawTensor
from trainers import batches, precision
from trainers.config import Gpt, Precision, RunConfig
from trainers.data.catalog import ImageSet, TextSet
from trainers.group import ALONE, Group
from trainers.kernels import foreign, ops
from trainers.models import build
from trainers.models.build import Model
from trainers.optimise import Updater, global_norm
from trainers.sums import Sums

_TOTALS, _GRADIENT, _RUNNING = "totals", "gradient.", "running."
"""Names of the sums: of loss and hits; before a weight's name; before a running statistic's."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one update measured, on its own batch and before the weights moved."""

    loss: float
    """Mean cross-entropy in nats; NaN or infinite if the run diverged."""
    accuracy: float
    """Fraction classified right, [0, 1]."""
    applied: bool
    """False when a float16 gradient overflowed and the weights stayed as they were."""


class Slot:
    """A fixed place on the device that host arrays are copied into.

    A fresh tensor for each array would cost 3 ms of scheduling each.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DType) -> None:
        self._tensor = Tensor.zeros(*shape, dtype=dtype).contiguous().realize()

    def put(self, array: np.ndarray) -> Tensor:
        """Copy `array`, of the slot's shape and dtype, and return the slot's tensor."""
        buffer = self._tensor.uop.base.buffer
        assert isinstance(buffer, Buffer), type(buffer)
        assert array.nbytes == buffer.nbytes, (array.shape, self._tensor.shape)
        # Kernels may still read what was there.
        Device[Device.DEFAULT].synchronize()  # type: ignore[no-untyped-call]  # tinygrad's
        host = np.ascontiguousarray(array).data.cast("B")
        buffer.allocator._copyin(buffer._buf, host)  # noqa: SLF001  what tinygrad's own copy calls
        return self._tensor


def _read(tensor: Tensor) -> np.ndarray:
    """Return what a realised, contiguous tensor holds, when its kernels have ended.

    `Tensor.numpy` would schedule a copy first, which takes a millisecond.
    """
    buffer = tensor.uop.base.buffer
    assert isinstance(buffer, Buffer), type(buffer)
    array: np.ndarray = buffer.numpy().reshape(tensor.shape)
    return array


class Stepper:
    """Model, optimiser state, dropout counter and loss scale of one run, and the next update.

    Only one lives in a process at a time: tinygrad's random counter is global.

    Args:
        config: The run.
        seed: The run's seed, 16 hex digits.
        group: As many workers as the config asks for.

    Raises:
        TrainerLost: Another worker is gone.
    """

    def __init__(self, config: RunConfig, *, seed: str, group: Group = ALONE) -> None:
        assert group.size == config.workers, (group.size, config.workers)
        self._group = group
        self._entry = config.entry
        self._micro_steps = config.micro_steps
        self._precision = config.precision
        self.model = build.build(config, rng=batches.weights_rng(run_seed.as_integer(seed)))
        self.weights = build.trainable_tensors(self.model)
        self.updater = Updater(
            config.optimizer,
            self.weights,
            max_grad_norm=config.max_grad_norm,
            in_one_pass=ops.has_library(Device.DEFAULT),
        )
        self.loss_scale = precision.first_scale(config.precision)
        self.rng_counter = _seeded_counter(run_seed.as_uint32(seed) + group.rank)
        """Position of tinygrad's random stream, shape (2,), uint32. Each worker has a stream of its
        own, and all stand at the same place."""
        self._parts = config.micro_steps * group.size
        """Pieces of a batch, over all workers."""
        tensors = build.model_tensors(self.model)
        self._running = {name: tensor for name, tensor in tensors.items() if not tensor.is_param}
        self._sums = Sums(self._shapes(), group)
        size = config.batch_size // self._parts
        self._x = Slot((size, *input_shape(config)), dtypes.uint8)
        self._y = Slot((size, *target_shape(config)), dtypes.int32)
        self._control = Slot((2,), dtypes.float32)
        self._numbers = Slot((3,), dtypes.float32)
        self._jit_whole = TinyJit(self._whole)
        self._jit_accumulate = TinyJit(self._accumulate)
        self._jit_apply = TinyJit(self._apply)

    def update(self, inputs: np.ndarray, targets: np.ndarray, *, lr: float, step: int) -> Update:
        """Move the weights once; all workers of the group do the same step.

        Args:
            inputs: Images (B, C, H, W) or windows (B, T), uint8, of the whole batch.
            targets: Labels (B,) or the tokens that follow (B, T), int32; as above.
            lr: Learning rate of this step.
            step: Its number, for messages.

        Raises:
            TrainingDiverged: float16 gradients overflow at any loss scale.
            TrainerLost: Another worker is gone.
            Unavailable: A kernel failed.
        """
        scale = self.loss_scale.scale
        numbers = self._numbers.put(np.array([lr, 1.0 / (scale * self._parts), scale], np.float32))
        with Context(TRAINING=1):  # type: ignore[no-untyped-call]  # tinygrad
            if self._parts == 1:
                report = self._jit_whole(self._x.put(inputs), self._y.put(targets), numbers)
            else:
                report = self._in_pieces(inputs, targets, numbers)
            loss, correct, finite = _read(report).tolist()
        foreign.require_success()
        if self._precision == "float16":
            self.loss_scale = self.loss_scale.after(overflowed=not finite, step=step)
        return Update(loss / self._parts, correct / targets.size, bool(finite))

    def restore(self, model: Mapping[str, RawTensor], optimizer: Mapping[str, RawTensor]) -> None:
        """Put the tensors of a checkpoint in place of the fresh ones.

        Raises:
            IntegrityError: They are not the tensors of this config.
        """
        build.assign(build.model_tensors(self.model), model, source="model.safetensors")
        build.assign(self.updater.state, optimizer, source="optimizer.safetensors")

    def _whole(self, x: Tensor, y: Tensor, numbers: Tensor) -> Tensor:
        """Move the weights by the gradients of one batch; `numbers` are lr, 1 / scale, scale."""
        totals, gradients = self._gradients(x, y, scale=numbers[2])
        report, changed = self._applied(gradients, totals, numbers)
        Tensor.realize(report, *changed, self.rng_counter, *self._running.values())
        return report

    def _in_pieces(self, inputs: np.ndarray, targets: np.ndarray, numbers: Tensor) -> Tensor:
        """Add up the gradients of the micro steps and of the workers, then move the weights."""
        pieces = zip(self._pieces(inputs), self._pieces(targets), strict=True)
        for piece, (x, y) in enumerate(pieces):
            control = np.array([float(piece > 0), self.loss_scale.scale], np.float32)
            self._jit_accumulate(self._x.put(x), self._y.put(y), self._control.put(control))
        self._sums.add_up()
        report: Tensor = self._jit_apply(numbers)
        return report

    def _pieces(self, batch: np.ndarray) -> list[np.ndarray]:
        """Return this worker's part of a batch, in as many pieces as there are micro steps."""
        part = np.split(batch, self._group.size)[self._group.rank]
        return np.split(part, self._micro_steps)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what is added up; running statistics among several workers only."""
        if self._parts == 1:
            return {}
        added = {_GRADIENT + name: weight for name, weight in self.weights.items()}
        if self._group.size > 1:
            added |= {_RUNNING + name: running for name, running in self._running.items()}
        shapes = {name: tuple(int(n) for n in tensor.shape) for name, tensor in added.items()}
        return {**shapes, _TOTALS: (2,)}

    def _accumulate(self, x: Tensor, y: Tensor, control: Tensor) -> None:
        """Add this piece's loss, hits and gradients to the sums; `control[0]` 0 restarts them."""
        totals, gradients = self._gradients(x, y, scale=control[1])
        goes_on = control[0] > 0
        # where, not a product: a NaN in the last step's sums must not survive.
        sums = self._sums.own
        sums[_TOTALS].assign(goes_on.where(sums[_TOTALS], 0.0) + totals)
        for name, gradient in gradients.items():
            total = sums[_GRADIENT + name]
            total.assign(goes_on.where(total, 0.0) + gradient)
        if self._group.size > 1:
            for name, running in self._running.items():
                sums[_RUNNING + name].assign(running)
        Tensor.realize(*sums.values(), self.rng_counter, *self._running.values())

    def _apply(self, numbers: Tensor) -> Tensor:
        """Move the weights by the summed gradients."""
        sums = self._sums.total
        gradients = {name: sums[_GRADIENT + name] for name in self.weights}
        report, changed = self._applied(gradients, sums[_TOTALS], numbers)
        Tensor.realize(report, *changed, *self._averaged())
        return report

    def _averaged(self) -> list[Tensor]:
        """Give each running statistic the mean over the workers; alone, it is that already."""
        if self._group.size == 1:
            return []
        sums = self._sums.total
        return [
            running.assign(sums[_RUNNING + name] * (1.0 / self._group.size))
            for name, running in self._running.items()
        ]

    def _gradients(
        self, x: Tensor, y: Tensor, *, scale: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return loss and hits, shape (2,), and the gradients of the loss times `scale`."""
        scores = logits(self.model, x, entry=self._entry, form=self._precision)
        logits_NK, y_N = scores.reshape(-1, scores.shape[-1]), y.flatten()  # noqa: N806
        loss = logits_NK.sparse_categorical_crossentropy(y_N)
        hits = (logits_NK.argmax(axis=1) == y_N).sum().cast(dtypes.float32)
        gradients = (loss * scale).gradient(*self.weights.values())
        by_name = zip(self.weights, gradients, strict=True)
        totals = Tensor.stack(loss.detach(), hits.detach())
        return totals, {name: gradient.cast(dtypes.float32) for name, gradient in by_name}

    def _applied(
        self, gradients: Mapping[str, Tensor], totals: Tensor, numbers: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the report (loss, hits, 1 if all is finite) and what to realise with it."""
        lr, scale = numbers[0], numbers[1]
        finite = self._finite({name: gradient * scale for name, gradient in gradients.items()})
        changed = self.updater.update(gradients, scale=scale, lr=lr, apply=finite > 0)
        return totals.cat(finite.reshape(1)), changed

    def _finite(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Return 1.0 if no gradient is NaN or infinite, else 0.0; shape (); only float16 looks."""
        if self._precision != "float16":
            return Tensor.ones((), dtype=dtypes.float32)
        return global_norm(gradients).isfinite().cast(dtypes.float32)


def input_shape(config: RunConfig) -> tuple[int, ...]:
    """Return the shape of one input: (C, H, W) of an image, or (T,) of a window."""
    if isinstance(config.model, Gpt):
        return (config.model.context,)
    return config.images.image_shape


def target_shape(config: RunConfig) -> tuple[int, ...]:
    """Return the shape of what is asked of one input: () for a label, or (T,) for next tokens."""
    return (config.model.context,) if isinstance(config.model, Gpt) else ()


def logits(model: Model, x: Tensor, *, entry: ImageSet | TextSet, form: Precision) -> Tensor:
    """Return the model's logits (B, classes) or (B, T, tokens), float32.

    Args:
        model: Any of `trainers.models`.
        x: Images (B, C, H, W) or windows (B, T), uint8.
        entry: Mean and standard deviation to normalise with, or the size of the vocabulary.
        form: Precision to compute in.
    """
    dtype = precision.compute_dtype(form)
    if isinstance(entry, TextSet):
        return model(x.one_hot(entry.vocabulary).cast(dtype)).cast(dtypes.float32)
    mean = Tensor(list(entry.mean)).reshape(1, -1, 1, 1)
    std = Tensor(list(entry.std)).reshape(1, -1, 1, 1)
    normal_BCHW = (x.cast(dtypes.float32) / 255.0 - mean) / std  # noqa: N806  shape suffix
    return model(normal_BCHW.cast(dtype)).cast(dtypes.float32)


def _seeded_counter(seed: int) -> Tensor:
    """Seed tinygrad's random stream for this device and return its counter."""
    Tensor.manual_seed(seed & 0xFFFFFFFF)
    Tensor.rand(1).realize()
    return Tensor._device_rng_counters[Device.DEFAULT]  # noqa: SLF001  no public access
