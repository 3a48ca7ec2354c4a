"""A genuine small run: softmax regression with 200 parameters, trained here, in numpy.

The folder is written with the real journal writer in the order in which the service writes it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from evidence import canonical, derived, digest, seed, tensors
from evidence.clock import timestamp
from evidence.derived import metric_line
from evidence.journal import Journal
from evidence.pack import PackPaths, checkpoint_name
from evidence.records import CHECKPOINT_FILES, Checkpoint, CheckpointRecord, FileDigest
from evidence.schedule import Schedule, learning_rate
from evidence.signing import SigningKey
from evidence.tensors import RawTensor

RUN_ID = "7f3a91c2"
FEATURES, CLASSES, SAMPLES = 19, 10, 64

CONFIG: dict[str, Any] = {
    "v": 1,
    "recipe": None,
    "name": "genuine",
    "dataset": "synthetic",
    "model": {"architecture": "softmax"},
    "seed": 7,
    "steps": 6,
    "batch_size": SAMPLES,
    "micro_steps": 1,
    "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9},
    "schedule": {"name": "cosine", "warmup_steps": 2, "final_fraction": 0.1},
    "max_grad_norm": None,
    "precision": "float32",
    "augmentation": "none",
    "device": "CPU",
    "checkpoint_every": 2,
    "keep_last": None,
    "metric_every": 1,
    "max_wall_s": 60,
    "max_restarts": 3,
}


@dataclass
class Clock:
    """Each reading is a quarter of a second later than the one before."""

    now: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=250)
        return self.now


@dataclass
class Run:
    """What a fraudster or a test may change before the run is written."""

    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))
    run_id: str = RUN_ID
    state: str = "succeeded"
    lr_of: Callable[[int], float] | None = None
    stop_after: int | None = None
    data_seed: int = 1


class Softmax:
    """The model, its momentum, and one update."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.weight = (rng.standard_normal((FEATURES, CLASSES)) * 0.1).astype(np.float32)
        self.bias = np.zeros(CLASSES, dtype=np.float32)
        self.momentum = [np.zeros_like(self.weight), np.zeros_like(self.bias)]

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float, np.ndarray]:
        logits = x @ self.weight + self.bias
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = exponents / exponents.sum(axis=1, keepdims=True)
        loss = float(-np.log(p[np.arange(len(y)), y]).mean())
        return loss, float((p.argmax(axis=1) == y).mean()), p

    def update(self, x: np.ndarray, y: np.ndarray, lr: float) -> tuple[float, float]:
        loss, accuracy, p = self.evaluate(x, y)
        p[np.arange(len(y)), y] -= 1
        gradients = [x.T @ p / len(y), p.mean(axis=0)]
        for parameter, velocity, gradient in zip(
            (self.weight, self.bias), self.momentum, gradients, strict=True
        ):
            velocity[...] = np.float32(0.9) * velocity + gradient.astype(np.float32)
            parameter[...] = parameter - np.float32(lr) * velocity
        return loss, accuracy

    def files(self, step: int) -> dict[str, dict[str, RawTensor]]:
        state = {"step": np.array(step, dtype=np.int64), "cursor": np.array([step * SAMPLES])}
        named = (
            {"weight": self.weight, "bias": self.bias},
            {"momentum.weight": self.momentum[0], "momentum.bias": self.momentum[1]},
            state,
        )
        return {
            name: {key: tensors.from_numpy(value) for key, value in group.items()}
            for name, group in zip(CHECKPOINT_FILES, named, strict=True)
        }


MODEL: dict[str, Any] = {
    "v": 1,
    "architecture": "softmax",
    "tensors": [
        {"name": "bias", "shape": [CLASSES], "dtype": "F32", "trainable": True},
        {"name": "weight", "shape": [FEATURES, CLASSES], "dtype": "F32", "trainable": True},
    ],
}


def write(root: Path, run: Run | None = None) -> Path:
    """Train, and write the run folder up to its `end` event, not sealed."""
    run = run or Run()
    root.mkdir(parents=True)
    paths = PackPaths(root)
    config_bytes = canonical.encode(run.config)
    paths.config.write_bytes(config_bytes)
    writer = _Writer(paths, digest.of_bytes(config_bytes))
    writer.status("queued", None)
    writer.attempt = 1
    writer.status("running", "queued")
    x, y = _data(run.data_seed)
    _describe(paths, run, {"data.npy": digest.of_bytes(x.tobytes() + y.tobytes())})
    for metric in _train(run, writer, x, y):
        writer.event(metric)
    writer.status(run.state, "running")
    steps = run.stop_after or run.config["steps"]
    writer.event({"kind": "end", "state": run.state, "step": steps})
    writer.close()
    return root


