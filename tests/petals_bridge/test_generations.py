"""Journals of generations: whole after a crash, bounded, and no path for a stranger."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evidence.clock import utc_now
from evidence.errors import BrokenChain, NotFound
from petals_bridge import generations
from petals_bridge.generations import GenerationBook, GenerationLog, GenerationRequest


def begun(book: GenerationBook) -> GenerationLog:
    request = GenerationRequest(prompt="x").model_dump(mode="json")
    return book.begin({"request": request, "prompt_tokens": [1, 2]})


MakeBook = Callable[[], GenerationBook]


@pytest.fixture
def make_book(tmp_path: Path) -> Iterator[MakeBook]:
    made: list[GenerationBook] = []

    def make() -> GenerationBook:
        made.append(GenerationBook(tmp_path, clock=utc_now))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def book(make_book: MakeBook) -> GenerationBook:
    return make_book()


def test_the_first_record_has_the_id(book: GenerationBook) -> None:
    log = begun(book)
    assert log.records[0]["generation_id"] == log.id
    assert (log.request.prompt, log.prompt_tokens, log.tokens) == ("x", [1, 2], [])


def test_a_generation_that_was_cut_off_is_found_with_its_tokens(
    book: GenerationBook, make_book: MakeBook
) -> None:
    log, ended = begun(book), begun(book)
    for index in range(3):
        log.append("token", {"index": index, "token": 7 + index})
    ended.append("end", {"finish_reason": "length"})
    again = make_book()
    assert [(one.id, one.tokens) for one in again.unfinished()] == [(log.id, [7, 8, 9])]


def test_a_torn_last_line_is_cut(book: GenerationBook, make_book: MakeBook, tmp_path: Path) -> None:
    log = begun(book)
    log.append("token", {"index": 0, "token": 7})
    log.append("token", {"index": 1, "token": 8})
    path = tmp_path / f"{log.id}.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert make_book().find(log.id).tokens == [7]


def test_one_altered_token_is_found(book: GenerationBook, tmp_path: Path) -> None:
    log = begun(book)
    log.append("token", {"index": 0, "token": 7})
    log.append("token", {"index": 1, "token": 8})
    book.done(log)
    path = tmp_path / f"{log.id}.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"token":7', b'"token":6'))
    with pytest.raises(BrokenChain):
        book.find(log.id)


def test_a_journal_without_a_whole_line_is_forgotten(make_book: MakeBook, tmp_path: Path) -> None:
    (tmp_path / f"{'0' * 16}.jsonl").write_bytes(b'{"kind":"gener')
    assert list(make_book().unfinished()) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["0" * 16, "../secret", "", "A" * 16])
def test_an_id_that_is_none_is_not_found(book: GenerationBook, name: str, tmp_path: Path) -> None:
    (tmp_path.parent / "secret.jsonl").write_bytes(b"")
    with pytest.raises(NotFound):
        book.find(name)


def test_old_ones_are_deleted_and_those_that_go_on_are_kept(
    book: GenerationBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "MAX_KEPT", 2)
    first = begun(book)
    for _ in range(4):
        log = begun(book)
        log.append("end", {"finish_reason": "length"})
        book.done(log)
    assert book.find(first.id) is first
    assert len(list(tmp_path.iterdir())) == 3
