"""The one writer of a run's folder: what it refuses, what it mends, what a full disk costs."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.checkpoints import Phase
from cluster.run_folder import RunFolder, create, folder_bytes, open_folder
from evidence import canonical, digest, journal
from evidence.errors import (
    BrokenChain,
    Conflict,
    IntegrityError,
    LimitExceeded,
    ReplayMismatch,
    StorageFull,
)
from evidence.pack import PackPaths
from evidence.records import LogLevel, RunState, TrainingEvent
from tests.cluster import small
from tests.cluster.small import Watch
from tests.evidence.disks import small_disk


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    made = small.running(tmp_path)
    yield made
    made.close()


@contextmanager
def reopened(path: Path) -> Iterator[RunFolder]:
    folder = open_folder(path, clock=Watch(), notary=small.notary(path.parent))
    yield folder
    folder.close()


def records(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the events, each held against the chain."""
    genesis = digest.of_file(folder.paths.config)
    return [line.record for line in journal.read(folder.paths.events, genesis=genesis)]


def seqs_of_metrics(folder: RunFolder) -> tuple[list[int], list[int]]:
    """Return the sequence numbers of the metrics in events.jsonl and in metrics.jsonl."""
    genesis = digest.of_file(folder.paths.config)
    copied = [line.record["seq"] for line in journal.read(folder.paths.metrics, genesis=genesis)]
    return [one["seq"] for one in records(folder) if one["kind"] == "metric"], copied


def named(folder: RunFolder, name: str) -> list[dict[str, Any]]:
    return [one for one in records(folder) if one.get("name") == name]


def whole_run(folder: RunFolder) -> None:
    small.report(folder, *small.training(folder.config, clock=Watch()))


def lose_and_start_again(folder: RunFolder) -> None:
    folder.log("trainer_lost", "killed", attempt=folder.summary.attempt + 1)


# -- making ------------------------------------------------------------------------------------


def test_a_new_run_is_queued_and_says_so_in_its_first_event(tmp_path: Path) -> None:
    made = create(
        tmp_path, small.RUN_ID, small.config(), clock=Watch(), notary=small.notary(tmp_path),
        idempotency_key_sha256=None,
    )  # fmt: skip
    first = records(made)[0]
    made.close()
    assert (first["state"], first["previous"], first["attempt"]) == ("queued", None, 0)


