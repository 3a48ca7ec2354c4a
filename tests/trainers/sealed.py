"""Runs of the loop as sealed packs, and runs of a fraud who holds the key and seals again.

As a program, worker RANK of a run of several, in processes of their own; the first one seals:

    python -m tests.trainers.sealed PACK CONFIG_JSON CACHE FOLDER RANK
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cluster import sealing, views
from cluster.run_folder import RunFolder, create, open_folder
from evidence import seed as seeds
from evidence import tensors
from evidence.clock import Clock, timestamp, utc_now
from evidence.records import Checkpoint, Metric, RunState, TrainingEvent
from evidence.schedule import learning_rate
from tests.cluster import bound, small
from tests.evidence import genuine
from trainers import config as configs
from trainers import runtime as runtimes
from trainers.config import RunConfig
from trainers.data.load import Data
from trainers.provenance import describe_code
from trainers.shared_memory import SharedMemoryGroup

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
    admits: bool = False
    """Whether the run is committed to these weights, not to those of its seed."""

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
        told_order = batches.order_digest(cfg.steps)
        events: list[TrainingEvent] = [checkpoint.begin(stepper, order_digest=told_order)]
        if self.weights is not None:
            stolen = tensors.decode(self.weights.files["model.safetensors"])
            build.assign(build.model_tensors(stepper.model), stolen, source="stolen")
        if self.admits:
            events = [checkpoint.begin(stepper, order_digest=told_order)]
        forward = Forward(cfg, stepper.model)
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
    runtime: dict[str, Any] = field(default_factory=runtimes.describe)
    seals: bool = True

    def write(self, root: Path, *, clock: Clock = utc_now) -> Path:
        """Let a service write the run folder, and seal it."""
        service = Service(
            submit(root, self.cfg, clock=clock), self.files, code=self.code, runtime=self.runtime
        )
        for number, events in enumerate(self.attempts):
            if number:
                service.interrupt()
            service.start()
            for event in events:
                service(event)
        service.end(seals=self.seals)
        return root


def submit(root: Path, cfg: RunConfig, *, clock: Clock = utc_now) -> RunFolder:
    """Make the folder of a run that waits; its name is the run's id."""
    root.parent.mkdir(parents=True, exist_ok=True)
    return create(
        root.parent, root.name, cfg, clock=clock, notary=small.notary(root.parent),
        idempotency_key_sha256=None,
    )  # fmt: skip


def reopen(root: Path) -> RunFolder:
    """Open the folder of a run whose service was killed, as the next one does."""
    return open_folder(root, clock=utc_now, notary=small.notary(root.parent))


class Service:
    """What a service does with one run, in this process; the sink of a loop.

    Args:
        folder: Of the run.
        files: Digests of the data.
        code: That trains.
        runtime: What it computes with.
    """

    def __init__(
        self,
        folder: RunFolder,
        files: Mapping[str, str],
        *,
        code: Mapping[str, Any] | None = None,
        runtime: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = bound.keep(folder)
        self._files = dict(files)
        self._code = dict(describe_code() if code is None else code)
        self._runtime = runtime
        self._count = 0

    def start(self) -> None:
        """Begin an attempt."""
        from trainers.models import build  # noqa: PLC0415 - after the process is prepared

        self._count = 0
        self.folder.move(RunState.RUNNING, "placed", placement=small.PLACED)
        cfg, code = self.folder.config, dict(self._code)
        told = {
            "dataset": {"name": cfg.dataset, "files": self._files},
            "lock_sha256": code.pop("lock_sha256"),
            "code": code,
            "runtime": runtimes.describe() if self._runtime is None else dict(self._runtime),
            "seed": seeds.derive(cfg.as_json(), self._files, cfg.nonce),
            "nonce": cfg.nonce,
        }
        provenance = views.provenance(self.folder, told)
        self.folder.write_description(build.describe(cfg), provenance)

    def __call__(self, event: TrainingEvent) -> None:
        """Take in one event of the attempt."""
        small.report(self.folder, event, first_n=self._count)
        self._count += 1

    def interrupt(self) -> None:
        """Lose the trainer, and let the run wait for another."""
        self.folder.move(RunState.INTERRUPTED, "the trainer was lost")
        self.folder.move(RunState.QUEUED, "resumed")

    def end(self, *, seals: bool = True) -> None:
        """Let the run succeed."""
        bound.end(self.folder)
        if seals:
            sealing.seal_run(self.folder, small.notary(self.folder.paths.root.parent))
        self.folder.close()


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
    runtimes.prepare_process(device="CPU", cache=Path(cache), kernels=cfg.kernel_set)
    from trainers.checkpoint import Start  # noqa: PLC0415  tinygrad reads the environment first
    from trainers.data.load import load  # noqa: PLC0415
    from trainers.loop import train  # noqa: PLC0415

    data = load(cfg.dataset, Path(cache))
    group = SharedMemoryGroup(Path(meeting), rank=int(rank), size=cfg.workers)
    events: list[TrainingEvent] = []
    train(cfg, data, Start.fresh(), events.append, group=group)
    if group.rank == 0:
        with closing(small):
            Pack(cfg, [events], dict(data.digests)).write(Path(root))


if __name__ == "__main__":
    main(sys.argv[1:])
