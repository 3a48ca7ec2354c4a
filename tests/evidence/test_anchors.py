"""The audit journal held against its anchors in the log."""

from pathlib import Path

import pytest

from evidence import digest
from evidence.anchors import Anchor, Anchored, anchor_statement, verify
from evidence.errors import BadSignature, BrokenChain
from evidence.journal import Journal
from evidence.signing import SigningKey, sign_statement, statement


def key(folder: Path, name: str = "a.key") -> SigningKey:
    return SigningKey.open_or_create(folder / name)


def written(folder: Path, count: int, *, name: str = "audit.jsonl", word: str = "x") -> list[bytes]:
    with Journal(folder / name, genesis=digest.ZERO) as journal:
        return [journal.append({"action": f"{word}{n}"}).data for n in range(count)]


def anchored(by: SigningKey, lines: list[bytes], seq: int) -> bytes:
    anchor = Anchor(seq=seq, sha256=digest.of_bytes(lines[seq - 1]))
    return sign_statement(by, anchor_statement(anchor))


def other_entry(by: SigningKey) -> bytes:
    said = statement({"x": digest.ZERO}, predicate_type="urn:zeropoint:other:v1", predicate={})
    return sign_statement(by, said)


def test_a_whole_journal_is_whole(tmp_path: Path) -> None:
    by, lines = key(tmp_path), written(tmp_path, 5)
    entries = [other_entry(by), anchored(by, lines, 2), anchored(by, lines, 4)]
    assert verify(lines, entries, [by.public]) == Anchored(5, 2, 4)


def test_an_empty_journal_without_anchors_is_whole(tmp_path: Path) -> None:
    assert verify([], [other_entry(key(tmp_path))], []) == Anchored(0, 0, 0)


def test_a_journal_that_was_cut_is_found(tmp_path: Path) -> None:
    by, lines = key(tmp_path), written(tmp_path, 5)
    with pytest.raises(BrokenChain, match=r"line 4: .* found no such line"):
        verify(lines[:3], [anchored(by, lines, 4)], [by.public])


def test_a_journal_that_was_written_anew_is_found(tmp_path: Path) -> None:
    by, lines = key(tmp_path), written(tmp_path, 5)
    anew = written(tmp_path, 5, name="other.jsonl", word="y")
    with pytest.raises(BrokenChain, match="line 4: entry 0 of the log"):
        verify(anew, [anchored(by, lines, 4)], [by.public])


@pytest.mark.parametrize("place", range(5))
def test_a_changed_line_is_found(tmp_path: Path, place: int) -> None:
    by, lines = key(tmp_path), written(tmp_path, 5)
    entries = [anchored(by, lines, 5)]
    lines[place] = lines[place].replace(b'"x', b'"z')
    with pytest.raises(BrokenChain):
        verify(lines, entries, [by.public])


def test_an_anchor_of_a_strangers_key_is_found(tmp_path: Path) -> None:
    by, stranger, lines = key(tmp_path), key(tmp_path, "b.key"), written(tmp_path, 2)
    with pytest.raises(BadSignature, match="none of the service's"):
        verify(lines, [anchored(stranger, lines, 1)], [by.public])


def test_an_anchor_with_another_payload_is_found(tmp_path: Path) -> None:
    by, lines = key(tmp_path), written(tmp_path, 2)
    first, second = anchored(by, lines, 1), anchored(by, lines, 2)
    forged = first[: first.index(b"signatures")] + second[second.index(b"signatures") :]
    with pytest.raises(BadSignature):
        verify(lines, [forged], [by.public])
