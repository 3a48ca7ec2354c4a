"""Training, top to bottom: load, step, measure, checkpoint, emit.

A first start, a resume, a restart after a crash and a replay run this same code; only `start`
differs. It opens no socket, names no folder and keeps nothing: events go to the sink. Among several
workers all run this, and the first one evaluates and has the sink that somebody reads.

    batches      which samples a step sees
    step         the compiled update
    group        what the workers of a run add up and agree on
    predict      the compiled forward pass
    checkpoint   state to bytes and back
    meters       time, memory, energy
"""

import math
from dataclasses import dataclass

from tinygrad import Device

from evidence import clock as clocks
from evidence import seed as run_seed
from evidence.clock import Clock, utc_now
from evidence.errors import ConfigError, DeviceMissing, TrainingDiverged
from evidence.records import Checkpoint, EventSink, Log, Metric, Split
from evidence.schedule import learning_rate
from trainers import checkpoint, meters
from trainers.batches import Ahead, Batches
from trainers.checkpoint import Start
from trainers.config import Gpt, RunConfig
from trainers.data.load import Data
from trainers.group import ALONE, Group, require_agreement
from trainers.meters import Stopwatch
from trainers.predict import Evaluation, Forward
from trainers.step import Stepper, Update

_CAPTURED_AFTER = 3
"""Steps after which no kernel is left to compile: TinyJit runs once, captures, then replays."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run ended with."""

    step: int
    """Updates done, those before this start included."""
    seed: str
    """16 hex digits, as derived from config and data."""
    last: Checkpoint | None
    """The last checkpoint that this call took; None if the start was already at the end."""


def train(
    config: RunConfig,
    data: Data,
    start: Start,
    sink: EventSink,
    *,
    group: Group = ALONE,
    clock: Clock = utc_now,
) -> Outcome:
    """Train from `start` to the last step, or to `start.until`, and hand every event to `sink`.

    Args:
        config: The run.
        data: Its data set, verified.
        start: `Start.fresh()`, or behind a checkpoint of the same run; and where to stop.
        sink: Takes the beginning, then metrics, checkpoints and log events; may block.
        group: The workers of the run, this one among them.
        clock: For timestamps.

    Raises:
        TrainingDiverged: The loss became NaN or infinite.
        IntegrityError: `start` is not a checkpoint of this run, or the workers differ in their
            state.
        TrainerLost: Another worker is gone.
        DeviceMissing: The process was prepared for another device than the config names.
        ConfigError: The batch is larger than the training split, or the group is not as large as
            the config asks for.
    """
    _require_device(config)
    _require_size(config, group)
    seed = run_seed.derive(config.as_json(), data.digests, config.nonce)
    require_agreement(group, "seed and start", f"{seed}, step {start.step}")
    batches = Batches(config, data, seed=run_seed.as_integer(seed))
    stepper = Stepper(config, seed=seed, group=group)
    _tell_beginning(stepper, batches, config, sink, group)
    checkpoint.restore(stepper, start, seed=seed, cursor=batches.cursor(start.step + 1))
    forward = Forward(config, stepper.model)
    report = _Reporter(config, sink, clock)
    until = config.steps if start.until is None else start.until
    last = None

    with Ahead(batches, last=until) as ahead:
        for step in range(start.step + 1, until + 1):
            lr = learning_rate(
                config.schedule, peak=config.optimizer.lr, step=step, steps=config.steps
            )
            with Stopwatch() as watch:
                inputs, targets = ahead.at(step)
                update = stepper.update(inputs, targets, lr=lr, step=step)
            _require_finite(update.loss, f"step {step}")

            report.update(update, step=step, done=step - start.step, lr=lr, watch=watch)
            if config.is_checkpoint(step):
                if group.rank == 0:
                    with Stopwatch() as watch:
                        evaluation = forward.evaluate(data)
                    _require_finite(evaluation.loss, f"evaluation after step {step}")
                    report.evaluation(evaluation, step=step, watch=watch)
                cursor = batches.cursor(step + 1)
                last = checkpoint.take(stepper, step=step, seed=seed, cursor=cursor, clock=clock)
                require_agreement(group, f"state after step {step}", _state(last))
                sink(last)

    return Outcome(until, seed, last)


