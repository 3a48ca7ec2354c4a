"""Tampering that is consistent in itself, derived, listed and signed again: only order tells."""

from collections.abc import Callable
from pathlib import Path
from shutil import move, rmtree
from typing import Any

import numpy as np
import pytest

from evidence import canonical, digest, tensors
from evidence.pack import PackPaths, checkpoint_name
from evidence.report import Verdict
from evidence.seal import finalise
from evidence.signing import SigningKey
from tests.evidence import genuine
from tests.evidence.genuine import Run
from tests.evidence.judging import check, failed, judge

Records = list[dict[str, Any]]


def is_checkpoint(record: dict[str, Any], *, step: int | None = None) -> bool:
    return record["kind"] == "checkpoint" and step in (None, record["step"])


def is_metric(record: dict[str, Any], split: str, step: int) -> bool:
    return record["kind"] == "metric" and (record["split"], record["step"]) == (split, step)


def forged(root: Path, key: SigningKey, change: Callable[[Records], None], run: Run) -> Path:
    genuine.write(root, run)
    genuine.rewrite_events(root, change)
    held = {record["step"] for record in read_events(root) if is_checkpoint(record)}
    for folder in PackPaths(root).checkpoints.iterdir():
        if int(folder.name.removeprefix("step_")) not in held:
            rmtree(folder)
    finalise(root, key, run_id=genuine.RUN_ID)
    return root


def read_events(root: Path) -> Records:
    lines = (root / "events.jsonl").read_bytes().splitlines()
    return [canonical.decode_object(line) for line in lines]


def checkpoints_first(records: Records) -> None:
    records[2:-2] = sorted(records[2:-2], key=lambda record: not is_checkpoint(record))


def checkpoints_last(records: Records) -> None:
    records[2:-2] = sorted(records[2:-2], key=is_checkpoint)


def evaluations_first(records: Records) -> None:
    records[2:-2] = sorted(records[2:-2], key=lambda record: record.get("split") != "test")


def swap_checkpoint_and_evaluation(records: Records) -> None:
    i = next(i for i, record in enumerate(records) if is_checkpoint(record))
    records[i - 1], records[i] = records[i], records[i - 1]


def evaluate_before_training(records: Records) -> None:
    i = next(i for i, record in enumerate(records) if is_metric(record, "test", 2))
    records[i - 1], records[i] = records[i], records[i - 1]


def repeat_a_checkpoint(records: Records) -> None:
    i = next(i for i, record in enumerate(records) if is_checkpoint(record))
    records.insert(i, dict(records[i]))


def prune_all(records: Records) -> None:
    pruned = [{**record, "action": "pruned"} for record in records if is_checkpoint(record)]
    records[-2:-2] = pruned


def prune_the_first(records: Records) -> None:
    first = next(record for record in records if is_checkpoint(record))
    records.insert(records.index(first) + 1, {**first, "action": "pruned"})


@pytest.mark.parametrize(
    "change",
    [
        checkpoints_first,
        checkpoints_last,
        evaluations_first,
        swap_checkpoint_and_evaluation,
        evaluate_before_training,
        repeat_a_checkpoint,
        prune_all,
        prune_the_first,
    ],
)
def test_events_that_were_moved_are_found(
    change: Callable[[Records], None], tmp_path: Path, key: SigningKey
) -> None:
    assert failed(forged(tmp_path / "pack", key, change, Run())) == ["run.steps"]


def cut_checkpoints(records: Records) -> None:
    records[:] = [r for r in records if not is_checkpoint(r) and r.get("split") != "test"]


def claim_more_steps(records: Records) -> None:
    records[-1]["step"] = 123_456_789


def claim_fewer_steps(records: Records) -> None:
    records[-1]["step"] = 2


@pytest.mark.parametrize("change", [cut_checkpoints, claim_more_steps, claim_fewer_steps])
def test_a_cancelled_run_is_held_to_its_config_too(
    change: Callable[[Records], None], tmp_path: Path, key: SigningKey
) -> None:
    run = Run(state="cancelled", stop_after=5)
    assert failed(forged(tmp_path / "pack", key, change, run)) == ["run.steps"]


@pytest.mark.parametrize("overrides", [{}, {"metric_every": 4}, {"checkpoint_every": 1}])
def test_a_run_that_is_cancelled_at_any_event_passes(
    overrides: dict[str, Any], tmp_path: Path, key: SigningKey
) -> None:
    run = Run(config={**genuine.CONFIG, **overrides}, state="cancelled")
    whole = genuine.write(tmp_path / "whole", run)
    for kept in range(2, len(read_events(whole)) - 1):

        def cut(records: Records, kept: int = kept) -> None:
            done = records[2:kept]
            trained = [r["step"] for r in done if is_checkpoint(r) or r.get("split") == "train"]
            records[kept:-2] = []
            records[-1]["step"] = max(trained, default=0)

        root = forged(tmp_path / str(kept), key, cut, run)
        assert judge(root).verdict is Verdict.PASSED, kept


