from pathlib import Path
from shutil import copytree, rmtree

import pytest

from evidence import canonical, digest, journal, seed, tensors
from evidence.log import merkle
from evidence.pack import list_files
from evidence.report import Result, Verdict
from evidence.seal import finalise
from evidence.signing import unverified_statement
from evidence.verify import RULES
from serve import rebuild
from tests.evidence import genuine
from tests.evidence.judging import judge

RELEASES = Path(__file__).parents[1] / "vectors" / "releases"
PACKS = sorted(path for path in RELEASES.iterdir() if (path / "manifest.json").exists())
DOCUMENT = Path(__file__).parents[2] / "docs" / "pack-format.md"


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name)
def test_a_pack_of_every_release_still_verifies(pack: Path, tmp_path: Path) -> None:
    describe = rebuild.describer(cache=tmp_path / "cache", scratch=tmp_path)
    report = judge(pack, public_key=genuine.fixed_key().public, describe_model=describe)
    unmade = [check.number for check in report.checks if check.result is Result.NOT_CHECKED]
    assert report.verdict is Verdict.PASSED
    assert unmade == ([17, 18, 20, 21] if (pack / "records.jsonl").exists() else [*range(13, 22)])


def test_there_is_a_pack_of_each_format() -> None:
    assert {"0.1.0", "0.2.0"} <= {pack.name for pack in PACKS}


def test_the_vectors_of_the_document_are_those_of_the_pack() -> None:
    pack = RELEASES / "0.1.0"
    first = (pack / "events.jsonl").read_bytes().splitlines()[0]
    model = tensors.decode((pack / "checkpoints/step_000006/model.safetensors").read_bytes())
    config = canonical.decode_object((pack / "config.json").read_bytes())
    provenance = canonical.decode_object((pack / "provenance.json").read_bytes())
    vectors = {
        digest.of_file(pack / "config.json"),
        digest.of_bytes(first),
        digest.of_tensors(model),
        seed.derive(config, provenance["dataset"]["files"]),
        digest.of_file(pack / "manifest.json"),
        genuine.fixed_key().key_id,
    }
    document = DOCUMENT.read_text()
    assert [vector for vector in vectors if vector not in document] == []


def test_the_vectors_of_format_2_are_those_of_its_pack() -> None:
    pack = RELEASES / "0.2.0"
    first = (pack / "records.jsonl").read_bytes().splitlines()[0]
    inclusion = canonical.decode_object((pack / "seal" / "inclusion.json").read_bytes())
    vectors = {
        digest.of_file(pack / "config.json"),
        unverified_statement(first)["predicate"]["order_digest"],
        digest.of_bytes(first),
        merkle.leaf_hash(first).hex(),
        (pack / "seal" / "tree_head.txt").read_text().splitlines()[2],
        inclusion["log"],
        digest.of_file(pack / "manifest.json"),
        digest.of_file(pack / "seal" / "model.pub"),
    }
    document = DOCUMENT.read_text()
    assert [vector for vector in vectors if vector not in document] == []


def test_the_seal_of_the_vector_is_made_again_to_the_same_bytes(tmp_path: Path) -> None:
    pack = RELEASES / "0.1.0"
    again = Path(copytree(pack, tmp_path / "again"))
    rmtree(again / "seal")
    run_id = canonical.decode_object((pack / "provenance.json").read_bytes())["run_id"]
    finalise(again, genuine.fixed_key(), run_id=run_id)
    assert {p: (again / p).read_bytes() for p in list_files(pack)} == {
        p: (pack / p).read_bytes() for p in list_files(pack)
    }


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
