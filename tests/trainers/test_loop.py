import math
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from evidence import digest, tensors
from evidence.errors import (
    ConfigError,
    DeviceMissing,
    DigestMismatch,
    IntegrityError,
    TrainingDiverged,
)  # fmt: skip
from evidence.records import Checkpoint, Log, Metric, Split, TrainingEvent
from evidence.schedule import learning_rate
from tests.trainers import tiny
from trainers.checkpoint import Start
from trainers.loop import train
from trainers.models import build


@pytest.fixture(scope="module")
def events() -> list[TrainingEvent]:
    return tiny.run(tiny.run_config(metric_every=4))


def test_metrics_come_at_the_cadence_and_at_the_last_step(events: list[TrainingEvent]) -> None:
    steps = [m.step for m in tiny.metrics(events) if m.split is Split.TRAIN]
    assert steps == [4, 6]


def test_each_checkpoint_follows_its_evaluation(events: list[TrainingEvent]) -> None:
    pairs = pairwise(events)
    before = [(a, b.record.step) for a, b in pairs if isinstance(b, Checkpoint)]
    assert [(m.split, m.step) for m, _ in before if isinstance(m, Metric)] == [
        (Split.TEST, 2), (Split.TEST, 4), (Split.TEST, 6),
    ]  # fmt: skip
    assert len(before) == 3


def test_a_start_that_ends_early_does_the_first_steps_of_the_same_run(
    events: list[TrainingEvent],
) -> None:
    cfg = tiny.run_config(metric_every=4)
    early: list[TrainingEvent] = []
    outcome = train(cfg, tiny.data_of(cfg), replace(Start.fresh(), until=4), early.append)
    assert outcome.step == 4
    assert sorted(tiny.checkpoints(early)) == [2, 4]
    assert tiny.checkpoints(early)[4].files == tiny.checkpoints(events)[4].files


def test_the_learning_rate_is_the_schedules(events: list[TrainingEvent]) -> None:
    cfg = tiny.run_config()
    for metric in tiny.metrics(events):
        if metric.split is Split.TRAIN:
            expected = learning_rate(
                cfg.schedule, peak=cfg.optimizer.lr, step=metric.step, steps=cfg.steps
            )
            assert metric.lr == expected


def test_the_recorded_digests_are_those_of_the_bytes(events: list[TrainingEvent]) -> None:
    for point in tiny.checkpoints(events).values():
        for name, data in point.files.items():
            assert point.record.files[name].sha256 == digest.of_bytes(data)
        decoded = tensors.decode(point.files["model.safetensors"])
        assert point.record.model_digest == digest.of_tensors(decoded)


def test_compiling_is_told_once(events: list[TrainingEvent]) -> None:
    logs = [event for event in events if isinstance(event, Log)]
    assert [(log.name, log.step) for log in logs] == [("kernels_compiled", 3)]


def test_a_checkpoint_has_the_tensors_of_the_description(events: list[TrainingEvent]) -> None:
    described = build.describe(tiny.run_config())["tensors"]
    stored = tensors.decode(tiny.checkpoints(events)[6].files["model.safetensors"])
    assert [(t["name"], tuple(t["shape"]), t["dtype"]) for t in described] == [
        (name, raw.shape, raw.dtype) for name, raw in stored.items()
    ]


def test_a_start_at_the_end_trains_nothing(events: list[TrainingEvent]) -> None:
    (beginning,) = tiny.run(tiny.run_config(), start_files=tiny.checkpoints(events)[6].files)
    assert beginning == events[0]


def test_a_checkpoint_of_another_run_is_refused(events: list[TrainingEvent]) -> None:
    files = tiny.checkpoints(events)[4].files
    with pytest.raises(IntegrityError, match="tensor seed"):
        tiny.run(tiny.run_config(seed=9), start_files=files)


def test_a_flipped_byte_in_a_checkpoint_is_found_before_decoding(
    events: list[TrainingEvent],
) -> None:
    point = tiny.checkpoints(events)[4]
    data = bytearray(point.files["model.safetensors"])
    data[-1] ^= 1
    files = {**point.files, "model.safetensors": bytes(data)}
    with pytest.raises(DigestMismatch, match=r"model\.safetensors"):
        Start.from_files(files, record=point.record)


def test_a_missing_checkpoint_file_is_named(events: list[TrainingEvent]) -> None:
    files = dict(tiny.checkpoints(events)[4].files)
    del files["optimizer.safetensors"]
    with pytest.raises(IntegrityError, match="optimizer"):
        Start.from_files(files)


def test_the_clock_decides_timestamps() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    seen: list[TrainingEvent] = []
    cfg = tiny.run_config(steps=3, checkpoint_every=1)
    train(cfg, tiny.dataset(), Start.fresh(), seen.append, clock=lambda: moment)
    assert {m.timestamp for m in tiny.metrics(seen)} == {"2026-01-02T00:00:00.000Z"}


def test_a_diverged_loss_ends_the_run_with_its_step() -> None:
    cfg = tiny.run_config(
        optimizer={"name": "adamw", "lr": 10.0, "weight_decay": 1.0}, steps=200, checkpoint_every=50
    )
    with pytest.raises(TrainingDiverged, match=r"step \d+: expected a finite loss, found [ni]"):
        tiny.run(cfg)


def test_another_device_is_never_taken_instead() -> None:
    with pytest.raises(DeviceMissing, match="METAL"):
        tiny.run(tiny.run_config(device="METAL"))


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="256"):
        tiny.run(tiny.run_config(batch_size=512))


def test_the_loss_falls() -> None:
    losses = [
        m.loss for m in tiny.metrics(tiny.run(tiny.run_config(steps=30, checkpoint_every=10)))
    ]
    assert losses[0] is not None
    assert losses[-1] is not None
    assert losses[-1] < losses[0]
    assert all(loss is not None and math.isfinite(loss) for loss in losses)
