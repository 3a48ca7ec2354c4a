"""The shelf: what is told of data that is absent, damaged or cannot be kept."""

import asyncio
from pathlib import Path

import pytest

from cluster.audit import AuditJournal
from cluster.datasets import DatasetShelf
from cluster.settings import Settings
from evidence.errors import NotFound, Unavailable
from tests.cluster.small import Watch


def shelf(home: Path, *, cache: str = "cache") -> tuple[DatasetShelf, AuditJournal]:
    audit = AuditJournal(home / "audit.jsonl", clock=Watch())
    return DatasetShelf(Settings(home=home, cache=home / cache), audit), audit


def test_absent_data_says_so_and_names_what_is_missing(tmp_path: Path) -> None:
    data, audit = shelf(tmp_path)
    view = asyncio.run(data.view("mnist"))
    audit.close()
    assert (view["state"], view["fetched_bytes"], view["error"]) == ("absent", None, None)
    assert {file["found"] for file in view["files"].values()} == {None}


def test_a_damaged_file_is_shown_with_the_digest_that_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "datasets" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-labels-idx1-ubyte").write_bytes(b"")
    data, audit = shelf(tmp_path)
    view = asyncio.run(data.view("mnist"))
    audit.close()
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert view["files"]["train-labels-idx1-ubyte"]["found"] == empty


def test_an_unknown_data_set_is_not_found(tmp_path: Path) -> None:
    data, audit = shelf(tmp_path)
    with pytest.raises(NotFound):
        asyncio.run(data.view("imagenet"))
    audit.close()


def test_data_that_cannot_be_kept_is_unavailable_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"a file where the cache should be")
    data, audit = shelf(tmp_path, cache="taken")

    async def told() -> str:
        with pytest.raises(Unavailable) as caught:
            await data.require("mnist")
        view = await data.view("mnist")
        assert view["error"]["code"] == "unavailable"
        return caught.value.detail

    assert "taken" in asyncio.run(told())
    audit.close()