def test_a_full_disk_makes_no_folder(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        small.fill(disk, leave=small.PAGE)
        with pytest.raises(StorageFull):
            create(
                disk, small.RUN_ID, small.config(), clock=Watch(), notary=small.notary(disk),
                idempotency_key_sha256=None,
            )  # fmt: skip
        assert [path.name for path in disk.iterdir()] == ["filler"]


# -- who may report ------------------------------------------------------------------------------


def test_words_of_a_replaced_trainer_are_refused(folder: RunFolder) -> None:
    lose_and_start_again(folder)
    with pytest.raises(Conflict, match="attempt 1 may not report"):
        folder.report(small.metric(1), attempt=1, n=0, max_bytes=small.ROOMY)


def test_nobody_reports_to_a_run_that_does_not_run(folder: RunFolder) -> None:
    folder.move(RunState.INTERRUPTED, "a test")
    with pytest.raises(Conflict, match="is interrupted"):
        folder.report(small.metric(1), attempt=1, n=0, max_bytes=small.ROOMY)


def test_an_illegal_move_writes_nothing(folder: RunFolder) -> None:
    before = folder.paths.events.read_bytes()
    with pytest.raises(Conflict):
        folder.move(RunState.QUEUED, "a test")
    assert folder.paths.events.read_bytes() == before


def test_each_running_status_opens_an_attempt(folder: RunFolder) -> None:
    folder.move(RunState.INTERRUPTED, "a test")
    folder.move(RunState.QUEUED, "a test")
    folder.move(RunState.RUNNING, "a test", placement=small.PLACED)
    assert folder.summary.attempt == 2


def test_another_model_than_the_first_is_refused(folder: RunFolder) -> None:
    folder.write_description({"tensors": 1}, {"attempts": []})
    with pytest.raises(IntegrityError, match="another model"):
        folder.write_description({"tensors": 2}, {"attempts": []})


# -- twice ---------------------------------------------------------------------------------------


def test_an_event_sent_twice_is_written_once(folder: RunFolder) -> None:
    for _ in range(2):
        folder.report(small.metric(1), attempt=1, n=0, max_bytes=small.ROOMY)
    assert folder.summary.metric_count == 1


def test_an_event_sent_again_after_a_restart_is_written_once(folder: RunFolder) -> None:
    small.report(folder, small.metric(1), small.metric(2))
    with reopened(folder.paths.root) as again:
        small.report(again, small.metric(1), small.metric(2), small.metric(3))
        assert [one["step"] for one in records(again) if one["kind"] == "metric"] == [1, 2, 3]


def test_a_run_done_again_alike_adds_no_metric_and_no_checkpoint(folder: RunFolder) -> None:
    whole_run(folder)
    before = [one for one in records(folder) if one["kind"] in {"metric", "checkpoint"}]
    lose_and_start_again(folder)
    whole_run(folder)
    assert [one for one in records(folder) if one["kind"] in {"metric", "checkpoint"}] == before


def test_a_good_checkpoint_made_again_is_not_written_again(folder: RunFolder) -> None:
    whole_run(folder)
    file = folder.paths.checkpoints / "step_000002" / "model.safetensors"
    before = file.stat().st_ino
    lose_and_start_again(folder)
    whole_run(folder)
    assert file.stat().st_ino == before


def test_a_damaged_checkpoint_made_again_is_mended(folder: RunFolder) -> None:
    whole_run(folder)
    file = folder.paths.checkpoints / "step_000002" / "model.safetensors"
    good = file.read_bytes()
    file.write_bytes(good[:-1])
    lose_and_start_again(folder)
    whole_run(folder)
    assert file.read_bytes() == good


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_step_done_again_otherwise_fails_with_both_values(folder: RunFolder, split: str) -> None:
    small.report(folder, small.metric(1, split=split, loss=0.5))
    lose_and_start_again(folder)
    with pytest.raises(ReplayMismatch) as caught:
        small.report(folder, small.metric(1, split=split, loss=0.25))
    error = caught.value
    assert (error.field, error.expected, error.found) == ("loss", "0.5", "0.25")


def test_a_checkpoint_made_again_otherwise_fails(folder: RunFolder) -> None:
    small.report(folder, small.checkpoint(2))
    lose_and_start_again(folder)
    with pytest.raises(ReplayMismatch, match="model_digest"):
        small.report(folder, small.checkpoint(2, model_seed=1))


# -- how much is kept ----------------------------------------------------------------------------


def test_keep_last_deletes_bytes_and_keeps_the_record(tmp_path: Path) -> None:
    folder = small.running(tmp_path, keep_last=1)
    whole_run(folder)
    folder.close()
    assert [path.name for path in folder.paths.checkpoints.iterdir()] == ["step_000006"]
    assert (set(folder.summary.checkpoints), set(folder.summary.pruned)) == ({6}, {2, 4})


def test_pruning_is_an_event(tmp_path: Path) -> None:
    folder = small.running(tmp_path, keep_last=1)
    whole_run(folder)
    folder.close()
    steps = [one["step"] for one in records(folder) if one.get("action") == "pruned"]
    assert steps == [2, 4]


def test_a_pruned_checkpoint_made_again_stays_pruned(tmp_path: Path) -> None:
    folder = small.running(tmp_path, keep_last=1)
    whole_run(folder)
    lose_and_start_again(folder)
    whole_run(folder)
    folder.close()
    assert [path.name for path in folder.paths.checkpoints.iterdir()] == ["step_000006"]


def test_a_crash_between_the_record_of_a_pruning_and_the_deletion_is_completed(
    tmp_path: Path,
) -> None:
    folder = small.running(tmp_path, keep_last=1)
    whole_run(folder)
    folder.close()
    (folder.paths.checkpoints / "step_000004").mkdir()
    with reopened(folder.paths.root):
        assert [path.name for path in folder.paths.checkpoints.iterdir()] == ["step_000006"]


def test_a_run_that_grows_over_its_limit_is_stopped(folder: RunFolder) -> None:
    most = folder_bytes(folder.paths.root)
    with pytest.raises(LimitExceeded, match=f"the limit max_run_bytes = {most}"):
        folder.report(small.checkpoint(2), attempt=1, n=0, max_bytes=most)


def test_nothing_of_a_checkpoint_over_the_limit_is_left(folder: RunFolder) -> None:
    with pytest.raises(LimitExceeded):
        folder.report(small.checkpoint(2), attempt=1, n=0, max_bytes=10)
    assert list(folder.paths.checkpoints.iterdir()) == []


def test_mending_a_checkpoint_needs_no_room_for_two(folder: RunFolder) -> None:
    small.report(folder, small.checkpoint(2))
    (folder.paths.checkpoints / "step_000002" / "model.safetensors").unlink()
    lose_and_start_again(folder)
    size = sum(len(data) for data in small.checkpoint(2).files.values())
    most = folder.paths.events.stat().st_size + size
    folder.report(small.checkpoint(2), attempt=2, n=0, max_bytes=most)


# -- starting again ------------------------------------------------------------------------------


def test_a_fresh_run_starts_from_nothing(folder: RunFolder) -> None:
    assert folder.newest_good_checkpoint() == (0, {}, {})


def test_a_run_goes_on_from_its_newest_checkpoint(folder: RunFolder) -> None:
    whole_run(folder)
    step, files, damaged = folder.newest_good_checkpoint()
    assert (step, damaged) == (6, {})
    assert digest.of_bytes(files["model.safetensors"]) == (
        folder.summary.checkpoints[6].files["model.safetensors"].sha256
    )


def test_a_damaged_checkpoint_is_passed_over_and_named(folder: RunFolder) -> None:
    whole_run(folder)
    (folder.paths.checkpoints / "step_000006" / "state.safetensors").write_bytes(b"")
    step, _, damaged = folder.newest_good_checkpoint()
    assert step == 4
    assert "step_000006/state.safetensors" in damaged[6]


# -- crashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl"])
@pytest.mark.parametrize("left", [1, 40, -1])
def test_a_torn_line_is_cut_and_said(folder: RunFolder, name: str, left: int) -> None:
    small.report(folder, small.metric(1), small.metric(2))
    folder.close()
    path = folder.paths.root / name
    data = path.read_bytes()
    last = data[:-1].rfind(b"\n") + 1
    path.write_bytes(data[: last + left] if left > 0 else data[:left])
    with reopened(folder.paths.root) as again:
        said = named(again, "torn_line_cut")
        assert [one["message"].partition(":")[0] for one in said][:1] == [name]
        assert said[0]["level"] == LogLevel.WARNING


def test_after_any_cut_of_events_the_run_goes_on(folder: RunFolder) -> None:
    small.report(folder, small.metric(1), small.metric(2))
    folder.close()
    whole = folder.paths.events.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    for end in range(last, len(whole), 16):
        folder.paths.events.write_bytes(whole[:end])
        with reopened(folder.paths.root) as again:
            again.report(small.metric(2), attempt=1, n=1, max_bytes=small.ROOMY)
            events, metrics = seqs_of_metrics(again)
        assert (len(events), metrics) == (2, events), end


def test_a_metric_that_a_crash_kept_out_of_the_second_journal_is_completed(
    folder: RunFolder,
) -> None:
    small.report(folder, small.metric(1), small.metric(2))
    folder.close()
    data = folder.paths.metrics.read_bytes()
    folder.paths.metrics.write_bytes(data[: data[:-1].rfind(b"\n") + 1])
    with reopened(folder.paths.root) as again:
        events, metrics = seqs_of_metrics(again)
    assert metrics == events


def test_a_second_journal_that_is_ahead_of_the_first_is_written_again_and_said(
    folder: RunFolder,
) -> None:
    small.report(folder, small.metric(1), small.metric(2))
    folder.close()
    data = folder.paths.events.read_bytes()
    folder.paths.events.write_bytes(data[: data[:-1].rfind(b"\n") + 1])
    with reopened(folder.paths.root) as again:
        events, metrics = seqs_of_metrics(again)
        assert metrics == events
        assert len(named(again, "metrics_rewritten")) == 1


def test_a_second_journal_that_was_deleted_is_written_again(folder: RunFolder) -> None:
    small.report(folder, small.metric(1), small.metric(2))
    folder.close()
    folder.paths.metrics.unlink()
    with reopened(folder.paths.root) as again:
        events, metrics = seqs_of_metrics(again)
    assert metrics == events


def test_a_changed_event_is_never_mended(folder: RunFolder) -> None:
    small.report(folder, small.metric(1), small.metric(2))
    folder.close()
    folder.paths.events.write_bytes(folder.paths.events.read_bytes().replace(b"train", b"tests", 1))
    with pytest.raises(BrokenChain):
        open_folder(folder.paths.root, clock=Watch(), notary=small.notary(folder.paths.root.parent))


def test_a_checkpoint_that_a_crash_left_without_record_is_swept(folder: RunFolder) -> None:
    def crash(done: Phase) -> None:
        if done is Phase.RENAME:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.report(small.checkpoint(2), attempt=1, n=0, max_bytes=small.ROOMY, after=crash)
    assert (folder.paths.checkpoints / "step_000002").exists()
    with reopened(folder.paths.root):
        assert list(folder.paths.checkpoints.iterdir()) == []


def test_nothing_is_added_behind_the_end(folder: RunFolder) -> None:
    whole_run(folder)
    folder.move(RunState.SUCCEEDED, "a test")
    folder.complete_end()
    folder.close()
    with folder.paths.metrics.open("ab") as file:
        file.write(b"{")
    with reopened(folder.paths.root) as again:
        assert records(again)[-1]["kind"] == "end"


def test_a_missing_end_is_written_once(folder: RunFolder) -> None:
    folder.move(RunState.CANCELLED, "a test")
    for _ in range(2):
        with reopened(folder.paths.root) as again:
            again.complete_end()
    assert [one["kind"] for one in records(folder)].count("end") == 1


def test_a_run_that_goes_on_gets_no_end(folder: RunFolder) -> None:
    folder.complete_end()
    assert not folder.summary.has_ended


def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path) -> None:
    folder = small.running(tmp_path)
    small.report(folder, small.metric(1))
    folder.close()
    an_hour_ago = Watch(Watch().now - timedelta(hours=1))
    again = open_folder(
        folder.paths.root, clock=an_hour_ago, notary=small.notary(folder.paths.root.parent)
    )
    small.report(again, small.metric(2), first_n=1)
    again.move(RunState.INTERRUPTED, "a test")
    again.close()
    found = records(again)
    assert [one["seq"] for one in found] == [1, 2, 3, 4, 5]
    assert found[-1]["timestamp"] < found[0]["timestamp"]


