"""Dual consensus as a pure state machine.

    pending ------ a side passes --> under review ---- the other passes --> accepted
       |                                |   ^  |
       |                                |   '--' a side says pass again
       '------- a side fails --> rejected <-- a side fails, for the first time or after a pass

Accepted and rejected are final. On a rejected proposal the side that has not voted may still record
its vote; it changes nothing. Every other vote on a final proposal is a Conflict.
"""

from collections.abc import Mapping
from enum import StrEnum

from evidence.errors import Conflict
from governance.proposals.schema import Side, Verdict

Votes = Mapping[Side, Verdict]
"""The last vote of each side that has one, up to the moment at which the state became final."""


class State(StrEnum):
    """Where a proposal stands; the values are the wire spelling."""

    PENDING = "pending"
    UNDER_REVIEW = "under_review"
    ACCEPTED = "accepted"
    REJECTED = "rejected"

    @property
    def is_final(self) -> bool:
        """Whether no vote can change it any more."""
        return self in {State.ACCEPTED, State.REJECTED}


def state_of(votes: Votes) -> State:
    """Return the state that votes give."""
    if Verdict.FAIL in votes.values():
        return State.REJECTED
    if len(votes) == len(Side):
        return State.ACCEPTED
    return State.UNDER_REVIEW if votes else State.PENDING


def cast(votes: Votes, side: Side, verdict: Verdict) -> dict[Side, Verdict]:
    """Return the votes after one more.

    Raises:
        Conflict: The proposal is accepted, or it is rejected and this side has voted.
    """
    state = state_of(votes)
    if state is State.ACCEPTED or (state is State.REJECTED and side in votes):
        raise Conflict(
            f"the proposal is {state}, and {side} has voted {votes[side]}; that is final",
            field="verdict",
            expected="a proposal that is pending or under review",
            found=state,
            cure="make a new proposal that supersedes it",
        )
    return {**votes, side: verdict}
