"""What a proposal says, and what a vote on one says; both are the bodies of signed records.

An author writes a `Draft`. The service makes a `Proposal` of it: the id, the author, the digests of
data and model, and the measures of the runs that are cited, which nobody types in.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from evidence.records import Digest, Record, Timestamp
from governance.approvals import ProposalId

MOST_STEPS = 10_000
MOST_RUNS = 16
MOST_BYTES = 32 << 10
"""Most bytes of the canonical JSON of a proposal or vote; an entry of the log takes 64 KiB."""

RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
PhaseName = Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,32}$")]
Device = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[A-Za-z0-9:_-]+$")]
Title = Annotated[str, Field(min_length=3, max_length=120)]
Summary = Annotated[str, Field(min_length=10, max_length=500)]


class ChangeType(StrEnum):
    """What kind of change is proposed."""

    UPGRADE = "upgrade"
    PATCH = "patch"
    RESEARCH = "research"
    OPTIMIZATION = "optimization"
    FEATURE = "feature"


class Harm(StrEnum):
    """What the ethics review must answer for."""

    PII_EXPOSURE = "pii_exposure"
    MISREPRESENTATION = "misrepresentation"
    UNFAIR_OUTCOME = "unfair_outcome"
    UNSAFE_USE = "unsafe_use"
    LICENCE_BREACH = "licence_breach"
    SECURITY = "security"


class Answer(StrEnum):
    """Whether a harm is there."""

    NONE = "none"
    MITIGATED = "mitigated"
    PRESENT = "present"


class HarmReview(Record):
    """The answer for one harm."""

    answer: Answer
    note: Annotated[str, Field(max_length=500)] = ""
    """What it rests on; needed where the answer is not `none`."""


class Ethics(Record):
    """The author's ethics review."""

    compliance_score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    """How far the change complies with the policy, [0, 1], by the author's own judgement."""
    bias_assessment: Annotated[str, Field(min_length=10, max_length=2000)]
    """Who could be treated worse by the result, and how that was looked into."""
    harms: dict[Harm, HarmReview]
    """One answer for each harm."""

    @model_validator(mode="after")
    def _answers_all(self) -> Self:
        missing = [harm.value for harm in Harm if harm not in self.harms]
        if missing:
            raise ValueError(f"harms: expected an answer for each, missing {', '.join(missing)}")
        return self


class DraftTraining(Record):
    """What is to be trained, as an author writes it."""

    model: Annotated[str, Field(min_length=1, max_length=64)] | dict[str, Any]
    """An architecture with its defaults, or the part `model` of a run config."""
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)]
    """Most updates, 1 to 10,000."""
    dataset: DatasetName
    device: Device | None = None
    """Device that is to be allowed, as a run config names it; null asks for none."""


class PhaseMove(Record):
    """That the service is to move, or go back, to another phase."""

    to: PhaseName
    probe_sha256: Digest
    """Of the `report.json` of a probe of this service, below its evidence root."""


class Draft(Record):
    """What an author writes."""

    title: Title
    summary: Summary
    change_type: ChangeType
    training: DraftTraining | None = None
    """Null takes it from `from_run`."""
    from_run: RunId | None = None
    """A finished run that training data and measures are taken from; it is cited too."""
    runs: Annotated[tuple[RunId, ...], Field(max_length=MOST_RUNS)] = ()
    """Finished runs that are cited; their measures come from their evidence."""
    ethics: Ethics
    phase: PhaseMove | None = None
    supersedes: ProposalId | None = None
    """A proposal with a final verdict that this one replaces."""

    @model_validator(mode="after")
    def _has_training(self) -> Self:
        if (self.training is None) == (self.from_run is None):
            raise ValueError("expected one of training and from_run")
        return self


class Training(Record):
    """What may be trained once the proposal is accepted: these bytes, this model, no more steps."""

    model: Annotated[str, Field(max_length=64)]
    """Architecture."""
    model_digest: Digest
    """Of the part `model` of a run config."""
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)]
    dataset: DatasetName
    dataset_digests: dict[str, Digest]
    """SHA-256 by file."""
    device: Device | None


class CitedRun(Record):
    """A run that speaks for the proposal, with what its evidence said at the submission."""

    run_id: RunId
    author: Annotated[str, Field(max_length=128)]
    """Who submitted it."""
    manifest_sha256: Digest
    """Of its pack's manifest.json."""
    dataset: DatasetName
    model: Annotated[str, Field(max_length=64)]
    step: Annotated[int, Field(ge=0)]
    """Updates done."""
    test_loss: float | None
    test_accuracy: float | None


class Proposal(Record):
    """A proposal as it was taken in; nothing of it ever changes."""

    v: Literal[1] = 1
    proposal_id: ProposalId
    created: Timestamp
    author: Annotated[str, Field(max_length=128)]
    title: Title
    summary: Summary
    change_type: ChangeType
    training: Training
    runs: Annotated[tuple[CitedRun, ...], Field(max_length=MOST_RUNS)]
    ethics: Ethics
    phase: PhaseMove | None
    supersedes: ProposalId | None
    idempotency_key_sha256: Digest | None


class Side(StrEnum):
    """Who has to pass a proposal."""

    AI = "ai"
    HUMAN = "human"


class Verdict(StrEnum):
    """What a side says."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"


class Vote(Record):
    """What one side said of a proposal."""

    v: Literal[1] = 1
    proposal_id: ProposalId
    side: Side
    verdict: Verdict
    reasons: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=500)], ...],
        Field(min_length=1, max_length=50),
    ]
    by: Annotated[str, Field(max_length=128)]
    """The account, or `reviewer` for the one that is built in."""
    at: Timestamp
    replaces: Digest | None
    """SHA-256 of the record of this side's vote before, null for the first."""