# -- a full disk ---------------------------------------------------------------------------------


def acknowledged(folder: RunFolder, events: list[TrainingEvent]) -> int:
    """Report until the disk takes no more; return how many events were acknowledged."""
    with pytest.raises(StorageFull):
        small.report(folder, *events)
    return folder.summary.last_n + 1


@pytest.mark.parametrize("leave", [0, 1, 3, 4, 5, 6])
def test_a_full_disk_loses_nothing_acknowledged_and_the_run_goes_on(
    tmp_path: Path, leave: int
) -> None:
    with small_disk(tmp_path) as disk, closing(small.running(disk)) as folder:
        events = list(small.training(folder.config, clock=Watch()))
        filler = small.fill(disk, leave=leave * small.PAGE)
        taken = acknowledged(folder, events)
        before = records(folder)
        filler.unlink()
        lose_and_start_again(folder)
        small.report(folder, *events)
        assert records(folder)[: len(before)] == before
        assert [one["n"] for one in before if "n" in one] == list(range(taken))
        in_events, in_metrics = seqs_of_metrics(folder)
        assert in_metrics == in_events
        assert (len(in_events), set(folder.summary.checkpoints)) == (9, {2, 4, 6})


def test_a_metric_line_that_found_no_space_is_written_when_there_is(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk, closing(small.running(disk)) as folder:
        small.report(folder, small.metric(1))
        while -folder.paths.metrics.stat().st_size % small.PAGE > 300:
            small.report(
                folder, small.metric(folder.summary.last_n + 2), first_n=folder.summary.last_n + 1
            )
        small.pad(folder, leave=1000)
        filler = small.fill(disk)
        n = folder.summary.last_n + 1
        with pytest.raises(StorageFull, match=r"metrics\.jsonl"):
            small.report(folder, small.metric(n + 1), first_n=n)
        filler.unlink()
        small.report(folder, small.metric(n + 2), first_n=n + 1)
        in_events, in_metrics = seqs_of_metrics(folder)
        assert in_metrics == in_events


def test_a_checkpoint_whose_record_finds_no_space_leaves_no_bytes(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk, closing(small.running(disk)) as folder:
        small.pad(folder, leave=10)

        def fill_the_rest(done: Phase) -> None:
            if done is Phase.RENAME:
                small.fill(disk)

        with pytest.raises(StorageFull, match=r"events\.jsonl"):
            folder.report(
                small.checkpoint(2), attempt=1, n=0, max_bytes=small.ROOMY, after=fill_the_rest
            )
        assert list(folder.paths.checkpoints.iterdir()) == []


def test_a_status_that_finds_no_space_leaves_the_state(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk, closing(small.running(disk)) as folder:
        small.pad(folder, leave=10)
        small.fill(disk)
        with pytest.raises(StorageFull):
            folder.move(RunState.INTERRUPTED, "a test")
        assert folder.summary.state is RunState.RUNNING


# -- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "limit", "expected"),
    [(0, 2, [1, 2]), (2, 10, [3, 4]), (4, 10, []), (99, 5, []), (-3, 1, [1]), (1, 0, [])],
)
def test_lines_are_paged_by_sequence_number(
    folder: RunFolder, after: int, limit: int, expected: list[int]
) -> None:
    small.report(folder, small.metric(1), small.metric(2))
    lines = folder.event_lines(after=after, limit=limit)
    assert [canonical.decode_object(line)["seq"] for line in lines] == expected


def test_lines_are_the_bytes_of_the_file(folder: RunFolder) -> None:
    whole_run(folder)
    lines = folder.event_lines(after=0, limit=1000)
    assert b"".join(line + b"\n" for line in lines) == folder.paths.events.read_bytes()


def test_a_reopened_folder_knows_what_the_first_knew(folder: RunFolder) -> None:
    whole_run(folder)
    with reopened(folder.paths.root) as again:
        assert again.summary == folder.summary


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a").write_bytes(bytes(10))
    (tmp_path / "b").write_bytes(bytes(5))
    assert folder_bytes(tmp_path) == 15


def test_paths_are_those_of_a_pack(folder: RunFolder) -> None:
    assert folder.paths.events == PackPaths(folder.paths.root).events


def test_an_attempt_with_other_kernels_is_told(folder: RunFolder) -> None:
    told = small.described(folder.config)
    for digests in ("a" * 64, "a" * 64, "b" * 64):
        told["provenance"]["runtime"]["kernels"] = {"digest": digests}
        folder.write_description(told["model"], told["provenance"])
    lines = [canonical.decode_object(line) for line in folder.event_lines(after=0, limit=99)]
    (changed,) = [line for line in lines if line.get("name") == "kernels_changed"]
    assert changed["message"] == (
        f"this attempt computes with kernels {'b' * 64}, the last one with {'a' * 64}"
    )
