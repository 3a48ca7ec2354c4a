"""What a proposal is reviewed by: the evidence that it cites, read and verified here, and more.

Whoever runs the reviewer hands in what needs a cluster: a window done again, the policy's word.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from evidence import archive, digest
from evidence.errors import ServiceError
from evidence.log.note import Verifier
from evidence.report import Result, Verdict
from evidence.signing import PublicKey
from evidence.subject import Differs, KnownLog
from evidence.verify import Verification
from governance.approvals import digest_of_model
from governance.proposals.schema import Proposal


@dataclass(frozen=True, slots=True)
class PackFacts:
    """What the pack of a run says, read anew from its files."""

    manifest_sha256: str
    dataset: str
    dataset_digests: dict[str, str]
    model: str
    model_digest: str
    step: int
    test_loss: float | None
    test_accuracy: float | None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is found of one cited run."""

    run_id: str
    author: str | None
    """Who submitted it; None where this service has no such run."""
    flaw: str | None
    """Why its evidence cannot be relied on: the check that failed, and how."""
    pack: PackFacts | None
    """None where there is a flaw."""


@dataclass(frozen=True, slots=True)
class ReplayFacts:
    """What came of doing windows of a cited run again."""

    run_id: str
    verdict: str
    """`passed`, `failed` or `cannot_tell`, as `zpctl audit` has it."""
    summary: str
    """In one line, with the id of the audit."""


@dataclass(frozen=True, slots=True)
class ProbeFacts:
    """What is found of the probe that a move of the phase cites."""

    verdict: str
    commit: str | None
    """Of the code that the probed service ran."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything that the rules look at."""

    proposal: Proposal
    runs: tuple[RunFacts, ...]
    replays: tuple[ReplayFacts, ...]
    """Of the cited runs; empty where none is cited."""
    denials: tuple[str, ...]
    """What the data policy has against it, rule by rule; what only needs a proposal is none."""
    policy_silent: str | None
    """Why the policy could not be asked; None where it was."""
    known_digests: dict[str, str] | None
    """SHA-256 by file of the data set as the service has it now; None where it has no such set."""
    holds_personal_data: bool
    """Whether the manifest, or a scan, says that the data set has personal data in it."""
    architectures: tuple[str, ...]
    """That are approved."""
    superseded: str | None
    """State of the proposal that it replaces; None where it replaces none."""
    probe: ProbeFacts | None
    """None where it cites none, or the report is not to be found."""
    commit: str | None
    """Of the code that this service runs."""
    now: datetime
    valid_days: int
    """After which a proposal is too old to be passed."""


def read_run(
    root: Path, *, run_id: str, author: str | None, key: PublicKey, log: Verifier
) -> RunFacts:
    """Verify the pack of a run and return what it says.

    Args:
        root: Its folder.
        run_id: The run.
        author: Who submitted it.
        key: A key of the service; the pack must be signed by it, or by one that it led to.
        log: The service's log; every record must be in it.
    """
    try:
        with archive.open_pack(root) as pack:
            verification = Verification(
                pack,
                public_key=key,
                known_log=KnownLog(verifier=log),
                required=("seal.signature", "records.commitment", "log.inclusion"),
            )
            checks = list(verification.run())
            report = verification.report()
            failed = [one for one in checks if one.result is Result.FAILED]
            if failed or report.verdict is not Verdict.PASSED:
                why = f"{failed[0].id}: {failed[0].detail}" if failed else report.summary
                return RunFacts(run_id, author, why[:300], None)
            return RunFacts(run_id, author, None, _said(verification, root))
    except (ServiceError, Differs, OSError) as error:
        return RunFacts(run_id, author, f"{type(error).__name__}: {error}"[:300], None)


def _said(verification: Verification, root: Path) -> PackFacts:
    subject = verification.subject
    tests = [line for line in subject.metrics if line.split == "test"]
    config = subject.read_object("config.json")
    return PackFacts(
        manifest_sha256=digest.of_file(root / "manifest.json"),
        dataset=str(config["dataset"]),
        dataset_digests=dict(subject.provenance.dataset.files),
        model=str(config["model"]["architecture"]),
        model_digest=digest_of_model(config["model"]),
        step=max((line.step for line in subject.metrics), default=0),
        test_loss=tests[-1].loss if tests else None,
        test_accuracy=tests[-1].accuracy if tests else None,
    )
