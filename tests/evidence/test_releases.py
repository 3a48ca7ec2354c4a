from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from evidence import canonical, digest, journal, seed, tensors
from evidence.errors import ConfigError
from evidence.pack import VECTORS, list_files
from evidence.report import Result, Verdict
from evidence.seal import finalise
from evidence.verify import RULES
from tests.evidence import genuine
from tests.evidence.judging import judge

RELEASES = Path(__file__).parents[1] / "vectors" / "releases"
PACKS = sorted(path for path in RELEASES.iterdir() if (path / "manifest.json").exists())
DOCUMENT = Path(__file__).parents[2] / "docs" / "pack-format.md"


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name)
def test_a_pack_of_every_release_still_verifies(pack: Path) -> None:
    report = judge(pack, public_key=genuine.fixed_key().public)
    assert report.verdict is Verdict.PASSED
    assert sum(check.result is Result.PASSED for check in report.checks) >= 11


def test_a_vector_is_not_asked_for_a_model_of_the_trainers(tmp_path: Path) -> None:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise ConfigError("dataset: expected 'mnist', found 'synthetic'")

    vector = RELEASES / "0.1.0"
    assert judge(vector, describe_model=refuse).verdict is Verdict.PASSED
    forged = Path(copytree(vector, tmp_path / "forged"))
    later = {"timestamp": "2026-01-31T12:00:20.000Z"}
    genuine.rewrite_events(forged, lambda records: records[-1].update(later))
    finalise(forged, genuine.fixed_key(), run_id=genuine.RUN_ID)
    assert judge(forged, describe_model=refuse).checks[11].result is Result.FAILED


def test_there_is_a_pack_of_the_first_release() -> None:
    assert "0.1.0" in {pack.name for pack in PACKS}


def test_the_vectors_of_the_document_are_those_of_the_pack() -> None:
    pack = RELEASES / "0.1.0"
    first = (pack / "events.jsonl").read_bytes().splitlines()[0]
    model = tensors.decode((pack / "checkpoints/step_000006/model.safetensors").read_bytes())
    provenance = canonical.decode_object((pack / "provenance.json").read_bytes())
    vectors = {
        digest.of_file(pack / "config.json"),
        digest.of_bytes(first),
        digest.of_tensors(model),
        seed.derive(genuine.CONFIG, provenance["dataset"]["files"]),
        digest.of_file(pack / "manifest.json"),
        genuine.fixed_key().key_id,
    }
    document = DOCUMENT.read_text()
    assert [vector for vector in vectors if vector not in document] == []


def test_the_seal_of_the_vector_is_made_again_to_the_same_bytes(tmp_path: Path) -> None:
    pack = RELEASES / "0.1.0"
    again = Path(copytree(pack, tmp_path / "again"))
    rmtree(again / "seal")
    finalise(again, genuine.fixed_key(), run_id=genuine.RUN_ID)
    assert {p: (again / p).read_bytes() for p in list_files(pack)} == {
        p: (pack / p).read_bytes() for p in list_files(pack)
    }


def test_only_packs_of_this_folder_are_vectors() -> None:
    assert {digest.of_file(pack / "manifest.json") for pack in PACKS} == VECTORS


def test_the_document_has_every_check() -> None:
    document = DOCUMENT.read_text()
    rows = [f"| {rule.number} | `{rule.id}` |" for rule in RULES]
    assert [row for row in rows if row not in document] == []


def test_the_document_has_every_file_of_a_pack() -> None:
    document = DOCUMENT.read_text()
    names = [path for path in list_files(RELEASES / "0.1.0") if "checkpoints" not in path]
    assert [name for name in names if f"`{name}`" not in document] == []


def test_the_metrics_of_the_vector_are_one_chain() -> None:
    pack = RELEASES / "0.1.0"
    genesis = digest.of_file(pack / "config.json")
    assert len(list(journal.read(pack / "metrics.jsonl", genesis=genesis))) == 9
