"""What a service knows of data sets: added, approved, kept, and never changed under a name."""

from pathlib import Path
from typing import Any

import pytest

from cluster.library import Library
from evidence.errors import Conflict, IntegrityError, InvalidInput, NotFound, ServiceError
from evidence.records import FileDigest
from governance.manifest import Entry
from trainers.data.catalog import TEXT_FILE, TextSet


def spec(**changes: Any) -> TextSet:
    whole: dict[str, Any] = {
        "kind": "text",
        "title": "poems",
        "vocabulary": 256,
        "test_bytes": 10,
        "files": {TEXT_FILE: FileDigest(bytes=100, sha256="a" * 64)},
    }
    return TextSet.model_validate({**whole, **changes})


def entry(**changes: Any) -> Entry:
    whole: dict[str, Any] = {
        "version": "1",
        "digests": "poems",
        "sources": ["local:poems.txt"],
        "licence": {"data": "CC0-1.0", "basis": "I wrote them: \u00e4, 'quoted', #1"},
        "citation": "",
        "uses": ["research"],
        "intended_use": "writing",
        "personal_data": {"contained": "none", "statement": "poems"},
    }
    return Entry.model_validate({**whole, **changes})


def test_what_was_added_is_there_after_a_restart(tmp_path: Path) -> None:
    Library(tmp_path).add("poems", spec(), entry())
    again = Library(tmp_path)
    dossier = again.dossier("poems")
    assert dossier is not None
    assert (dossier.entry, dossier.is_approved) == (entry(), False)
    assert again.own("poems") == spec()
    assert "poems" in again.names()


def test_it_is_approved_with_exactly_its_bytes(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.add("poems", spec(), entry())
    assert library.approve("poems", who="me", day="2026-01-02").is_approved
    again = Library(tmp_path).dossier("poems")
    assert again is not None
    assert again.is_approved
    other = {TEXT_FILE: FileDigest(bytes=100, sha256="b" * 64)}
    assert not again.model_copy(update={"files": other}).is_approved


def test_bytes_changed_in_the_file_of_digests_are_not_approved_any_more(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.add("poems", spec(), entry())
    library.approve("poems", who="me", day="2026-01-02")
    path = tmp_path / "checksums.json"
    path.write_bytes(path.read_bytes().replace(b"a" * 64, b"b" * 64))
    changed = Library(tmp_path).dossier("poems")
    assert changed is not None
    assert not changed.is_approved


@pytest.mark.parametrize("name", ["poems", "mnist", "presidio_research"])
def test_a_name_that_is_taken_is_refused(tmp_path: Path, name: str) -> None:
    library = Library(tmp_path)
    library.add("poems", spec(), entry())
    with pytest.raises(Conflict, match=name):
        library.add(name, spec(title="others"), entry(digests=name))
    assert library.own("poems") == spec()


def test_a_shipped_data_set_is_not_approved_here(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="shipped"):
        Library(tmp_path).approve("mnist", who="me", day="2026-01-02")
    with pytest.raises(NotFound):
        Library(tmp_path).approve("prose", who="me", day="2026-01-02")


def test_a_file_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    away = {"../text.txt": FileDigest(bytes=1, sha256="a" * 64)}
    with pytest.raises(InvalidInput, match=r"data\.files"):
        Library(tmp_path).add("poems", spec(files=away), entry())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "kind"),
    [
        ("manifest.yaml", b"CC0-1.0", b"Free", InvalidInput),
        ("manifest.yaml", b"  poems:", b"  mnist:", InvalidInput),
        ("checksums.json", b'"kind":"text"', b'"kind":"song"', IntegrityError),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(
    tmp_path: Path, file: str, old: bytes, new: bytes, kind: type[ServiceError]
) -> None:
    Library(tmp_path).add("poems", spec(), entry())
    path = tmp_path / file
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(kind):
        Library(tmp_path)