@pytest.mark.parametrize("keep_last", [1, 2, 3])
def test_pruning_that_follows_the_config_passes(
    keep_last: int, tmp_path: Path, key: SigningKey
) -> None:
    run = Run(config={**genuine.CONFIG, "keep_last": keep_last})
    root = genuine.write(tmp_path / "pack", run)
    finalise(root, key, run_id=genuine.RUN_ID)
    assert judge(root).verdict is Verdict.PASSED
    assert check(root, "checkpoints.digests").detail == f"{3 - keep_last} pruned"


def test_pruning_that_a_full_disk_put_off_passes(tmp_path: Path, key: SigningKey) -> None:
    def put_off(records: Records) -> None:
        late = [record for record in records if record.get("action") == "pruned"]
        records[:] = [record for record in records if record not in late]
        records[-2:-2] = late

    run = Run(config={**genuine.CONFIG, "keep_last": 1})
    assert judge(forged(tmp_path / "pack", key, put_off, run)).verdict is Verdict.PASSED


def prune_too_early(records: Records) -> None:
    pruned = next(record for record in records if record.get("action") == "pruned")
    records.remove(pruned)
    i = next(i for i, record in enumerate(records) if is_checkpoint(record, step=2))
    records.insert(i + 1, pruned)


def prune_another(records: Records) -> None:
    pruned = next(record for record in records if record.get("action") == "pruned")
    newer = next(record for record in records if is_checkpoint(record, step=4))
    records[records.index(pruned)] = {**newer, "action": "pruned"}


def prune_one_more(records: Records) -> None:
    newer = next(record for record in records if is_checkpoint(record, step=4))
    records.insert(-2, {**newer, "action": "pruned"})


@pytest.mark.parametrize("change", [prune_too_early, prune_another, prune_one_more])
def test_pruning_against_keep_last_is_found(
    change: Callable[[Records], None], tmp_path: Path, key: SigningKey
) -> None:
    run = Run(config={**genuine.CONFIG, "keep_last": 2})
    root = forged(tmp_path / "pack", key, change, run)
    assert "run.steps" in failed(root)
    assert "pruned against keep_last" in check(root, "run.steps").detail


def test_checkpoints_that_were_swapped_with_their_records_are_found(
    pack: Path, key: SigningKey
) -> None:
    folder = PackPaths(pack).checkpoints
    move(folder / checkpoint_name(2), folder / "aside")
    move(folder / checkpoint_name(4), folder / checkpoint_name(2))
    move(folder / "aside", folder / checkpoint_name(4))

    def swap(records: Records) -> None:
        first, second = [record for record in records if is_checkpoint(record)][:2]
        for name in ("files", "model_digest", "optimizer_digest", "state_digest"):
            first[name], second[name] = second[name], first[name]

    genuine.rewrite_events(pack, swap)
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert failed(pack) == ["checkpoints.digests"]
    found = check(pack, "checkpoints.digests")
    assert found.where == "checkpoints/step_000002/state.safetensors, tensor step"
    assert (found.expected, found.found) == ("int64 2", "I64 4")


def test_a_checkpoint_of_another_seed_is_found(pack: Path, key: SigningKey) -> None:
    path = pack / "checkpoints" / "step_000002" / "state.safetensors"
    state = tensors.decode(path.read_bytes())
    state["seed"] = tensors.from_numpy(np.asarray(np.uint64(7)))
    path.write_bytes(tensors.encode(state))

    def record_it(records: Records) -> None:
        record = next(record for record in records if is_checkpoint(record))
        data = path.read_bytes()
        record["files"][path.name] = {"bytes": len(data), "sha256": digest.of_bytes(data)}
        record["state_digest"] = digest.of_tensors(state)

    genuine.rewrite_events(pack, record_it)
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert failed(pack) == ["checkpoints.digests"]
    assert check(pack, "checkpoints.digests").where.endswith("tensor seed")


def test_a_run_of_very_many_steps_is_judged_in_little_memory(
    tmp_path: Path, key: SigningKey
) -> None:
    config = {**genuine.CONFIG, "steps": 2_000_000_000, "checkpoint_every": 1}
    run = Run(config=config, stop_after=3)

    def claim(records: Records) -> None:
        records[-1]["step"] = 2_000_000_000

    root = forged(tmp_path / "pack", key, claim, run)
    assert failed(root) == ["run.steps"]
    assert "not every step was done" in check(root, "run.steps").detail
