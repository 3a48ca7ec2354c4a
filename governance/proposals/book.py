"""All proposals with their votes, folded from the records of the queue; and who may vote.

Rules that a state machine alone does not know stand here: the human vote needs a person with the
role of a reviewer who is not the author; the AI vote is given by the built-in reviewer or by a
service account with that role, which is not the author either.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from evidence import digest
from evidence.clock import moment, timestamp
from evidence.errors import Conflict, Forbidden, NotFound
from governance.accounts import AccountKind, Caller, Role
from governance.approvals import Approval
from governance.proposals import consensus
from governance.proposals.consensus import State
from governance.proposals.record import Signed
from governance.proposals.schema import Proposal, Side, Verdict, Vote

REVIEWER = "reviewer"
"""Whom records name for the reviewer that is built in."""


@dataclass(slots=True)
class Case:
    """One proposal and everything that was said of it."""

    proposal: Proposal
    record: Signed
    votes: dict[Side, Verdict] = field(default_factory=dict)
    """What counts."""
    history: list[Signed] = field(default_factory=list)
    """Every record of a vote, oldest first."""
    decided: Vote | None = None
    """The vote by which it became accepted or rejected."""
    decided_by: str | None = None
    """SHA-256 of that vote's record."""
    superseded_by: str | None = None
    """Id of the accepted proposal that replaces it."""

    @property
    def state(self) -> State:
        """Where it stands."""
        return consensus.state_of(self.votes)

    def last_of(self, side: Side) -> Signed | None:
        """Return the last record of a vote of a side, or None."""
        for record in reversed(self.history):
            if isinstance(record.body, Vote) and record.body.side is side:
                return record
        return None


class Book:
    """Proposals by id, in the order in which they came.

    Args:
        records: Of the queue, oldest first.
    """

    def __init__(self, records: Iterable[Signed] = ()) -> None:
        self._cases: dict[str, Case] = {}
        self._by_key: dict[str, str] = {}
        self.phase: str | None = None
        """The phase that the last accepted proposal about one moved to; None before the first."""
        for record in records:
            self.take(record)

    def take(self, record: Signed) -> Case:
        """Take in the next record of the queue.

        Raises:
            Conflict: It is a vote that the state machine does not allow; the queue never has one.
        """
        if isinstance(record.body, Proposal):
            return self._submitted(record, record.body)
        return self._voted(record, record.body)

    def _submitted(self, record: Signed, proposal: Proposal) -> Case:
        case = self._cases[proposal.proposal_id] = Case(proposal, record)
        if proposal.idempotency_key_sha256 is not None:
            self._by_key[proposal.idempotency_key_sha256] = proposal.proposal_id
        return case

    def _voted(self, record: Signed, vote: Vote) -> Case:
        case = self.case(vote.proposal_id)
        was_final = case.state.is_final
        case.votes = consensus.cast(case.votes, vote.side, vote.verdict)
        case.history.append(record)
        if case.state.is_final and not was_final:
            case.decided, case.decided_by = vote, record.sha256
        if case.state is State.ACCEPTED:
            self._accepted(case.proposal)
        return case

    def _accepted(self, proposal: Proposal) -> None:
        if proposal.supersedes in self._cases:
            self._cases[proposal.supersedes].superseded_by = proposal.proposal_id
        if proposal.phase is not None:
            self.phase = proposal.phase.to

    # -- reading -------------------------------------------------------------------------------

    def case(self, proposal_id: str) -> Case:
        """Return a proposal with its votes.

        Raises:
            NotFound: There is none of that id.
        """
        if proposal_id not in self._cases:
            raise NotFound(
                f"there is no proposal {proposal_id[:40]}",
                field="proposal_id",
                found=proposal_id[:40],
            )
        return self._cases[proposal_id]

    def of_key(self, key_sha256: str | None) -> Case | None:
        """Return the proposal that was made with an Idempotency-Key, or None."""
        proposal_id = self._by_key.get(key_sha256 or "")
        return None if proposal_id is None else self._cases[proposal_id]

    def page(
        self, *, wanted: dict[str, str | None], offset: int, limit: int
    ) -> tuple[list[Case], int]:
        """Return some proposals, newest first, and how many match `state`, `author` and so on."""
        chosen = [case for case in reversed(self._cases.values()) if _matches(case, wanted)]
        return chosen[offset : offset + limit], len(chosen)

    def stats(self) -> dict[str, Any]:
        """Return counts by state, by kind of change, and by side and verdict."""
        cases = self._cases.values()
        votes = [r.body for case in cases for r in case.history if isinstance(r.body, Vote)]
        return {
            "total": len(cases),
            "by_state": {s.value: sum(case.state is s for case in cases) for s in State},
            "by_change_type": _counted(case.proposal.change_type.value for case in cases),
            "votes": {
                side.value: {
                    verdict.value: sum((v.side, v.verdict) == (side, verdict) for v in votes)
                    for verdict in Verdict
                }
                for side in Side
            },
            "phase": self.phase,
        }

    def approvals(self, *, valid: timedelta) -> Iterator[Approval]:
        """Yield what each accepted proposal allows, unless an accepted one replaced it.

        Args:
            valid: How long after its acceptance.
        """
        for case in self._cases.values():
            if case.state is State.ACCEPTED and case.superseded_by is None:
                yield approval_of(case, valid=valid)

    # -- rules ---------------------------------------------------------------------------------

    def require_supersedable(self, proposal_id: str | None) -> None:
        """Raise unless a proposal that another is to replace is there and final.

        Raises:
            NotFound: There is none of that id.
            Conflict: It is still open, or was replaced already.
        """
        if proposal_id is None:
            return
        case = self.case(proposal_id)
        if not case.state.is_final or case.superseded_by is not None:
            found = case.state if case.superseded_by is None else f"by {case.superseded_by}"
            raise Conflict(
                f"proposal {proposal_id} cannot be superseded: it is {found}",
                field="supersedes",
                expected="a proposal that is accepted or rejected, and not superseded",
                found=str(found),
            )

    def vote(
        self, proposal_id: str, side: Side, verdict: Verdict, *, by: str, reasons: tuple[str, ...],
        now: datetime,
    ) -> Vote:  # fmt: skip
        """Return the vote to record; the book does not change.

        Raises:
            NotFound: There is no such proposal.
            Conflict: Its state does not allow it.
        """
        case = self.case(proposal_id)
        consensus.cast(case.votes, side, verdict)
        before = case.last_of(side)
        return Vote(
            proposal_id=proposal_id,
            side=side,
            verdict=verdict,
            reasons=reasons,
            by=by,
            at=timestamp(now),
            replaces=before.sha256 if before is not None else None,
        )


