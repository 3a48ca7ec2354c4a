"""Checkpoint folders are there whole or not at all, whatever happens while they are written."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import checkpoints
from cluster.checkpoints import Phase
from evidence.errors import DigestMismatch, IntegrityError, StorageFull
from evidence.files import TEMPORARY_PREFIX
from evidence.records import CHECKPOINT_FILES
from tests.cluster import small
from tests.evidence.disks import small_disk

ROOT = Path(__file__).parents[2]
WHOLE_AFTER = {Phase.TEMP: False, Phase.FSYNC: False, Phase.DIGEST: False, Phase.RENAME: True}


def killed_after(folder: Path, phase: Phase) -> None:
    command = [sys.executable, "-m", "tests.cluster.small", str(folder), phase]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    taken = small.checkpoint(2)
    checkpoints.write(tmp_path, taken)
    assert checkpoints.read(tmp_path, taken.record) == taken.files


def test_the_phases_come_in_their_order(tmp_path: Path) -> None:
    done: list[Phase] = []
    checkpoints.write(tmp_path, small.checkpoint(2), after=done.append)
    assert done == list(Phase)


@pytest.mark.parametrize("phase", list(Phase))
def test_a_kill_after_any_phase_leaves_a_whole_checkpoint_or_none(
    tmp_path: Path, phase: Phase
) -> None:
    killed_after(tmp_path, phase)
    whole = checkpoints.is_whole(tmp_path, small.checkpoint(2).record)
    assert (whole, (tmp_path / "step_000002").exists()) == (WHOLE_AFTER[phase],) * 2


def test_the_remains_of_a_kill_are_swept(tmp_path: Path) -> None:
    killed_after(tmp_path, Phase.FSYNC)
    checkpoints.sweep(tmp_path, keep=[])
    assert list(tmp_path.iterdir()) == []


def test_the_remains_of_a_kill_do_not_hinder_the_next_try(tmp_path: Path) -> None:
    killed_after(tmp_path, Phase.TEMP)
    taken = small.checkpoint(2)
    checkpoints.write(tmp_path, taken)
    assert checkpoints.read(tmp_path, taken.record) == taken.files


def test_sweeping_spares_the_checkpoints_that_have_a_record(tmp_path: Path) -> None:
    for step in (2, 4):
        checkpoints.write(tmp_path, small.checkpoint(step))
    assert checkpoints.sweep(tmp_path, keep=[2]) == ["step_000004"]
    assert [path.name for path in tmp_path.iterdir()] == ["step_000002"]


def test_bytes_that_change_on_their_way_to_the_disk_are_refused(tmp_path: Path) -> None:
    def spoil(done: Phase) -> None:
        if done is Phase.FSYNC:
            file = tmp_path / f"{TEMPORARY_PREFIX}step_000002" / CHECKPOINT_FILES[1]
            file.write_bytes(file.read_bytes()[:-1] + b"\x7f")

    with pytest.raises(DigestMismatch, match="optimizer"):
        checkpoints.write(tmp_path, small.checkpoint(2), after=spoil)
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_not_the_recorded_ones_are_refused(tmp_path: Path) -> None:
    taken, other = small.checkpoint(2), small.checkpoint(2, model_seed=1)
    with pytest.raises(DigestMismatch):
        checkpoints.write(tmp_path, replace(taken, files=other.files))


def test_a_checkpoint_without_one_of_its_files_is_refused(tmp_path: Path) -> None:
    taken = small.checkpoint(2)
    two = {name: taken.files[name] for name in CHECKPOINT_FILES[:2]}
    with pytest.raises(IntegrityError, match="a checkpoint has the files"):
        checkpoints.write(tmp_path, replace(taken, files=two))


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_one_flipped_bit_is_not_read(tmp_path: Path, name: str) -> None:
    taken = small.checkpoint(2)
    file = checkpoints.write(tmp_path, taken) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(DigestMismatch, match=name):
        checkpoints.read(tmp_path, taken.record)


def test_a_missing_file_is_not_read_around(tmp_path: Path) -> None:
    taken = small.checkpoint(2)
    (checkpoints.write(tmp_path, taken) / CHECKPOINT_FILES[2]).unlink()
    with pytest.raises(IntegrityError, match="state"):
        checkpoints.read(tmp_path, taken.record)


def test_a_removed_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    checkpoints.write(tmp_path, small.checkpoint(2))
    checkpoints.remove(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_of_the_checkpoint(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        (disk / "filler").write_bytes(bytes(60 << 10))
        with pytest.raises(StorageFull):
            checkpoints.write(disk, small.checkpoint(2))
        assert [path.name for path in disk.iterdir()] == ["filler"]
