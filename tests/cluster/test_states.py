"""Every edge between two states: the legal ones are taken, all others are refused."""

from itertools import product

import pytest

from cluster.states import LIVE, RESUMABLE, advance
from evidence.errors import Conflict
from evidence.records import RunState

LEGAL = {
    ("queued", "running"), ("queued", "cancelled"), ("queued", "failed"),
    ("running", "succeeded"), ("running", "failed"), ("running", "cancelled"),
    ("running", "interrupted"),
    ("interrupted", "queued"), ("interrupted", "cancelled"),
    ("failed", "queued"),
}  # fmt: skip
EVERY = set(product([state.value for state in RunState], repeat=2))


@pytest.mark.parametrize(("state", "to"), sorted(LEGAL))
def test_a_legal_move_is_taken(state: str, to: str) -> None:
    assert advance(RunState(state), RunState(to)) == to


@pytest.mark.parametrize(("state", "to"), sorted(EVERY - LEGAL))
def test_every_other_move_is_refused(state: str, to: str) -> None:
    with pytest.raises(Conflict, match=f"a run that is {state} cannot become {to}"):
        advance(RunState(state), RunState(to))


def test_a_refusal_names_the_legal_moves() -> None:
    with pytest.raises(Conflict, match="it can become cancelled, queued"):
        advance(RunState.INTERRUPTED, RunState.RUNNING)


def test_a_refusal_says_when_nothing_is_legal() -> None:
    with pytest.raises(Conflict, match="nothing: it is final"):
        advance(RunState.SUCCEEDED, RunState.QUEUED)


def test_what_can_be_resumed_may_move_to_queued() -> None:
    assert {RunState(state) for state, to in LEGAL if to == "queued"} == RESUMABLE


def test_no_live_state_is_final() -> None:
    assert not any(state.is_final for state in LIVE)
