"""Scanning files: records, offsets, pieces, processes, and what a report keeps."""

import json
from pathlib import Path

import pytest

from evidence.errors import ConfigError, InvalidInput
from governance.pii import records
from governance.pii.entities import Entity
from governance.pii.scan import Found, read_or_make_key, report_on, scan

MAIL, PHONE = "a.person@example.org", "212-555-0123"
KEY = bytes(32)


def found(path: Path, **options: object) -> list[Found]:
    return [one for piece in scan(path, **options) for one in piece.found]  # type: ignore[arg-type]  # as named there


def places(path: Path, **options: object) -> list[tuple[str, int, int, int]]:
    return [(one.type.value, one.record, one.start, one.end) for one in found(path, **options)]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_record_of_plain_text_is_a_line(tmp_path: Path, end: str) -> None:
    path = written(tmp_path, "a.txt", end.join(["", f"\U0001f600 {MAIL}", "", f"call {PHONE}"]))
    assert places(path) == [
        ("EMAIL_ADDRESS", 1, 2, 2 + len(MAIL)),
        ("PHONE_NUMBER", 3, 5, 5 + len(PHONE)),
    ]


def test_a_finding_over_the_end_of_a_line_is_told_for_each(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "to PSC 3117, Box 0609\n  APO AA 44332\nend")
    assert places(path) == [("STREET_ADDRESS", 0, 3, 21), ("STREET_ADDRESS", 1, 2, 14)]


def test_a_record_of_a_list_is_an_element_with_all_its_lines(tmp_path: Path) -> None:
    texts = [{"full_text": f"one\ntwo {MAIL}", "more": [1]}, {"full_text": ""}, {"text": PHONE}]
    path = written(tmp_path, "a.json", json.dumps(texts))
    assert places(path) == [("EMAIL_ADDRESS", 0, 8, 8 + len(MAIL)), ("PHONE_NUMBER", 2, 0, 12)]


def test_a_record_of_json_lines_is_a_line(tmp_path: Path) -> None:
    lines = [json.dumps({"full_text": f"{MAIL}"}), "", json.dumps(f"x {PHONE}")]
    path = written(tmp_path, "a.jsonl", "\n".join(lines))
    assert places(path) == [("EMAIL_ADDRESS", 0, 0, len(MAIL)), ("PHONE_NUMBER", 2, 2, 14)]


def test_words_of_one_record_say_nothing_about_the_next(tmp_path: Path) -> None:
    texts = [{"full_text": "his phone:"}, {"full_text": "780 6326"}]
    assert places(written(tmp_path, "a.json", json.dumps(texts))) == []


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_pieces_and_processes_change_nothing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{i} of {MAIL} {'and so on ' * (i % 7)}" for i in range(3000)]
    as_json = {
        "a.txt": "\n".join(texts),
        "a.jsonl": "\n".join(json.dumps({"text": text}) for text in texts),
        "a.json": json.dumps([{"full_text": text} for text in texts]),
    }
    path = written(tmp_path, name, as_json[name])
    whole = places(path, processes=1)
    assert len(whole) == 3000
    assert places(path, processes=2) == whole
    monkeypatch.setattr(records, "PIECE", 500)
    monkeypatch.setattr(records, "_READ", 333)
    assert places(path, processes=1) == whole


def test_a_line_that_has_no_end_is_cut_at_a_blank_and_keeps_its_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{MAIL} and so on " * 2000
    path = written(tmp_path, "a.txt", text)
    monkeypatch.setattr(records, "PIECE", 300)
    monkeypatch.setattr(records, "_READ", 256)
    for one in found(path, processes=1):
        assert (one.record, text[one.start : one.end]) == (0, MAIL)
    assert len(found(path, processes=1)) == 2000


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.json", b"{}", "a JSON list"),
        ("a.json", b"", "a JSON list"),
        ("a.json", b"[1]", "full_text"),
        ("a.json", b'[{"full_text": "a"}', "a comma or the end"),
        ("a.json", b'[{"full_text": "a"} {"full_text": "b"}]', "a comma or the end"),
        ("a.json", b'[{"full_text": "a', "record 0"),
        ("a.json", b"[" * 100_000, "record 0"),
        ("a.jsonl", b'{"text": "a"}\n{"text"\n', "record 1"),
        ("a.jsonl", b'{"other": "a"}\n', "full_text"),
        ("a.txt", b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_what_is_not_what_its_name_says_is_refused(
    tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=why):
        found(path)


def test_an_empty_list_or_text_has_nothing(tmp_path: Path) -> None:
    assert found(written(tmp_path, "a.json", " [ ] ")) == []
    assert found(written(tmp_path, "a.txt", "")) == []


def test_a_report_counts_all_and_keeps_no_text(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", f"{MAIL}\n{MAIL}\n{PHONE}")
    report = report_on("mine", {"a.txt": path}, key=KEY, now="2026-01-01T00:00:00.000Z")
    assert report.counts(least_score=0) == {Entity.EMAIL_ADDRESS: 2, Entity.PHONE_NUMBER: 1}
    assert (report.records, report.is_fresh) == (3, True)
    kept = report.model_dump_json()
    assert MAIL not in kept
    assert PHONE not in kept
    first, again, other = [place.hash for place in report.findings]
    assert first == again != other


def test_a_hash_cannot_be_made_without_the_key(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", MAIL)
    hashes = {one.hash for key in (KEY, b"1" * 32) for one in found(path, key=key)}
    assert len(hashes) == 2


def test_the_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "pii.key"
    key = read_or_make_key(path)
    assert read_or_make_key(path) == key
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="32 bytes"):
        read_or_make_key(path)
