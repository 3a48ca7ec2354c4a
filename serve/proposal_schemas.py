"""Wire schemas of proposals; what an author writes is `governance.proposals.schema.Draft`."""

from typing import Annotated, Any

from pydantic import Field

from governance.approvals import Approval
from governance.proposals.consensus import State
from governance.proposals.schema import (
    ChangeType,
    CitedRun,
    Ethics,
    PhaseMove,
    Side,
    Training,
    Verdict,
)
from serve.schemas import Wire


class NewVote(Wire):
    """A vote on a proposal."""

    side: Side = Side.HUMAN
    """`human` for a person; `ai` for a service account with the role of a reviewer."""
    verdict: Verdict
    reasons: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=500)]],
        Field(min_length=1, max_length=50),
    ]
    """What it rests on; they stand in the signed record."""


class RecordView(Wire):
    """Where a signed record stands."""

    number: int
    """In the queue; 1 is the first record of the service."""
    sha256: str
    """Of the record, which is an entry of the log."""
    log_index: int | None
    """Place in the log; null where a full disk keeps it out so far."""


class VoteView(Wire):
    """A vote."""

    side: Side
    verdict: Verdict
    reasons: list[str]
    by: str
    """The account, or `reviewer` for the one that is built in."""
    at: str
    record: RecordView


class VotesView(Wire):
    """What counts of each side; null is open."""

    ai: VoteView | None
    human: VoteView | None


class ProposalView(Wire):
    """A proposal."""

    proposal_id: str
    state: State
    created: str
    author: str
    title: str
    summary: str
    change_type: ChangeType
    training: Training
    runs: list[CitedRun]
    ethics: Ethics
    phase: PhaseMove | None
    supersedes: str | None
    superseded_by: str | None
    """The accepted proposal that replaces it."""
    votes: VotesView
    history: list[VoteView]
    """Every vote that was ever recorded, oldest first."""
    approval: Approval | None
    """What it allows, once it is accepted."""
    record: RecordView
    links: dict[str, str]


class ProposalPage(Wire):
    """One page of proposals, newest first."""

    proposals: list[ProposalView]
    total: int
    """How many there are with this filter."""
    next_offset: int | None


class ProposalStats(Wire):
    """Counts of proposals."""

    total: int
    by_state: dict[str, int]
    by_change_type: dict[str, int]
    votes: dict[str, dict[str, int]]
    """By side and verdict, every record."""
    phase: str
    """The service's phase."""
    records: int
    """Signed records in the queue."""
    recovery: dict[str, Any] | None
    """What the last recovery of the queue found and restored; null if there never was one."""
