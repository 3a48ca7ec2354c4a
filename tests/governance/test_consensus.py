"""The state machine of dual consensus: the four cases, and every move."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import Conflict
from governance.proposals.consensus import State, cast, state_of
from governance.proposals.schema import Side, Verdict

AI, HUMAN = Side
PASS, FAIL = Verdict

MOVES = st.lists(st.tuples(st.sampled_from(Side), st.sampled_from(Verdict)), max_size=8)


def after(*moves: tuple[Side, Verdict]) -> State:
    votes: dict[Side, Verdict] = {}
    for side, verdict in moves:
        votes = cast(votes, side, verdict)
    return state_of(votes)


@pytest.mark.parametrize("first", Side)
@pytest.mark.parametrize(
    ("ai", "human", "state"),
    [
        (PASS, PASS, State.ACCEPTED),
        (PASS, FAIL, State.REJECTED),
        (FAIL, PASS, State.REJECTED),
        (FAIL, FAIL, State.REJECTED),
    ],
)
def test_the_four_cases_in_either_order(
    ai: Verdict, human: Verdict, state: State, first: Side
) -> None:
    moves = [(AI, ai), (HUMAN, human)]
    assert after(*(moves if first is AI else reversed(moves))) is state


def test_nobody_has_voted() -> None:
    assert after() is State.PENDING


@pytest.mark.parametrize("side", Side)
def test_one_pass_is_under_review_and_one_fail_is_enough(side: Side) -> None:
    assert after((side, PASS)) is State.UNDER_REVIEW
    assert after((side, FAIL)) is State.REJECTED


@pytest.mark.parametrize("side", Side)
def test_a_vote_can_be_changed_while_under_review(side: Side) -> None:
    assert after((side, PASS), (side, PASS)) is State.UNDER_REVIEW
    assert after((side, PASS), (side, FAIL)) is State.REJECTED


@pytest.mark.parametrize(("side", "verdict"), list(itertools.product(Side, Verdict)))
def test_an_accepted_proposal_takes_no_vote(side: Side, verdict: Verdict) -> None:
    with pytest.raises(Conflict, match="accepted"):
        after((AI, PASS), (HUMAN, PASS), (side, verdict))


@pytest.mark.parametrize("verdict", Verdict)
def test_a_rejected_proposal_takes_the_other_sides_vote_once_and_stays(verdict: Verdict) -> None:
    assert after((AI, FAIL), (HUMAN, verdict)) is State.REJECTED
    with pytest.raises(Conflict, match="rejected"):
        after((AI, FAIL), (AI, verdict))
    with pytest.raises(Conflict, match="rejected"):
        after((AI, FAIL), (HUMAN, PASS), (HUMAN, verdict))


@given(MOVES)
def test_a_final_state_never_changes_and_accepted_needs_both(
    moves: list[tuple[Side, Verdict]],
) -> None:
    votes: dict[Side, Verdict] = {}
    for side, verdict in moves:
        before = state_of(votes)
        try:
            votes = cast(votes, side, verdict)
        except Conflict:
            assert before.is_final
        assert not before.is_final or state_of(votes) is before
        is_accepted = state_of(votes) is State.ACCEPTED
        assert is_accepted is (votes == {AI: PASS, HUMAN: PASS})
