"""Packs of format 2 that a fraudster with the service's keys made false, and honest ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.notary import Notary
from cluster.run_folder import open_folder
from cluster.sealing import seal_run
from cluster.settings import Limits
from evidence import canonical, digest, keyring
from evidence.archive import open_pack
from evidence.errors import BadSignature
from evidence.inclusion import Inclusion
from evidence.log import cosignature, note, tree_head
from evidence.log.note import KeyType, Signer
from evidence.log.tree_head import SignedTreeHead
from evidence.pack import PackPaths
from evidence.report import Report, Result, Verdict
from evidence.seal import finalise, prove
from evidence.signing import SigningKey, sign_statement, unverified_statement
from evidence.subject import KnownLog
from evidence.verify import verify
from tests.cluster import bound, small
from tests.fraud.forge import Objects, failed, reforge, reseal


def judge(root: Path, **options: Any) -> Report:
    with open_pack(root) as pack:
        return verify(pack, **options)


def result_of(report: Report, check_id: str) -> Result:
    return next(check.result for check in report.checks if check.id == check_id)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return bound.sealed(tmp_path)


@pytest.fixture
def notary(tmp_path: Path) -> Notary:
    return small.notary(tmp_path)


def test_an_honest_pack_passes(pack: Path) -> None:
    report = judge(pack, required=["records.chain", "records.commitment", "log.inclusion"])
    assert report.verdict is Verdict.PASSED
    not_made = [check.id for check in report.checks if check.result is not Result.PASSED]
    assert not_made == [
        "model.rebuilt",
        "log.consistency",
        "log.witnesses",
        "log.beginning",
        "governance.verdict",  # format 2
    ]


# -- records -------------------------------------------------------------------------------------


def replaced(name: str, value: object, *, of: int = 0) -> Callable[[Objects], object]:
    return lambda predicates: predicates[of].update({name: value})


def moved_behind_the_first_metric(predicates: Objects) -> None:
    predicates[0]["events"] = predicates[1]["events"]


FORGERIES: list[tuple[Callable[[Objects], object], str]] = [
    (replaced("seed", "0" * 16), "records.commitment"),
    (replaced("nonce", "chosen later"), "records.commitment"),
    (replaced("config_sha256", "0" * 64), "records.commitment"),
    (replaced("data", {"data.npy": "0" * 64}), "records.commitment"),
    (replaced("run_id", "another"), "records.commitment"),
    (replaced("events", {"seq": 2, "sha256": "0" * 64}), "records.commitment"),
    (replaced("events", {"seq": 99, "sha256": "0" * 64}), "records.commitment"),
    (replaced("kernels", {"digest": "0" * 64}), "records.commitment"),
    (moved_behind_the_first_metric, "records.commitment"),
    (replaced("log", "other+00000000+AAAA"), "records.commitment"),
    (replaced("model_digest", "0" * 64, of=1), "records.checkpoints"),
    (replaced("optimizer_digest", "0" * 64, of=2), "records.checkpoints"),
    (replaced("state_digest", "0" * 64, of=3), "records.checkpoints"),
    (replaced("step", 3, of=1), "records.checkpoints"),
    (replaced("metrics", {"seq": 4, "sha256": "0" * 64}, of=1), "records.checkpoints"),
    (replaced("run_id", "another", of=1), "records.checkpoints"),
    (lambda predicates: predicates.pop(2), "records.checkpoints"),
    (lambda predicates: predicates.insert(1, predicates.pop(2)), "records.checkpoints"),
    (lambda predicates: predicates.pop(0), "records.chain"),
    (lambda predicates: predicates.append(predicates.pop(0)), "records.chain"),
]


@pytest.mark.parametrize(("change", "check_id"), FORGERIES)
def test_records_that_say_something_else_are_found(
    pack: Path, notary: Notary, change: Callable[[Objects], object], check_id: str
) -> None:
    reforge(pack, change, notary)
    assert failed(judge(pack)) == [check_id]


def test_signing_the_same_again_is_no_forgery(pack: Path, notary: Notary) -> None:
    reforge(pack, lambda predicates: predicates, notary)
    assert failed(judge(pack)) == []


def test_an_edited_record_breaks_its_signature(pack: Path, notary: Notary) -> None:
    path = PackPaths(pack).records
    envelope = canonical.decode_object(path.read_bytes().splitlines()[1])
    envelope["payload"] = envelope["payload"][:-4] + "fQ=="
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], canonical.encode(envelope), *lines[2:], b""]))
    reseal(pack, notary)
    assert failed(judge(pack))[0] == "records.chain"


def test_a_pack_stripped_of_its_records_is_format_1_and_says_so(pack: Path, notary: Notary) -> None:
    paths = PackPaths(pack)
    paths.records.unlink()
    signatures = pack.glob("checkpoints/*/model.sig")
    for path in (*paths.seal.iterdir(), *signatures):
        path.unlink()
    finalise(pack, notary.keyring.key, run_id=pack.name)
    assert result_of(judge(pack), "records.commitment") is Result.NOT_CHECKED
    report = judge(pack, required=["records.commitment"])
    assert (report.verdict, report.exit_code) == (Verdict.CANNOT_TELL, 4)


@pytest.mark.parametrize("name", ["keys.jsonl", "tree_head.txt", "inclusion.json"])
def test_a_seal_without_one_of_its_files_is_incomplete(pack: Path, name: str) -> None:
    (pack / "seal" / name).unlink()
    assert "files.complete" in failed(judge(pack))


# -- keys ----------------------------------------------------------------------------------------


def test_a_replaced_key_is_found_by_whoever_knows_the_right_one(
    pack: Path, notary: Notary, tmp_path: Path
) -> None:
    stranger = Notary.open(tmp_path / "stranger", limits=Limits())
    reforge(pack, lambda predicates: predicates[0].update(log=stranger.log), stranger)
    stranger.close()
    assert failed(judge(pack)) == []
    trusting = judge(pack, public_key=notary.keyring.key.public)
    assert failed(trusting) == ["seal.signature"]


def test_a_key_that_was_rotated_during_the_run_leads_to_its_successor(tmp_path: Path) -> None:
    home = tmp_path / "service"
    runs = tmp_path / "runs"
    runs.mkdir()
    first = small._NOTARIES[runs] = Notary.open(home, limits=Limits())
    old = first.keyring.key.public
    folder = bound.begun(runs)
    first.close()
    keyring.rotate(home / "keys")
    second = small._NOTARIES[runs] = Notary.open(home, limits=Limits())
    assert second.key_id != first.key_id
    folder.close()
    again = bound.keep(open_folder(folder.paths.root, clock=small.Watch(), notary=second))
    small.report(again, *small.training(again.config, clock=small.Watch()), first_n=1)
    bound.end(again)
    seal_run(again, second)
    root = again.paths.root
    assert failed(judge(root, public_key=old)) == []
    assert failed(judge(root, public_key=second.keyring.key.public)) == []


def test_a_retired_key_signs_nothing_behind_its_successor(
    pack: Path, notary: Notary, tmp_path: Path
) -> None:
    keys = notary.keyring
    new = SigningKey.open_or_create(tmp_path / "new.key")
    history = keys.history + keyring.introduce(new, by=keys.key, after=keys.history)
    paths = PackPaths(pack)
    statements = [unverified_statement(line) for line in paths.records.read_bytes().splitlines()]
    lines: list[bytes] = []
    for number, one in enumerate(statements):
        one["predicate"]["previous"] = digest.of_bytes(lines[-1]) if lines else None
        lines.append(sign_statement(keys.key if number == 3 else new, one))
    paths.records.write_bytes(b"".join(line + b"\n" for line in lines))
    finalise(pack, new, run_id=pack.name, authority=replace(notary.authority, history=history))
    proof = notary.prove([*lines, paths.seal_envelope.read_bytes()])
    prove(pack, tree_head=proof.tree_head, inclusion=proof.inclusion)
    report = judge(pack)
    assert failed(report) == ["records.chain"]
    assert "retired key" in next(c.detail for c in report.checks if c.id == "records.chain")


def test_a_history_that_no_key_signed_leads_nowhere(notary: Notary, tmp_path: Path) -> None:
    keys = notary.keyring
    stranger = SigningKey.open_or_create(tmp_path / "stranger.key")
    forged = keys.history + keyring.introduce(stranger, by=stranger, after=keys.history)
    with pytest.raises(BadSignature, match="line 2"):
        keyring.read_history(forged)
    assert [key.key_id for key in keyring.read_history(keys.history)] == [keys.key.key_id]


# -- log -----------------------------------------------------------------------------------------


def change_inclusion(pack: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = PackPaths(pack).seal_inclusion
    held = canonical.decode_object(path.read_bytes())
    change(held)
    path.write_bytes(canonical.encode(held))


def swap_places(held: dict[str, Any]) -> None:
    held["entries"][0], held["entries"][1] = held["entries"][1], held["entries"][0]


@pytest.mark.parametrize(
    "change",
    [
        swap_places,
        lambda held: held["entries"].pop(),
        lambda held: held["entries"][0]["hashes"].pop(),
        lambda held: held["entries"][2]["hashes"].__setitem__(0, "0" * 64),
        lambda held: held["entries"][2].update(index=3),
        lambda held: held.update(size=held["size"] + 1),
        lambda held: held.update(log="other"),
    ],
)
def test_proofs_of_something_else_are_found(
    pack: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    change_inclusion(pack, change)
    assert failed(judge(pack)) == ["log.inclusion"]


def test_a_tree_head_of_another_log_is_found(pack: Path, tmp_path: Path) -> None:
    stranger = Notary.open(tmp_path / "stranger", limits=Limits())
    head = stranger.prove([b"an entry"]).tree_head
    stranger.close()
    PackPaths(pack).seal_tree_head.write_bytes(head)
    assert failed(judge(pack)) == ["log.inclusion"]


def known_head(notary: Notary) -> SignedTreeHead:
    return tree_head.verify(notary._log.sign(notary._signer), notary._signer.verifier)


def test_a_log_that_grew_is_consistent_with_the_head_that_was_kept(
    tmp_path: Path, notary: Notary
) -> None:
    notary.enter([b"before"])
    kept = known_head(notary)
    pack = bound.sealed(tmp_path)
    size = Inclusion.model_validate_json(PackPaths(pack).seal_inclusion.read_bytes()).size
    proof = notary._log.consistency(kept.head.size, size)
    known = KnownLog(verifier=notary._signer.verifier, head=kept, proof=proof)
    report = judge(pack, known_log=known, required=["log.consistency"])
    assert report.verdict is Verdict.PASSED
    without = KnownLog(verifier=notary._signer.verifier, head=kept)
    report = judge(pack, known_log=without, required=["log.consistency"])
    assert report.verdict is Verdict.CANNOT_TELL


def test_a_log_that_was_rewritten_is_found(pack: Path, notary: Notary, tmp_path: Path) -> None:
    """The operator throws the log away and makes another one with the same key."""
    kept = known_head(notary)
    keys = tmp_path.with_name(f"{tmp_path.name}-service") / "keys"
    home = tmp_path / "again"
    home.mkdir()
    (home / "keys").symlink_to(keys)
    again = Notary.open(home, limits=Limits())
    again.enter([b"what was not there before"])
    reseal(pack, again)
    size = Inclusion.model_validate_json(PackPaths(pack).seal_inclusion.read_bytes()).size
    proof = again._log.consistency(kept.head.size, size)
    again.close()
    known = KnownLog(verifier=notary._signer.verifier, head=kept, proof=proof)
    assert failed(judge(pack, known_log=known)) == ["log.consistency"]


def test_a_pack_of_another_log_is_not_of_the_known_one(pack: Path, tmp_path: Path) -> None:
    other = Signer.open_or_create(tmp_path / "other.key", KeyType.ED25519)
    report = judge(pack, known_log=KnownLog(verifier=other.verifier))
    assert failed(report) == ["log.inclusion"]


def test_trusted_witnesses_must_have_cosigned(pack: Path, tmp_path: Path) -> None:
    witness = Signer.open_or_create(tmp_path / "w.key", KeyType.COSIGNATURE)
    known = KnownLog(witnesses=[witness.verifier])
    assert failed(judge(pack, known_log=known)) == ["log.witnesses"]
    path = PackPaths(pack).seal_tree_head
    parsed = note.Note.parse(path.read_bytes())
    line = cosignature.cosign(parsed.text, witness, time_s=int(small.Watch.now.timestamp()))
    path.write_bytes(path.read_bytes() + line.text.encode())
    report = judge(pack, known_log=known, required=["log.witnesses"])
    assert report.verdict is Verdict.PASSED