def require_voter(caller: Caller, proposal: Proposal, side: Side) -> None:
    """Raise unless somebody may cast the vote of a side.

    Raises:
        Forbidden: They are the author, no reviewer, or not what the side asks for.
    """
    wanted = AccountKind.USER if side is Side.HUMAN else AccountKind.SERVICE
    if caller.name == proposal.author:
        raise Forbidden(
            f"{caller.name} is the author of {proposal.proposal_id}; somebody else must vote",
            field="author",
            expected="another account",
            found=caller.name,
        )
    if not caller.role.covers(Role.REVIEWER):
        raise Forbidden(
            f"a vote needs the role reviewer, {caller.name} has {caller.role}",
            field="role",
            expected=Role.REVIEWER,
            found=caller.role,
        )
    if caller.kind is not wanted:
        raise Forbidden(
            f"the {side} vote needs an account of a {wanted}, {caller.name} is a {caller.kind}",
            field="side",
            expected=wanted,
            found=caller.kind,
            cure="POST /api/proposals/{id}/validate asks the built-in reviewer for the ai vote",
        )


def approval_of(case: Case, *, valid: timedelta) -> Approval:
    """Return what an accepted proposal allows."""
    assert case.decided is not None, "it is accepted"
    assert case.decided_by is not None, "it is accepted"
    training = case.proposal.training
    return Approval(
        proposal_id=case.proposal.proposal_id,
        dataset=training.dataset,
        dataset_digests=training.dataset_digests,
        model=training.model,
        model_digest=training.model_digest,
        most_steps=training.steps,
        device=training.device,
        accepted_at=case.decided.at,
        expires_at=timestamp(moment(case.decided.at) + valid),
        record_digest=case.decided_by,
    )


def key_digest(idempotency_key: str | None) -> str | None:
    """Return how a proposal keeps an Idempotency-Key."""
    return digest.of_bytes(idempotency_key.encode()) if idempotency_key else None


def _matches(case: Case, wanted: dict[str, str | None]) -> bool:
    has = {
        "state": case.state.value,
        "author": case.proposal.author,
        "change_type": case.proposal.change_type.value,
        "dataset": case.proposal.training.dataset,
    }
    return all(value is None or has[name] == value for name, value in wanted.items())


def _counted(values: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts
