"""Packs of format 3 with a fraud in their verdicts: check 21 finds each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import sealing, views
from cluster.run_folder import RunFolder, create
from evidence import canonical, digest
from evidence.clock import timestamp
from evidence.records import RunState
from evidence.report import Result
from evidence.signing import unverified_statement
from evidence.verdict import CitedApproval, Outcome, RuleOutcome, Verdict, verdict_statement
from tests.cluster import small
from tests.cluster.small import Watch
from tests.evidence.judging import check, failed

Change = Callable[[dict[str, Any]], object]


def said(folder: RunFolder, **changes: Any) -> Verdict:
    whole: dict[str, Any] = {
        "run_id": folder.run_id,
        "attempt": 1,
        "verdict": Outcome.ALLOW,
        "config_sha256": digest.of_bytes(folder.config_bytes),
        "dataset": folder.config.dataset,
        "data": small.DATA,
        "manifest_sha256": "a" * 64,
        "policy_sha256": "b" * 64,
        "pii_report_sha256": None,
        "rules": [RuleOutcome(rule="licence", outcome=Outcome.ALLOW, detail="MIT")],
        "approvals": [],
        "decided_at": timestamp(Watch()()),
    }
    return Verdict.model_validate({**whole, **changes})


def sealed(
    root: Path, *, before: Callable[[RunFolder], object], after: Callable[[RunFolder], object]
) -> Path:
    """Return the pack of a run, with what its service did at the gate and behind the commitment."""
    watch = Watch()
    watch()
    folder = create(
        root, small.RUN_ID, small.config(), clock=watch, notary=small.notary(root),
        idempotency_key_sha256=None,
    )  # fmt: skip
    before(folder)
    folder.move(RunState.RUNNING, "placed", placement=small.PLACED)
    told = small.described(folder.config)
    folder.write_description(told["model"], views.provenance(folder, told["provenance"]))
    small.report(folder, small.beginning(folder.config))
    small.report(folder, *small.training(folder.config, clock=Watch()), first_n=1)
    after(folder)
    folder.move(RunState.SUCCEEDED, "all steps are done")
    folder.complete_end()
    sealing.seal_run(folder, small.notary(root))
    folder.close()
    return folder.paths.root


def nothing(_: RunFolder) -> None:
    """Do nothing."""


def pack(root: Path, **changes: Any) -> Path:
    return sealed(root, before=lambda f: f.verdicts.add(said(f, **changes)), after=nothing)


def forged(root: Path, change: Change) -> Path:
    """Return a pack whose verdict says something else; its own service signs the lie."""

    def lie(folder: RunFolder) -> None:
        statement = verdict_statement(said(folder))
        change(statement)
        folder.verdicts._signed.add(statement)

    return sealed(root, before=lie, after=nothing)


@pytest.fixture(autouse=True)
def notaries() -> Any:
    yield
    small.close()


def test_an_honest_pack_passes(tmp_path: Path) -> None:
    root = pack(tmp_path)
    assert failed(root) == []
    assert check(root, "governance.verdict").result is Result.PASSED
    manifest = canonical.decode_object((root / "manifest.json").read_bytes())
    assert (manifest["v"], "verdicts.jsonl" in manifest["files"]) == (3, True)


def test_the_approvals_that_it_rests_on_are_named(tmp_path: Path) -> None:
    cited = [CitedApproval(proposal_id="prop-1", record_digest="c" * 64)]
    assert "prop-1" in check(pack(tmp_path, approvals=cited), "governance.verdict").detail


def test_a_denial_before_a_consent_is_no_fault(tmp_path: Path) -> None:
    no = [RuleOutcome(rule="digests", outcome=Outcome.DENY, detail="other bytes", cure="x")]

    def twice(folder: RunFolder) -> None:
        denied = said(folder, verdict=Outcome.DENY, rules=no, data={"data.npy": "d" * 64})
        folder.verdicts.add(denied)
        folder.verdicts.add(said(folder))

    assert failed(sealed(tmp_path, before=twice, after=nothing)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"config_sha256": "c" * 64},
        {"run_id": "0123456789ab"},
        {"dataset": "cifar10"},
        {"data": {"data.npy": "c" * 64}},
        {"attempt": 2},
        {"verdict": Outcome.DENY},
        {"rules": [RuleOutcome(rule="x", outcome=Outcome.DENY, detail="no", cure="x")]},
        {"decided_at": "2027-01-31T12:00:00.000Z"},
    ],
)
def test_a_verdict_about_something_else_is_found(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.verdict_book.VerdictBook.require_same_data", lambda *_: None)
    assert failed(pack(tmp_path, **changes)) == ["governance.verdict"]


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["predicate"].update(previous="c" * 64),
        lambda said: said["predicate"].update(more=1),
        lambda said: said["predicate"].pop("policy_sha256"),
        lambda said: said["predicate"].update(rules=[]),
        lambda said: said["subject"].pop(),
        lambda said: said.update(predicateType="urn:zeropoint:audit:v1"),
    ],
)
def test_a_statement_that_is_no_verdict_is_found(
    tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.verdict_book.VerdictBook.require_same_data", lambda *_: None)
    assert failed(forged(tmp_path, change)) == ["governance.verdict"]


def test_a_consent_that_was_signed_after_the_commitment_is_found(tmp_path: Path) -> None:
    root = sealed(tmp_path, before=nothing, after=lambda f: f.verdicts.add(said(f)))
    assert failed(root) == ["governance.verdict"]


def test_a_run_placed_again_without_a_consent_is_found(tmp_path: Path) -> None:
    def again(folder: RunFolder) -> None:
        folder.move(RunState.INTERRUPTED, "its node left")
        folder.move(RunState.QUEUED, "waits")
        folder.move(RunState.RUNNING, "placed", placement=small.PLACED)

    root = sealed(tmp_path, before=lambda f: f.verdicts.add(said(f)), after=again)
    assert "governance.verdict" in failed(root)
    assert "attempt 2" in check(root, "governance.verdict").detail


def test_a_line_taken_out_or_changed_is_found(tmp_path: Path) -> None:
    root = pack(tmp_path)
    path = root / "verdicts.jsonl"
    line = path.read_bytes()
    path.write_bytes(line.replace(b'"sig":"', b'"sig":"A', 1))
    assert "files.digests" in failed(root)
    path.unlink()
    assert "files.complete" in failed(root)


def test_a_run_that_ended_before_it_was_committed_to_has_no_verdicts_in_its_pack(
    tmp_path: Path,
) -> None:
    folder = create(
        tmp_path, small.RUN_ID, small.config(), clock=Watch(), notary=small.notary(tmp_path),
        idempotency_key_sha256=None,
    )  # fmt: skip
    place = folder.verdicts.add(said(folder))
    folder.move(RunState.CANCELLED, "cancelled")
    folder.complete_end()
    sealing.seal_run(folder, small.notary(tmp_path))
    folder.close()
    assert not folder.paths.verdicts.exists()
    assert failed(folder.paths.root) == []
    entry = small.notary(tmp_path)._log.entry(place)
    assert unverified_statement(entry)["predicateType"] == "urn:zeropoint:verdict:v1"
