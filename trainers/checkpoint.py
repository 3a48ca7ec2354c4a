"""Checkpoints: everything that decides the next step, as three safetensors files, and back.

    model.safetensors       weights and running statistics
    optimizer.safetensors   the optimiser's state
    state.safetensors       step, data cursor, random counter, loss scale, the run's seed

No time and no run id inside: equal state gives equal file bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evidence import clock as clocks
from evidence import digest, tensors
from evidence import seed as run_seed
from evidence.clock import Clock
from evidence.errors import IntegrityError
from evidence.records import (
    CHECKPOINT_FILES,
    Beginning,
    Checkpoint,
    CheckpointRecord,
    FileDigest,
)
from evidence.tensors import RawTensor
from trainers.batches import Cursor
from trainers.models import build
from trainers.precision import LossScale
from trainers.step import Stepper


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin: at step 0, or behind a checkpoint. All that a resume or replay changes."""

    step: int
    """Updates already done."""
    files: Mapping[str, Mapping[str, RawTensor]]
    """Tensors of the checkpoint by file name; empty at step 0."""
    until: int | None = None
    """The last step to do; None is the run's last. Only a replay stops before."""

    @classmethod
    def fresh(cls) -> "Start":
        """Return the start of a run from its initial weights."""
        return cls(0, {})

    @classmethod
    def from_files(
        cls, files: Mapping[str, bytes], *, record: CheckpointRecord | None = None
    ) -> "Start":
        """Return the start behind a checkpoint.

        Args:
            files: The bytes of CHECKPOINT_FILES by name.
            record: If given, each file is held against its digest before it is decoded.

        Raises:
            DigestMismatch: A file is not the recorded one.
            IntegrityError: A file is missing or unknown, or not safetensors.
        """
        if set(files) != set(CHECKPOINT_FILES):
            raise IntegrityError(
                f"checkpoint: expected {sorted(CHECKPOINT_FILES)}, found {sorted(files)}"
            )
        for name, expected in (record.files if record else {}).items():
            digest.require_equal(name, expected=expected.sha256, found=digest.of_bytes(files[name]))
        decoded = {name: tensors.decode(data, name=name) for name, data in files.items()}
        state = decoded["state.safetensors"]
        if "step" not in state:
            raise IntegrityError("state.safetensors: expected a tensor 'step', found none")
        return cls(int(tensors.to_numpy(state["step"])), decoded)


def begin(stepper: Stepper, *, order_digest: str) -> Beginning:
    """Return what a run begins with.

    Args:
        stepper: Just built from the run's config.
        order_digest: See `Batches.order_digest`.
    """
    return Beginning(
        order_digest=order_digest,
        initial_model_digest=digest.of_tensors(
            build.raw_tensors(build.model_tensors(stepper.model))
        ),
        initial_optimizer_digest=digest.of_tensors(build.raw_tensors(stepper.updater.state)),
    )


def restore(stepper: Stepper, start: Start, *, seed: str, cursor: Cursor) -> None:
    """Bring a fresh stepper to where `start` says.

    Args:
        stepper: Just built from the run's config.
        start: Where to go on.
        seed: The run's seed; a checkpoint of another run is refused.
        cursor: Place in the data of the next step, as computed; a checkpoint that says otherwise
            is refused.

    Raises:
        IntegrityError: The checkpoint is not one of this run.
    """
    if not start.files:
        return
    state = dict(start.files["state.safetensors"])
    build.assign({"rng.counter": stepper.rng_counter}, _taken(state), source="state.safetensors")
    loss_scale = LossScale(_number(state, "loss_scale"), int(_number(state, "loss_scale_steps")))
    expected = _state(start.step, cursor=cursor, loss_scale=loss_scale, seed=seed)
    for name, value in expected.items():
        if state.get(name) != value:
            raise IntegrityError(
                f"state.safetensors, tensor {name}: expected {tensors.to_numpy(value)}, "
                f"found {tensors.to_numpy(state[name]) if name in state else 'none'}"
            )
    stepper.loss_scale = loss_scale
    stepper.restore(start.files["model.safetensors"], start.files["optimizer.safetensors"])


def take(stepper: Stepper, *, step: int, seed: str, cursor: Cursor, clock: Clock) -> Checkpoint:
    """Return the checkpoint after `step` updates.

    Args:
        stepper: What to copy.
        step: Updates done.
        seed: The run's seed.
        cursor: Place in the data of the next step.
        clock: For the record's timestamp; the files hold no time.
    """
    state = _state(step, cursor=cursor, loss_scale=stepper.loss_scale, seed=seed)
    named = {
        "model.safetensors": build.raw_tensors(build.model_tensors(stepper.model)),
        "optimizer.safetensors": build.raw_tensors(stepper.updater.state),
        "state.safetensors": state | build.raw_tensors({"rng.counter": stepper.rng_counter}),
    }
    files = {name: tensors.encode(part) for name, part in named.items()}
    record = CheckpointRecord(
        timestamp=clocks.timestamp(clock()),
        step=step,
        files={
            name: FileDigest(bytes=len(data), sha256=digest.of_bytes(data))
            for name, data in files.items()
        },
        model_digest=digest.of_tensors(named["model.safetensors"]),
        optimizer_digest=digest.of_tensors(named["optimizer.safetensors"]),
        state_digest=digest.of_tensors(named["state.safetensors"]),
    )
    return Checkpoint(record, files)


def _state(step: int, *, cursor: Cursor, loss_scale: LossScale, seed: str) -> dict[str, RawTensor]:
    values = {
        "step": np.int64(step),
        "data.epoch": np.int64(cursor.epoch),
        "data.batch": np.int64(cursor.batch),
        "loss_scale": np.float64(loss_scale.scale),
        "loss_scale_steps": np.int64(loss_scale.good_steps),
        "seed": np.uint64(run_seed.as_integer(seed)),
    }
    return {name: tensors.from_numpy(np.asarray(value)) for name, value in values.items()}


def _taken(state: dict[str, RawTensor]) -> dict[str, RawTensor]:
    """Take the random counter out of the state."""
    return {"rng.counter": state.pop("rng.counter")} if "rng.counter" in state else {}


def _number(state: Mapping[str, RawTensor], name: str) -> float:
    if name not in state or state[name].shape:
        raise IntegrityError(f"state.safetensors: expected a number {name!r}, found none")
    return float(tensors.to_numpy(state[name]))
