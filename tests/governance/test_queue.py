"""The durable queue: no acknowledged record is lost, whatever happens to its files."""

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from evidence.errors import IntegrityError, StorageFull, TooLarge
from evidence.signing import SigningKey, sign_statement
from governance.proposals import backups
from governance.proposals.backups import Keeping
from governance.proposals.record import make
from governance.proposals.recovery import CURRENT
from governance.proposals.schema import Side
from tests.cluster.small import Watch
from tests.governance.proposing import SPARE, Logged, proposal, queue, sums, vote

SMALL = Keeping(rotate_bytes=4_000, backups=2, backup_every_s=0, backup_max_age_s=10**9)
"""Begins another file after every few records, and copies at each."""


def filled(home: Path, log: Logged, count: int, *, keeping: Keeping = SPARE) -> list[str]:
    """Append proposals and votes by turns; return the digests."""
    made = queue(home, log, keeping=keeping)
    for number in range(count):
        body = vote(Side.AI, number=number) if number % 2 else proposal(number + 1)
        made.append(body)
    return sums(made)


def current(home: Path) -> Path:
    return home / "proposals" / CURRENT


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    log = Logged()
    before = filled(tmp_path, log, 6)
    again = queue(tmp_path, log)
    assert (sums(again), again.recovered) == (before, None)
    assert [one.number for one in again.records] == [1, 2, 3, 4, 5, 6]


def test_every_record_is_an_entry_of_the_log_byte_for_byte(tmp_path: Path) -> None:
    log = Logged()
    filled(tmp_path, log, 4)
    assert b"".join(entry + b"\n" for entry in log.entries) == current(tmp_path).read_bytes()


def test_what_a_crash_kept_out_of_the_log_is_logged_at_the_next_start(tmp_path: Path) -> None:
    log = Logged()
    before = filled(tmp_path, log, 3)
    log.entries.pop()
    assert sums(queue(tmp_path, log)) == before
    assert len(log.entries) == 3


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 41])
def test_a_record_that_was_not_acknowledged_is_cut_at_every_byte(tmp_path: Path, step: int) -> None:
    log = Logged()
    filled(tmp_path, log, 2)
    whole = current(tmp_path).read_bytes()
    queue(tmp_path, log).append(vote())
    torn = current(tmp_path).read_bytes()
    log.entries.pop()  # it had not come so far
    for end in range(len(whole), len(torn), step):
        current(tmp_path).write_bytes(torn[:end])
        again = queue(tmp_path, log)
        assert len(again.records) == 2
        assert current(tmp_path).read_bytes() == whole
    queue(tmp_path, log).append(proposal(10))
    assert len(queue(tmp_path, log).records) == 3


def test_acknowledged_records_come_back_from_the_log_at_every_cut(tmp_path: Path) -> None:
    log = Logged()
    before = filled(tmp_path, log, 3, keeping=Keeping(backup_every_s=10**9))
    shutil.rmtree(tmp_path / "proposals" / backups.FOLDER)
    whole = current(tmp_path).read_bytes()
    for end in range(0, len(whole), 61):
        current(tmp_path).write_bytes(whole[:end])
        again = queue(tmp_path, log)
        assert sums(again) == before
        assert again.recovered is not None
        assert again.recovered.from_files + again.recovered.from_log == 3
        assert current(tmp_path).read_bytes() == whole


@pytest.mark.parametrize("place", [0.01, 0.2, 0.5, 0.8, 0.99])
def test_a_flipped_byte_is_found_and_the_record_restored(tmp_path: Path, place: float) -> None:
    log = Logged()
    before = filled(tmp_path, log, 5)
    data = bytearray(current(tmp_path).read_bytes())
    data[int(len(data) * place)] ^= 1
    current(tmp_path).write_bytes(bytes(data))
    again = queue(tmp_path, log)
    assert sums(again) == before
    assert again.recovered is not None
    (aside,) = again.recovered.set_aside
    assert (tmp_path / "proposals" / aside).read_bytes() == bytes(data)
    assert queue(tmp_path, log).recovered is None
    assert queue(tmp_path, log).last_recovery() is not None


def test_a_folder_that_is_gone_comes_back_from_the_log_alone(tmp_path: Path) -> None:
    log = Logged()
    before = filled(tmp_path, log, 5)
    shutil.rmtree(tmp_path / "proposals")
    again = queue(tmp_path, log)
    assert sums(again) == before
    assert again.recovered is not None
    assert (again.recovered.from_backups, again.recovered.from_log) == (0, 5)


def test_a_good_copy_is_taken_before_the_log(tmp_path: Path) -> None:
    log = Logged()
    before = filled(tmp_path, log, 5, keeping=Keeping(backup_every_s=0))
    current(tmp_path).write_bytes(b"garbage\n")
    again = queue(tmp_path, log)
    assert sums(again) == before
    assert again.recovered is not None
    assert (again.recovered.from_backups, again.recovered.from_log) == (5, 0)


def test_a_damaged_copy_is_passed_over_for_an_older_good_one(tmp_path: Path) -> None:
    log = Logged()
    before = filled(tmp_path, log, 5, keeping=Keeping(backup_every_s=0))
    newest, older, *others = backups.listed(tmp_path / "proposals")
    for one in (newest, *others):
        one.path.write_bytes(b"x" + one.path.read_bytes().replace(b"payload", b"Payload"))
    current(tmp_path).unlink()
    again = queue(tmp_path, log)
    assert sums(again) == before
    assert again.recovered is not None
    assert (again.recovered.from_backups, again.recovered.from_log) == (older.last, 1)