def _data(data_seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(data_seed)
    y = rng.integers(0, CLASSES, SAMPLES)
    x = (np.eye(CLASSES, FEATURES)[y] * 2 + rng.standard_normal((SAMPLES, FEATURES)) * 0.3).astype(
        np.float32
    )
    return x, y


def _describe(paths: PackPaths, run: Run, data: dict[str, str]) -> None:
    paths.model.write_bytes(canonical.encode(MODEL))
    provenance = {
        "v": 1,
        "run_id": run.run_id,
        "dataset": {"name": run.config["dataset"], "source": "generated", "files": data},
        "code": {"commit": None, "clean": None, "digest": None},
        "lock_sha256": None,
        "runtime": {"device": "CPU", "library": "numpy"},
        "seed": seed.derive(run.config, data, None),
        "nonce": None,
        "started": "2026-01-31T12:00:00.000Z",
        "ended": "2026-01-31T12:00:30.000Z",
        "state": run.state,
        "attempts": [{"attempt": 1, "node": "here"}],
    }
    paths.provenance.write_bytes(canonical.encode(provenance))


def _train(run: Run, writer: "_Writer", x: np.ndarray, y: np.ndarray) -> Iterator[dict[str, Any]]:
    config = run.config
    schedule = Schedule.model_validate(config["schedule"])
    model = Softmax(np.random.default_rng(config["seed"]))
    for step in range(1, (run.stop_after or config["steps"]) + 1):
        lr = learning_rate(
            schedule, peak=config["optimizer"]["lr"], step=step, steps=config["steps"]
        )
        lr = run.lr_of(step) if run.lr_of else lr
        loss, accuracy = model.update(x, y, lr)
        if step == config["steps"] or step % config["metric_every"] == 0:
            yield metric("train", step, loss, accuracy, lr)
        if step == config["steps"] or step % config["checkpoint_every"] == 0:
            loss, accuracy, _ = model.evaluate(x, y)
            yield metric("test", step, loss, accuracy, None)
            writer.checkpoint(step, model.files(step), keep_last=config["keep_last"])


def metric(
    split: str, step: int, loss: float | None, accuracy: float | None, lr: float | None
) -> dict[str, Any]:
    """Return a metric event without timestamp."""
    measures = {
        "loss": loss,
        "accuracy": accuracy,
        "lr": lr,
        "step_ms": 1.5,
        "samples_s": SAMPLES / 0.0015,
        "tokens_s": None,
        "memory_bytes": 1 << 20,
        "energy_j": None,
    }
    reasons = {name: "not measured" for name, value in measures.items() if value is None}
    return {"kind": "metric", "split": split, "step": step, **measures, "reasons": reasons}


class _Writer:
    """The one writer of the run folder."""

    def __init__(self, paths: PackPaths, genesis: str) -> None:
        self.attempt = 0
        self._paths = paths
        self._clock = Clock()
        self._kept: list[CheckpointRecord] = []
        self._events = Journal(paths.events, genesis=genesis)
        self._metrics = Journal(paths.metrics, genesis=genesis, owns_sequence=False)

    def event(self, record: dict[str, Any]) -> None:
        stamped = {"timestamp": timestamp(self._clock()), "attempt": self.attempt, **record}
        line = self._events.append(stamped)
        if record["kind"] == "metric":
            self._metrics.append(metric_line(line.record))

    def status(self, state: str, previous: str | None) -> None:
        self.event({"kind": "status", "state": state, "previous": previous, "reason": "a test"})

    def checkpoint(
        self, step: int, state: dict[str, dict[str, RawTensor]], *, keep_last: int | None
    ) -> None:
        taken = make_checkpoint(step, state, self._clock)
        folder = self._paths.checkpoints / checkpoint_name(step)
        folder.mkdir(parents=True)
        for name, data in taken.files.items():
            (folder / name).write_bytes(data)
        self._kept.append(taken.record)
        self.event(taken.record.model_dump(mode="json"))
        for record in self._kept[: -keep_last if keep_last else 0]:
            self.event({**record.model_dump(mode="json"), "action": "pruned"})
            rmtree(self._paths.checkpoints / checkpoint_name(record.step))
            self._kept.remove(record)

    def close(self) -> None:
        self._events.close()
        self._metrics.close()


def make_checkpoint(
    step: int, state: dict[str, dict[str, RawTensor]], clock: Callable[[], datetime]
) -> Checkpoint:
    """Return a checkpoint of named tensors, by file name."""
    files = {name: tensors.encode(group) for name, group in state.items()}
    record = CheckpointRecord(
        timestamp=timestamp(clock()),
        step=step,
        files={
            name: FileDigest(bytes=len(data), sha256=digest.of_bytes(data))
            for name, data in files.items()
        },
        model_digest=digest.of_tensors(state["model.safetensors"]),
        optimizer_digest=digest.of_tensors(state["optimizer.safetensors"]),
        state_digest=digest.of_tensors(state["state.safetensors"]),
    )
    return Checkpoint(record, files)


def rewrite_events(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the events and write both journals again with whole chains, as a forger would."""
    paths = PackPaths(root)
    genesis = digest.of_file(paths.config)
    records = [canonical.decode_object(line) for line in paths.events.read_bytes().splitlines()]
    change(records)
    paths.events.unlink()
    paths.metrics.unlink()
    with (
        Journal(paths.events, genesis=genesis) as events,
        Journal(paths.metrics, genesis=genesis, owns_sequence=False) as metrics,
    ):
        for record in records:
            line = events.append(record)
            if record["kind"] == "metric":
                metrics.append(derived.metric_line(line.record))


def fixed_key() -> SigningKey:
    """Return a key that everyone knows, for vectors only."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - only here
        Ed25519PrivateKey,
    )

    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
