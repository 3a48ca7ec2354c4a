"""Runs of the loop as sealed packs, and runs of a fraud who holds the key and seals again.

As a program, worker RANK of a run of several, in processes of their own; the first one seals:

    python -m tests.trainers.sealed PACK CONFIG_JSON CACHE FOLDER RANK
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from evidence import canonical, digest, seal, tensors
from evidence import seed as seeds
from evidence.clock import timestamp, utc_now
from evidence.derived import metric_line
from evidence.journal import Journal
from evidence.pack import PackPaths, checkpoint_name
from evidence.records import Beginning, Checkpoint, CheckpointRecord, Metric, TrainingEvent
from evidence.schedule import learning_rate
from tests.evidence import genuine
from trainers import config as configs
from trainers import runtime
from trainers.config import RunConfig
from trainers.data.load import Data
from trainers.provenance import describe_code
from trainers.shared_memory import SharedMemoryGroup

RUN_ID = "7f3a91c20b1d"
ROOT = Path(__file__).parents[2]

Batch = tuple[np.ndarray, np.ndarray]


def trained(cfg: RunConfig, data: Data, start: Checkpoint | None = None) -> list[TrainingEvent]:
    """Return the events of an honest run."""
    from trainers.checkpoint import Start  # noqa: PLC0415 - after the process is prepared
    from trainers.loop import train  # noqa: PLC0415

    events: list[TrainingEvent] = []
    begin = Start.from_files(start.files) if start else Start.fresh()
    train(cfg, data, begin, events.append)
    return events


@dataclass(frozen=True)
class Fraud:
    """What a fraud does otherwise than it says, while it really trains."""

    lr_of: Callable[[int, float], float] = lambda _, lr: lr
    """The learning rate that is really used, of a step and the one that is told."""
    batch_of: Callable[[int, Callable[[int], Batch]], Batch] = lambda step, at: at(step)
    """The batch that is really read."""
    skipped: Sequence[int] = ()
    """Steps that are told and not done: the weights stay."""
    weights: Checkpoint | None = None
    """What it really begins with."""

    def train(self, cfg: RunConfig, data: Data) -> list[TrainingEvent]:
        """Return events that fit the config, as the loop would report them."""
        from trainers import checkpoint  # noqa: PLC0415 - after the process is prepared
        from trainers.batches import Batches  # noqa: PLC0415
        from trainers.models import build  # noqa: PLC0415
        from trainers.predict import Forward  # noqa: PLC0415
        from trainers.step import Stepper  # noqa: PLC0415

        seed = seeds.derive(cfg.as_json(), data.digests, cfg.nonce)
        batches = Batches(cfg, data, seed=seeds.as_integer(seed))
        stepper = Stepper(cfg, seed=seed)
        if self.weights is not None:
            stolen = tensors.decode(self.weights.files["model.safetensors"])
            build.assign(build.model_tensors(stepper.model), stolen, source="stolen")
        forward = Forward(cfg, stepper.model)
        events: list[TrainingEvent] = []
        for step in range(1, cfg.steps + 1):
            told = learning_rate(cfg.schedule, peak=cfg.optimizer.lr, step=step, steps=cfg.steps)
            used = 0.0 if step in self.skipped else self.lr_of(step, told)
            images, labels = self.batch_of(step, batches.at)
            update = stepper.update(images, labels, lr=used, step=step)
            events.append(_metric(step, "train", update.loss, update.accuracy, told))
            if cfg.is_checkpoint(step):
                judged = forward.evaluate(data)
                events.append(_metric(step, "test", judged.loss, judged.accuracy, None))
                cursor = batches.cursor(step + 1)
                taken = checkpoint.take(stepper, step=step, seed=seed, cursor=cursor, clock=utc_now)
                events.append(taken)
        return events


def edited(
    events: Iterable[TrainingEvent], step: int, *, split: str = "train", **measures: float
) -> list[TrainingEvent]:
    """Return the events with other measures of one step."""
    return [
        event.model_copy(update=measures)
        if isinstance(event, Metric) and (event.step, event.split) == (step, split)
        else event
        for event in events
    ]


def mixed(
    events: Sequence[TrainingEvent], step: int, file: str, mix: Callable[..., np.ndarray]
) -> list[TrainingEvent]:
    """Return the events with other tensors in one file of a checkpoint, and its record to fit.

    Args:
        events: Of a run.
        step: Of the checkpoint.
        file: Which of its files.
        mix: Makes a tensor of those of the checkpoint before, this one, and the one after.
    """
    points = [event for event in events if isinstance(event, Checkpoint)]
    (at,) = (i for i, point in enumerate(points) if point.record.step == step)
    around = [tensors.decode(point.files[file]) for point in points[at - 1 : at + 2]]
    false = {
        name: tensors.from_numpy(mix(*(tensors.to_numpy(one[name]) for one in around)))
        for name in around[1]
    }
    state = {name: tensors.decode(data) for name, data in points[at].files.items()}
    forged = genuine.make_checkpoint(step, {**state, file: false}, utc_now)
    return [forged if event is points[at] else event for event in events]


def _metric(step: int, split: str, loss: float, accuracy: float, lr: float | None) -> TrainingEvent:
    plain = genuine.metric(split, step, loss, accuracy, lr)
    return Metric.model_validate({**plain, "timestamp": timestamp(utc_now())})


@dataclass
class Pack:
    """A pack that is written and sealed."""

    cfg: RunConfig
    attempts: Sequence[Sequence[TrainingEvent]]
    """The events of each attempt."""
    files: dict[str, str]
    """Digests of the data."""
    code: dict[str, Any] = field(default_factory=describe_code)
    runtime: dict[str, Any] = field(default_factory=runtime.describe)
    seals: bool = True

    def write(self, root: Path) -> Path:
        """Write the run folder as the service does, and seal it."""
        root.mkdir(parents=True)
        paths = PackPaths(root)
        config_bytes = canonical.encode(self.cfg.as_json())
        paths.config.write_bytes(config_bytes)
        begun = timestamp(utc_now())
        writer = _Writer(paths, digest.of_bytes(config_bytes), self.cfg.keep_last)
        writer.status("queued", None)
        for number, events in enumerate(self.attempts, 1):
            if number > 1:
                writer.status("interrupted", "running")
                writer.status("queued", "interrupted")
            writer.attempt = number
            writer.status("running", "queued")
            for event in events:
                writer.take(event)
        writer.status("succeeded", "running")
        writer.event({"kind": "end", "state": "succeeded", "step": self.cfg.steps})
        writer.close()
        self._describe(paths, begun)
        if self.seals:
            seal.finalise(root, genuine.fixed_key(), run_id=RUN_ID)
        return root

    def _describe(self, paths: PackPaths, begun: str) -> None:
        from trainers.models import build  # noqa: PLC0415 - after the process is prepared

        code = dict(self.code)
        provenance = {
            "v": 1,
            "run_id": RUN_ID,
            "dataset": {"name": self.cfg.dataset, "files": self.files},
            "lock_sha256": code.pop("lock_sha256"),
            "code": code,
            "runtime": self.runtime,
            "seed": seeds.derive(self.cfg.as_json(), self.files, self.cfg.nonce),
            "nonce": self.cfg.nonce,
            "started": begun,
            "ended": timestamp(utc_now()),
            "state": "succeeded",
            "attempts": [{"attempt": n} for n in range(1, len(self.attempts) + 1)],
        }
        paths.model.write_bytes(canonical.encode(build.describe(self.cfg)))
        paths.provenance.write_bytes(canonical.encode(provenance))


class _Writer:
    """The one writer of the run folder."""

    def __init__(self, paths: PackPaths, genesis: str, keep_last: int | None) -> None:
        self.attempt = 0
        self._paths = paths
        self._keep_last = keep_last
        self._kept: list[CheckpointRecord] = []
        self._events = Journal(paths.events, genesis=genesis)
        self._metrics = Journal(paths.metrics, genesis=genesis, owns_sequence=False)

    def take(self, event: TrainingEvent) -> None:
        if isinstance(event, Checkpoint):
            self._save(event)
        elif not isinstance(event, Beginning):
            self.event(event.model_dump(mode="json"))

    def event(self, record: dict[str, Any]) -> None:
        stamped = {"timestamp": timestamp(utc_now()), "attempt": self.attempt, **record}
        line = self._events.append(stamped)
        if record["kind"] == "metric":
            self._metrics.append(metric_line(line.record))

    def status(self, state: str, previous: str | None) -> None:
        self.event({"kind": "status", "state": state, "previous": previous, "reason": "a test"})

    def _save(self, taken: Checkpoint) -> None:
        folder = self._paths.checkpoints / checkpoint_name(taken.record.step)
        folder.mkdir(parents=True)
        for name, data in taken.files.items():
            (folder / name).write_bytes(data)
        self._kept.append(taken.record)
        self.event(taken.record.model_dump(mode="json"))
        for record in self._kept[: -self._keep_last if self._keep_last else 0]:
            self.event({**record.model_dump(mode="json"), "action": "pruned"})
            rmtree(self._paths.checkpoints / checkpoint_name(record.step))
            self._kept.remove(record)

    def close(self) -> None:
        self._events.close()
        self._metrics.close()


def write_by_workers(root: Path, cfg: RunConfig, *, cache: Path, scratch: Path) -> Path:
    """Write the pack of a run of several workers, in processes."""
    meeting = scratch / "g"
    meeting.mkdir()
    command = [sys.executable, "-m", "tests.trainers.sealed", str(root), json.dumps(cfg.as_json())]
    started = [
        subprocess.Popen([*command, str(cache), str(meeting), str(rank)], cwd=ROOT)
        for rank in range(cfg.workers)
    ]
    assert [process.wait() for process in started] == [0] * cfg.workers
    return root


def main(arguments: list[str]) -> None:
    """Run as the module's docstring says."""
    root, plain, cache, meeting, rank = arguments
    cfg = configs.parse(json.loads(plain))
    runtime.prepare_process(device="CPU", cache=Path(cache), kernels=cfg.kernel_set)
    from trainers.checkpoint import Start  # noqa: PLC0415  tinygrad reads the environment first
    from trainers.data.load import load  # noqa: PLC0415
    from trainers.loop import train  # noqa: PLC0415

    data = load(cfg.dataset, Path(cache))
    group = SharedMemoryGroup(Path(meeting), rank=int(rank), size=cfg.workers)
    events: list[TrainingEvent] = []
    train(cfg, data, Start.fresh(), events.append, group=group)
    if group.rank == 0:
        Pack(cfg, [events], dict(data.digests)).write(Path(root))


if __name__ == "__main__":
    main(sys.argv[1:])
