"""Signed records as they come to be: before step 1, at each checkpoint, and after crashes."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cluster import sealing
from cluster.run_folder import RunFolder, open_folder
from evidence import binding, digest, journal
from evidence.archive import open_pack
from evidence.errors import ReplayMismatch, StorageFull
from evidence.report import Result, as_text
from evidence.signing import unverified_statement
from evidence.verify import verify
from tests.cluster import bound, small
from tests.cluster.small import Watch
from tests.evidence.disks import small_disk


def said(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the predicates of records.jsonl as it is on the disk."""
    lines = folder.paths.records.read_bytes().splitlines()
    return [unverified_statement(line)["predicate"] for line in lines]


def reopened(folder: RunFolder) -> RunFolder:
    runs = folder.paths.root.parent
    folder.close()
    return bound.keep(open_folder(folder.paths.root, clock=Watch(), notary=small.notary(runs)))


def assert_passes(folder: RunFolder) -> None:
    """Seal an ended run and verify it."""
    sealing.seal_run(folder, small.notary(folder.paths.root.parent))
    with open_pack(folder.paths.root) as pack:
        report = verify(pack, required=["records.checkpoints", "log.inclusion"])
    assert report.exit_code == 0, as_text(report)


def test_a_run_is_committed_to_before_its_first_metric(tmp_path: Path) -> None:
    folder = bound.begun(tmp_path)
    (commitment,) = said(folder)
    events = list(journal.read(folder.paths.events, genesis=digest.of_file(folder.paths.config)))
    assert commitment["events"] == {"seq": 2, "sha256": events[1].sha256}
    assert [line.record["kind"] for line in events] == ["status", "status", "log"]
    assert commitment["order_digest"] == small.beginning(folder.config).order_digest
    assert commitment["limits"]["max_steps"] == 10_000


def test_the_log_has_each_record_when_it_is_written(tmp_path: Path) -> None:
    folder = bound.trained(tmp_path)
    lines = folder.paths.records.read_bytes().splitlines()
    assert len(lines) == 4
    assert small.notary(tmp_path).enter(lines) == [0, 1, 2, 3]


def test_a_second_attempt_must_begin_with_the_same(tmp_path: Path) -> None:
    folder = bound.begun(tmp_path)
    folder.log("trainer_lost", "killed", attempt=2)
    small.report(folder, small.beginning(folder.config))
    assert len(said(folder)) == 1
    other = small.beginning(folder.config).model_copy(update={"order_digest": "0" * 64})
    folder.log("trainer_lost", "killed", attempt=3)
    with pytest.raises(ReplayMismatch, match="order_digest"):
        small.report(folder, other)


def test_a_run_begun_without_a_commitment_goes_on_without_one(tmp_path: Path) -> None:
    folder = bound.keep(small.running(tmp_path))
    events = list(small.training(folder.config, clock=Watch()))
    small.report(folder, *events[:4])
    folder.log("trainer_lost", "killed", attempt=2)
    small.report(folder, small.beginning(folder.config), *events[4:])
    assert not folder.paths.records.exists()


@pytest.mark.parametrize("cut", [1, 40, "line", "zeros"])
def test_records_that_a_crash_took_are_made_again_byte_for_byte(
    tmp_path: Path, cut: int | str
) -> None:
    folder = bound.trained(tmp_path)
    path = folder.paths.records
    whole = path.read_bytes()
    last = len(whole.splitlines()[-1]) + 1
    if cut == "zeros":
        path.write_bytes(whole[:-last] + bytes(last))
    else:
        path.write_bytes(whole[: -(last if cut == "line" else int(cut))])
    again = reopened(folder)
    assert path.read_bytes() == whole
    bound.end(again)
    assert_passes(again)


def test_a_lost_commitment_is_not_made_up(tmp_path: Path) -> None:
    """Behind the first step nobody can commit any more: the run is one without a commitment."""
    folder = bound.trained(tmp_path)
    folder.paths.records.unlink()
    again = reopened(folder)
    assert not again.paths.records.exists()
    again.log("trainer_lost", "killed", attempt=2)
    small.report(again, small.beginning(again.config))
    assert not again.paths.records.exists()


@pytest.mark.parametrize("pages", range(9))
def test_a_full_disk_owes_records_and_the_next_attempt_pays(tmp_path: Path, pages: int) -> None:
    with small_disk(tmp_path, size="128k") as disk, closing(bound):
        folder = bound.begun(disk)
        events = list(small.training(folder.config, clock=Watch()))
        small.report(folder, *events[:3], first_n=1)
        filler = small.fill(disk, leave=pages * small.PAGE)
        with pytest.raises(StorageFull):
            small.report(folder, *events[3:], first_n=4)
        filler.unlink()
        bound.begin_again(folder, "the disk was full")
        reached = max([0, *folder.summary.checkpoints])
        rest = small.training(folder.config, clock=Watch(), after=reached)
        small.report(folder, *rest, first_n=1)
        assert [one.get("step") for one in said(folder)] == [None, 2, 4, 6]
        bound.end(folder)
        assert_passes(folder)


def test_a_run_that_was_cancelled_in_the_queue_has_no_records(tmp_path: Path) -> None:
    folder = small.running(tmp_path)
    folder.close()
    with open_pack(folder.paths.root) as pack:
        checks = {check.id: check for check in verify(pack).checks}
    assert checks["records.commitment"].result is Result.NOT_CHECKED
    assert binding.COMMITMENT != binding.CHECKPOINT
