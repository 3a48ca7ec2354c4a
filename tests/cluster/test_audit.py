"""The service journal: one chain over restarts; a torn tail is cut and said."""

from pathlib import Path

import pytest

from cluster.audit import STARTED, AuditJournal
from evidence import canonical, digest, journal
from evidence.errors import BrokenChain
from tests.cluster.small import Watch


def opened(path: Path) -> AuditJournal:
    return AuditJournal(path, clock=Watch())


def written(path: Path) -> Path:
    audit = opened(path)
    audit.append(STARTED, who="service", session="one")
    audit.append("dataset.fetched", who="api", dataset="mnist")
    audit.append("run.status", who="api", run_id="7f3a91c20b1d")
    audit.close()
    return path


def test_lines_of_two_lives_are_one_chain(tmp_path: Path) -> None:
    audit = opened(written(tmp_path / "audit.jsonl"))
    audit.append("run.status", who="service", run_id="7f3a91c20b1d")
    audit.close()
    lines = journal.read(tmp_path / "audit.jsonl", genesis=digest.ZERO)
    assert [line.record["seq"] for line in lines] == [1, 2, 3, 4]


def test_a_line_names_when_who_and_what(tmp_path: Path) -> None:
    audit = opened(written(tmp_path / "audit.jsonl"))
    record = canonical.decode_object(audit.lines(after=1, limit=1)[0])
    audit.close()
    assert {name: record[name] for name in ("timestamp", "who", "action", "dataset")} == {
        "timestamp": "2026-01-31T12:00:00.500Z",
        "who": "api",
        "action": "dataset.fetched",
        "dataset": "mnist",
    }


@pytest.mark.parametrize(("after", "expected"), [(-5, [1, 2]), (0, [1, 2]), (2, [3]), (9, [])])
def test_lines_are_paged_by_sequence_number(
    tmp_path: Path, after: int, expected: list[int]
) -> None:
    audit = opened(written(tmp_path / "audit.jsonl"))
    page = audit.lines(after=after, limit=2)
    audit.close()
    assert [canonical.decode_object(line)["seq"] for line in page] == expected


def test_a_tail_torn_at_any_byte_is_cut_and_said(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.jsonl").read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    torn = tmp_path / "torn.jsonl"
    for end in range(last + 1, len(whole)):
        torn.write_bytes(whole[:end])
        audit = opened(torn)
        audit.close()
        lines = [line.record for line in journal.read(torn, genesis=digest.ZERO)]
        assert [line["action"] for line in lines[2:]] == ["service.torn_line_cut"], end
        assert lines[2]["offset"] == last


def test_a_tail_that_is_whole_is_not_touched(tmp_path: Path) -> None:
    path = written(tmp_path / "audit.jsonl")
    before = path.read_bytes()
    opened(path).close()
    assert path.read_bytes() == before


def test_a_changed_line_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "audit.jsonl")
    path.write_bytes(path.read_bytes().replace(b"mnist", b"tsinm"))
    with pytest.raises(BrokenChain):
        opened(path)


def test_the_last_session_is_that_of_the_newest_start(tmp_path: Path) -> None:
    audit = opened(written(tmp_path / "audit.jsonl"))
    audit.append(STARTED, who="service", session="two")
    audit.append("run.status", who="service")
    found = audit.last_session()
    audit.close()
    assert found == "two"


def test_a_new_journal_knows_no_session(tmp_path: Path) -> None:
    audit = opened(tmp_path / "audit.jsonl")
    found = audit.last_session()
    audit.close()
    assert found is None