def test_files_are_rotated_and_read_as_one(tmp_path: Path) -> None:
    log = Logged()
    before = filled(tmp_path, log, 12, keeping=SMALL)
    assert len(list((tmp_path / "proposals").glob("proposals-*.jsonl"))) > 2
    again = queue(tmp_path, log, keeping=SMALL)
    assert (sums(again), again.recovered) == (before, None)


@pytest.mark.parametrize("damage", ["gone", "flipped", "cut", "swapped"])
def test_a_damaged_file_in_the_middle_is_restored(tmp_path: Path, damage: str) -> None:
    log = Logged()
    before = filled(tmp_path, log, 12, keeping=SMALL)
    first, second, *_ = sorted((tmp_path / "proposals").glob("proposals-*.jsonl"))
    data = second.read_bytes()
    match damage:
        case "gone":
            second.unlink()
        case "flipped":
            second.write_bytes(data[:50] + b"!" + data[51:])
        case "cut":
            second.write_bytes(data[:-100])
        case _:
            second.write_bytes(first.read_bytes())
    again = queue(tmp_path, log, keeping=SMALL)
    assert sums(again) == before
    assert again.recovered is not None
    assert again.recovered.from_backups > 0
    again.append(proposal(99))
    assert sums(queue(tmp_path, log, keeping=SMALL)) == sums(again)


def test_copies_are_kept_by_count_and_age_but_the_newest_of_each_file(tmp_path: Path) -> None:
    log = Logged()
    filled(tmp_path, log, 12, keeping=SMALL)
    found = backups.listed(tmp_path / "proposals")
    per_file = [sum(one.first == first for one in found) for first in {one.first for one in found}]
    assert max(per_file) <= SMALL.backups
    clock = Watch()
    old = clock().timestamp() - 100
    for one in found:
        os.utime(one.path, (old, old))
    keeping = Keeping(backup_max_age_s=10)
    gone = backups.prune(tmp_path / "proposals", keeping, now=clock())
    left = backups.listed(tmp_path / "proposals")
    assert len(gone) + len(left) == len(found)
    assert {one.first for one in left} == {one.first for one in found}
    assert len(left) == len({one.first for one in left})


def test_a_copy_is_made_when_the_newest_is_old_enough(tmp_path: Path) -> None:
    folder = tmp_path / "proposals"
    folder.mkdir()
    keeping = Keeping(backup_every_s=60)
    clock = Watch()
    assert backups.is_due(folder, keeping, now=clock())
    backups.make(folder, b"x\n", first=1, last=1, now=clock.now)
    assert not backups.is_due(folder, keeping, now=clock.now + timedelta(seconds=59))
    assert backups.is_due(folder, keeping, now=clock.now + timedelta(seconds=60))


def test_a_record_of_another_key_is_not_believed(tmp_path: Path) -> None:
    log = Logged()
    before = filled(tmp_path, log, 2)
    stranger = SigningKey.open_or_create(tmp_path / "stranger.key")
    last = queue(tmp_path, log).records[-1]
    forged = make(
        vote(), number=3, previous=last.sha256, sign=lambda said: sign_statement(stranger, said)
    )
    with current(tmp_path).open("ab") as file:
        file.write(forged.envelope + b"\n")
    again = queue(tmp_path, log)
    assert sums(again) == before
    assert again.recovered is not None
    assert "none of the service's" in again.recovered.cause


def test_a_queue_that_is_not_the_logs_is_refused(tmp_path: Path) -> None:
    log, other = Logged(), Logged()
    filled(tmp_path, log, 2)
    shutil.rmtree(tmp_path / "proposals")
    queue(tmp_path, other).append(proposal(77))
    with pytest.raises(IntegrityError, match="not the one in the signed log"):
        queue(tmp_path, log)


def test_two_records_that_were_swapped_are_put_back(tmp_path: Path) -> None:
    log = Logged()
    before = filled(tmp_path, log, 4)
    lines = current(tmp_path).read_bytes().splitlines(keepends=True)
    lines[1], lines[2] = lines[2], lines[1]
    current(tmp_path).write_bytes(b"".join(lines))
    assert sums(queue(tmp_path, log)) == before


def test_a_record_that_a_full_log_refused_is_logged_with_the_next(tmp_path: Path) -> None:
    log = Logged()
    made = queue(tmp_path, log)
    enter, made._enter = made._enter, full
    with pytest.raises(StorageFull):
        made.append(proposal(1))
    assert made.place_of(made.records[0]) is None
    made._enter = enter
    made.append(proposal(2))
    assert [made.place_of(one) for one in made.records] == [0, 1]
    assert sums(queue(tmp_path, log)) == sums(made)


def full(_: object) -> list[int]:
    raise StorageFull("log: the disk is full")


def test_a_record_that_is_too_large_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    log = Logged()
    made = queue(tmp_path, log)
    digests = {f"file{n:04}": "0" * 64 for n in range(1000)}
    training = {**proposal().training.model_dump(mode="json"), "dataset_digests": digests}
    with pytest.raises(TooLarge, match="32768"):
        made.append(proposal(1, training=training))
    assert (made.records, current(tmp_path).exists()) == ([], False)
