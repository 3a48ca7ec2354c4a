"""The manifest: what it takes, and that an error names line and field."""

import json
from pathlib import Path

import pytest

from evidence.errors import InvalidInput, NotFound
from evidence.records import FileDigest
from governance import manifest
from governance.manifest import Manifest, digest_of_files
from tests.governance import small

ROOT = Path(__file__).parents[2]


def shipped() -> Manifest:
    trainable = json.loads((ROOT / "trainers/data/checksums.json").read_text())
    others = json.loads((ROOT / "datasets/checksums.json").read_text())
    listed = {name: entry["files"] for name, entry in trainable.items()} | others
    checksums = {
        name: {file: FileDigest.model_validate(held) for file, held in files.items()}
        for name, files in listed.items()
    }
    return manifest.read(manifest.SHIPPED, checksums=checksums)


def test_the_shipped_manifest_has_what_can_be_trained_on_and_approved_the_bytes() -> None:
    found = shipped().datasets
    assert {"mnist", "cifar10", "tinyshakespeare", "presidio_research"} <= found.keys()
    assert all(found[name].is_approved for name in ("mnist", "cifar10", "tinyshakespeare"))


def test_what_nobody_states_is_written_so_and_a_wrapper_is_kept_apart() -> None:
    cifar = shipped().dossier("cifar10").entry.licence
    assert cifar.data == "NOASSERTION"
    assert [wrapper.licence for wrapper in cifar.wrappers] == ["ISC"]


def test_data_that_has_no_entry_is_not_found() -> None:
    with pytest.raises(NotFound, match="prose"):
        small.manifest().dossier("prose")


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("data: CC0-1.0", "data: Free", 8, "datasets.poems.licence.data"),
        ("data: CC0-1.0", "data: cc0-1.0", 8, "datasets.poems.licence.data"),
        ("digests: poems", "digests: prose", 5, "datasets.poems.digests"),
        ("uses: [research]", "uses: [fun]", 11, "datasets.poems.uses.0"),
        ("contained: none", "contained: maybe", 14, "datasets.poems.personal_data.contained"),
        ("at: 2026-01-02", "at: soon", 18, "datasets.poems.approved.at"),
        ("by: a person", "who: a person", 16, "datasets.poems.approved.by"),
        ("    citation", "    licence: twice\n    citation", 10, "datasets.poems.licence"),
        ("  poems:", "  Poems:", 3, "datasets.Poems"),
        ("v: 1", "v: 2", 1, "v"),
    ],
)
def test_an_error_names_line_and_field(old: str, new: str, line: int, field: str) -> None:
    text = small.MANIFEST.replace(old, new)
    with pytest.raises(InvalidInput, match=f"manifest.yaml, line {line}: ") as caught:
        small.manifest(text)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x\n",
        "v: !!python/object/apply:os.system ['true']\n",
        "%YAML 1.1\n---\nv: 1\n",
        "v: 1\n--- \nv: 1\n",
        "v: [1\n",
        "\x00",
        "- 1",
        "",
        "[" * 1000 + "]" * 1000,
        "v: 1\n" + "#" * (1 << 20),
    ],
)
def test_what_is_no_plain_document_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"manifest\.yaml"):
        small.manifest(text)


def test_other_bytes_than_the_approved_ones_are_not_approved() -> None:
    held = small.dossier()
    assert held.is_approved
    changed = {"text.txt": FileDigest(bytes=1000, sha256="c" * 64)}
    assert not held.model_copy(update={"files": changed}).is_approved


def test_two_manifests_with_one_name_are_refused() -> None:
    with pytest.raises(InvalidInput, match="poems"):
        small.manifest().with_also(small.manifest())


def test_the_digest_of_files_is_over_their_names_and_digests() -> None:
    assert digest_of_files({"a": "1", "b": "2"}) == digest_of_files({"b": "2", "a": "1"})
    assert digest_of_files({"a": "1"}) != digest_of_files({"b": "1"})