def _tell_beginning(
    stepper: Stepper, batches: Batches, config: RunConfig, sink: EventSink, group: Group
) -> None:
    """Hand over what the run begins with, before its first step and before any checkpoint."""
    if group.rank == 0:
        sink(checkpoint.begin(stepper, order_digest=batches.order_digest(config.steps)))


def _require_device(config: RunConfig) -> None:
    """Raise unless this process runs on the device that the config asks for."""
    if config.device not in ("auto", Device.DEFAULT):
        raise DeviceMissing(
            f"device: expected {config.device}, this process runs on {Device.DEFAULT}",
            expected=config.device,
            found=Device.DEFAULT,
        )


def _require_size(config: RunConfig, group: Group) -> None:
    """Raise unless there are as many workers as the config asks for."""
    if group.size != config.workers:
        raise ConfigError(
            f"workers: expected {config.workers} of them, found {group.size}",
            field="workers",
            expected=str(config.workers),
            found=str(group.size),
        )


def _state(taken: Checkpoint) -> str:
    """Return what workers in the same state have in common."""
    record = taken.record
    return f"{record.model_digest} {record.optimizer_digest} {record.state_digest}"


def _require_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"{where}: expected a finite loss, found {loss}",
            field="loss",
            expected="a finite loss",
            found=str(loss),
        )


class _Reporter:
    """Turns what was measured into events."""

    def __init__(self, config: RunConfig, sink: EventSink, clock: Clock) -> None:
        self._config = config
        self._sink = sink
        self._clock = clock
        self._energy = meters.meter_of(Device.DEFAULT)
        self._warm_up_s = 0.0
        self._tokens = config.model.context if isinstance(config.model, Gpt) else None

    def update(self, update: Update, *, step: int, done: int, lr: float, watch: Stopwatch) -> None:
        """Report one training step, if it is due; `done` counts the steps of this process."""
        if self._config.is_metric(step):
            self._sink(
                self._metric(
                    step, split=Split.TRAIN, result=update, lr=lr,
                    watch=watch, samples=self._config.batch_size,
                )
            )  # fmt: skip
        if not update.applied:
            self._log("update_skipped", "A float16 gradient overflowed; the scale is halved.", step)
        if done <= _CAPTURED_AFTER:
            self._warm_up_s += watch.seconds
        if done == _CAPTURED_AFTER:
            message = f"The first {done} steps took {self._warm_up_s:.1f} s, compiling included."
            self._log("kernels_compiled", message, step)

    def evaluation(self, evaluation: Evaluation, *, step: int, watch: Stopwatch) -> None:
        """Report one evaluation."""
        self._sink(
            self._metric(
                step, split=Split.TEST, result=evaluation, lr=None,
                watch=watch, samples=evaluation.samples,
            )
        )  # fmt: skip

    def _metric(
        self,
        step: int,
        *,
        split: Split,
        result: Update | Evaluation,
        lr: float | None,
        watch: Stopwatch,
        samples: int,
    ) -> Metric:
        energy_j = self._energy.joules()
        reasons = {}
        if self._tokens is None:
            reasons["tokens_s"] = "the model reads no tokens"
        if lr is None:
            reasons["lr"] = "an evaluation updates nothing"
        if energy_j is None:
            reasons["energy_j"] = self._energy.absence or "no meter"
        return Metric(
            timestamp=clocks.timestamp(self._clock()),
            step=step,
            split=split,
            loss=result.loss,
            accuracy=result.accuracy,
            lr=lr,
            step_ms=watch.seconds * 1000,
            samples_s=samples / watch.seconds,
            tokens_s=self._tokens and samples * self._tokens / watch.seconds,
            memory_bytes=meters.resident_bytes(),
            energy_j=energy_j,
            reasons=reasons,
        )

    def _log(self, name: str, message: str, step: int) -> None:
        timestamp = clocks.timestamp(self._clock())
        self._sink(Log(timestamp=timestamp, name=name, message=message, step=step))
