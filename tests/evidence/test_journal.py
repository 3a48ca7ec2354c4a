import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evidence import digest, journal
from evidence.errors import BrokenChain, InvalidInput, StorageFull
from evidence.journal import Journal, read, recover
from tests.evidence.disks import small_disk

RECORDS = st.lists(
    st.dictionaries(
        st.text(min_size=1, max_size=5).filter(lambda name: name not in {"v", "seq", "prev"}),
        st.none() | st.text(max_size=20) | st.floats(allow_nan=False, allow_infinity=False),
        max_size=4,
    ),
    max_size=8,
)


def write(path: Path, records: list[dict[str, Any]]) -> None:
    with Journal(path, genesis=digest.ZERO) as writer:
        for record in records:
            writer.append(record)


def bodies(path: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.record.items() if name not in {"v", "seq", "prev"}}
        for line in read(path, genesis=digest.ZERO)
    ]


@given(RECORDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_appended_is_read_again(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    path = tmp_path / "j.jsonl"
    path.unlink(missing_ok=True)
    write(path, records)
    assert bodies(path) == records


def test_the_first_line_follows_from_genesis_and_each_from_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, [{"a": 1}, {"a": 2}])
    first, second = path.read_bytes().splitlines()
    assert first == b'{"a":1,"prev":"%b","seq":1,"v":1}' % (b"0" * 64)
    assert digest.of_bytes(first).encode() in second


def test_a_journal_goes_on_after_it_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, [{"a": 1}])
    write(path, [{"a": 2}])
    assert bodies(path) == [{"a": 1}, {"a": 2}]


def test_a_line_torn_at_any_byte_is_cut_and_said(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, [{"a": 1}, {"a": 2}, {"text": "\u00e9 \u20ac"}])
    whole = path.read_bytes()
    start = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(start + 1, len(whole)):
        path.write_bytes(whole[:end])
        torn = recover(path)
        assert torn is not None
        assert (torn.offset, torn.data) == (start, whole[start:end])
        assert path.read_bytes() == whole[:start]


def test_a_journal_that_is_whole_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, [{"a": 1}])
    before = path.read_bytes()
    assert recover(path) is None
    assert path.read_bytes() == before


def test_an_empty_journal_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.touch()
    assert recover(path) is None
    assert bodies(path) == []


@pytest.mark.parametrize("tail", [b"\0" * 40, b"\0" * 40 + b"\n", b'{"a":1', b"\xff\n"])
def test_what_a_crash_of_the_machine_leaves_is_cut(tail: bytes, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, [{"a": 1}])
    before = path.read_bytes()
    path.write_bytes(before + tail)
    torn = recover(path)
    assert torn is not None
    assert path.read_bytes() == before


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_changed_line_is_found(number: int, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}])
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = lines[number].replace(b'"a":', b'"a":1')
    path.write_bytes(b"".join(lines))
    with pytest.raises(BrokenChain, match=f"line {number + 2}"):
        bodies(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"prev":"x","seq":2,"v":1}', "stores prev"),
        (b'{"prev": "x","seq":2,"v":1}', "canonical"),
        (b'{"prev":"x","seq":2,"v":2}', "format version 1"),
        (b"[]", "found list"),
        (b"", "expected JSON"),
    ],
)
def test_a_strange_line_is_refused(line: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, [{"a": 1}])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(BrokenChain, match=words):
        bodies(path)


@pytest.mark.parametrize("seq", [1, 0, True, "2", None])
def test_numbers_must_grow(seq: object, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path, genesis=digest.ZERO, owns_sequence=False) as writer:
        writer.append({"seq": 1})
        with pytest.raises(InvalidInput):
            writer.append({"seq": seq} if seq is not True else {})


def test_an_owner_refuses_a_journal_with_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path, genesis=digest.ZERO, owns_sequence=False) as writer:
        writer.append({"seq": 1})
        writer.append({"seq": 3})
    with pytest.raises(BrokenChain, match="expected seq 2, found 3"):
        Journal(path, genesis=digest.ZERO)


def test_a_line_over_the_limit_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path, genesis=digest.ZERO) as writer:
        with pytest.raises(InvalidInput, match="at most"):
            writer.append({"a": "x" * journal.MAX_LINE_BYTES})
        writer.append({"a": 1})
    assert bodies(path) == [{"a": 1}]


def test_a_line_of_the_largest_size_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    overhead = len(b'{"a":"","prev":"","seq":1,"v":1}') + 64
    write(path, [{"a": "x" * (journal.MAX_LINE_BYTES - overhead)}])
    assert len(path.read_bytes()) == journal.MAX_LINE_BYTES + 1
    assert len(bodies(path)) == 1


def test_a_large_float_does_not_make_a_line_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, [{"loss": 1e20}, {"loss": 2.0**53}])
    assert bodies(path) == [{"loss": 1e20}, {"loss": 2.0**53}]


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        path = disk / "j.jsonl"
        with Journal(path, genesis=digest.ZERO) as writer:
            writer.append({"a": 1})
            (disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(disk).free - 4096))
            before = path.read_bytes()
            with pytest.raises(StorageFull):
                writer.append({"a": "x" * 20_000})
            assert path.read_bytes() == before
            (disk / "ballast").unlink()
            writer.append({"a": 2})
        assert bodies(path) == [{"a": 1}, {"a": 2}]
