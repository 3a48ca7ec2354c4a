"""Small real things for these tests: a clock, a config, and softmax regression in numpy.

As a program, it writes one checkpoint and is killed right after a phase of that:

    python -m tests.cluster.small FOLDER PHASE
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from cluster import checkpoints
from cluster.checkpoints import Phase
from cluster.notary import Notary
from cluster.run_folder import RunFolder, create
from cluster.settings import Limits
from evidence import digest, seed
from evidence.clock import Clock, timestamp
from evidence.records import Beginning, Checkpoint, Metric, RunState, TrainingEvent
from evidence.records import Placement as Placed
from evidence.schedule import learning_rate
from tests.evidence import genuine
from trainers import config as configs
from trainers.config import RunConfig

RUN_ID = "7f3a91c20b1d"
PLACED = Placed(node="here", device="CPU", why="a test")
ROOMY = 1 << 30
PAGE = 4096


@dataclass
class Watch:
    """A clock that goes on by `tick` at each look and can be set."""

    now: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)
    tick: timedelta = timedelta(milliseconds=250)

    def __call__(self) -> datetime:
        self.now += self.tick
        return self.now


def request(**overrides: Any) -> dict[str, Any]:
    """Return a full config as a client sends it: 6 steps, a checkpoint after every second."""
    return {
        "dataset": "mnist",
        "model": {"architecture": "mlp", "hidden": [16]},
        "steps": 6,
        "batch_size": genuine.SAMPLES,
        "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9},
        "checkpoint_every": 2,
        **overrides,
    }


def config(**overrides: Any) -> RunConfig:
    """Return the config of `request`."""
    return configs.parse(request(**overrides))


def training(
    cfg: RunConfig, *, clock: Clock, after: int = 0, data_seed: int = 1
) -> Iterator[TrainingEvent]:
    """Yield what training on 64 samples reports behind step `after`.

    Args:
        cfg: Its model is not built: this one has 200 parameters.
        clock: For timestamps.
        after: Steps that a checkpoint holds already.
        data_seed: Other data, other losses.
    """
    x, y = genuine._data(data_seed)
    model = genuine.Softmax(np.random.default_rng(cfg.seed))
    for step in range(1, cfg.steps + 1):
        lr = learning_rate(cfg.schedule, peak=cfg.optimizer.lr, step=step, steps=cfg.steps)
        loss, accuracy = model.update(x, y, lr)
        if step > after:
            yield _metric(genuine.metric("train", step, loss, accuracy, lr), clock)
        if step > after and cfg.is_checkpoint(step):
            loss, accuracy, _ = model.evaluate(x, y)
            yield _metric(genuine.metric("test", step, loss, accuracy, None), clock)
            yield genuine.make_checkpoint(step, model.files(step), clock)


def beginning(cfg: RunConfig) -> Beginning:
    """Return what `training` begins with."""
    model = genuine.Softmax(np.random.default_rng(cfg.seed)).files(0)
    order = np.tile(np.arange(genuine.SAMPLES, dtype="<i8"), cfg.steps)
    return Beginning(
        order_digest=digest.of_bytes(order.tobytes()),
        initial_model_digest=digest.of_tensors(model["model.safetensors"]),
        initial_optimizer_digest=digest.of_tensors(model["optimizer.safetensors"]),
    )


def _data_digests() -> dict[str, str]:
    x, y = genuine._data(1)
    return {"data.npy": digest.of_bytes(x.tobytes() + y.tobytes())}


DATA = _data_digests()
"""SHA-256 of the one file of the data, by name."""


def described(cfg: RunConfig, files: dict[str, str] = DATA) -> dict[str, Any]:
    """Return what a trainer tells before step 0: `model` and `provenance`."""
    return {
        "model": genuine.MODEL,
        "provenance": {
            "dataset": {"name": cfg.dataset, "files": files},
            "code": {"commit": None, "clean": None, "digest": None},
            "lock_sha256": None,
            "runtime": {"device": "CPU", "library": "numpy"},
            "seed": seed.derive(cfg.as_json(), files, cfg.nonce),
            "nonce": cfg.nonce,
        },
    }


def metric(step: int, *, split: str = "train", loss: float = 0.5) -> Metric:
    """Return one metric with a loss of the test's choice."""
    lr = 0.5 if split == "train" else None
    return _metric(genuine.metric(split, step, loss, 0.5, lr), Watch())


def _metric(plain: dict[str, Any], clock: Clock) -> Metric:
    return Metric.model_validate({"timestamp": timestamp(clock()), **plain})


def checkpoint(step: int, *, model_seed: int = 0) -> Checkpoint:
    """Return a checkpoint of freshly drawn weights, about 3 KiB."""
    model = genuine.Softmax(np.random.default_rng(model_seed))
    return genuine.make_checkpoint(step, model.files(step), Watch())


_NOTARIES: dict[Path, Notary] = {}


def notary(root: Path) -> Notary:
    """Return the one notary of a folder of runs; its home is beside that, on another disk."""
    if root not in _NOTARIES:
        home = root.with_name(f"{root.name}-service")
        _NOTARIES[root] = Notary.open(home, limits=Limits())
    return _NOTARIES[root]


def close() -> None:
    """Let go of the logs of every notary."""
    while _NOTARIES:
        _NOTARIES.popitem()[1].close()


def running(root: Path, **overrides: Any) -> RunFolder:
    """Make a run folder below `root` whose first attempt may report."""
    folder = create(
        root, RUN_ID, config(**overrides), clock=Watch(), notary=notary(root),
        idempotency_key_sha256=None,
    )  # fmt: skip
    folder.move(RunState.RUNNING, "placed", placement=PLACED)
    return folder


def report(folder: RunFolder, *events: TrainingEvent, first_n: int = 0) -> None:
    """Hand events of the present attempt to the writer."""
    for n, event in enumerate(events, first_n):
        folder.report(event, attempt=folder.summary.attempt, n=n, max_bytes=ROOMY)


def fill(disk: Path, *, leave: int = 0, name: str = "filler") -> Path:
    """Fill a disk but for `leave` bytes, whole pages; return the file that takes the rest."""
    filler = disk / name
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    os.truncate(filler, filler.stat().st_size // PAGE * PAGE - leave)
    return filler


def enlarge(disk: Path) -> None:
    """Give a small disk 256 KiB."""
    subprocess.run(["mount", "-o", "remount,size=256k", str(disk)], check=True)


def pad(folder: RunFolder, *, leave: int) -> None:
    """Log until events.jsonl ends `leave` bytes before the end of a page."""
    folder.log("padded", "")
    overhead = len(folder.event_lines(after=folder.summary.last_seq - 1, limit=1)[0]) + 1
    size = folder.paths.events.stat().st_size + overhead
    missing = (-size - leave) % PAGE
    while missing > 2000:
        folder.log("padded", "x" * min(2000, missing - overhead))
        missing -= min(2000, missing - overhead) + overhead
    folder.log("padded", "x" * missing)
    assert -folder.paths.events.stat().st_size % PAGE == leave


def main() -> None:
    """Write the checkpoint of step 2 and die right after a phase."""
    folder, phase = Path(sys.argv[1]), Phase(sys.argv[2])

    def die(done: Phase) -> None:
        if done is phase:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.write(folder, checkpoint(2), after=die)


if __name__ == "__main__":
    main()
