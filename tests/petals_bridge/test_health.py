"""Every move of a breaker, allowed and not, by a clock that the test turns."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from petals_bridge.health import (
    FAILURES,
    LONGEST_OPEN_S,
    OPEN_S,
    WINDOW,
    Breaker,
    BreakerState,
    Health,
)
from tests.petals_bridge.test_bandwidth import Dial

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.failed(now=now)
    return breaker


def test_one_failure_less_than_the_threshold_leaves_it_closed() -> None:
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(now=0)
    assert breaker.state(now=0) is CLOSED
    breaker.succeeded(now=0)
    breaker.failed(now=0)
    assert breaker.state(now=0) is CLOSED


def test_failures_in_a_row_open_it() -> None:
    assert opened().state(now=0) is OPEN
    assert not opened().admits(now=0)


def test_every_other_failure_opens_it_once_there_is_a_window() -> None:
    breaker = Breaker()
    for turn in range(WINDOW - 1):
        (breaker.failed if turn % 2 else breaker.succeeded)(now=0)
    assert breaker.state(now=0) is CLOSED
    breaker.failed(now=0)
    assert breaker.state(now=0) is OPEN


def test_after_its_time_it_lets_one_request_through() -> None:
    breaker = opened()
    assert breaker.state(now=OPEN_S) is HALF_OPEN
    assert breaker.admits(now=OPEN_S)
    breaker.begin(now=OPEN_S)
    assert not breaker.admits(now=OPEN_S)


def test_success_in_half_open_closes_it() -> None:
    breaker = opened()
    breaker.begin(now=OPEN_S)
    breaker.succeeded(now=OPEN_S)
    assert breaker.state(now=OPEN_S) is CLOSED


def test_failure_in_half_open_opens_it_for_twice_as_long() -> None:
    breaker = opened()
    breaker.begin(now=OPEN_S)
    breaker.failed(now=OPEN_S)
    assert breaker.state(now=OPEN_S + 2 * OPEN_S - 0.001) is OPEN
    assert breaker.state(now=OPEN_S + 2 * OPEN_S) is HALF_OPEN


def test_late_answers_do_not_move_an_open_breaker() -> None:
    breaker = opened()
    breaker.succeeded(now=0)
    assert breaker.state(now=0) is OPEN
    breaker.failed(now=OPEN_S / 2)
    assert breaker.state(now=OPEN_S) is HALF_OPEN


def test_a_peer_that_is_known_to_be_gone_is_not_tried_three_times() -> None:
    breaker = Breaker()
    breaker.trip(now=0)
    assert breaker.state(now=0) is OPEN


@given(st.lists(st.tuples(st.sampled_from(["ok", "bad", "trip"]), st.floats(0, 400)), max_size=80))
def test_it_is_never_open_longer_than_the_longest(moves: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(), 0.0
    for move, pause in moves:
        now += pause
        act = {"ok": breaker.succeeded, "bad": breaker.failed, "trip": breaker.trip}[move]
        act(now=now)
        assert breaker.state(now=now + LONGEST_OPEN_S) is not OPEN


def test_health_tells_what_was_measured_and_null_where_nothing_was() -> None:
    health = Health(seconds=Dial(), clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    assert health.view("a")["rtt_s"] is None
    assert health.view("a")["error_rate"] is None
    health.answered("a", rtt_s=0.1)
    health.answered("a", rtt_s=0.2, step_s=0.5, size=100)
    health.failed("a", "no answer")
    view = health.view("a")
    assert view["rtt_s"] == 0.8 * 0.1 + 0.2 * 0.2
    assert (view["step_s"], view["bytes_per_s"]) == (0.5, 200.0)
    assert view["error_rate"] == 1 / 3
    assert (view["last_seen"], view["last_error"]) == ("2026-01-01T00:00:00.000Z", "no answer")


def test_health_admits_only_peers_whose_breaker_does() -> None:
    health = Health(seconds=Dial(), clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    health.failed("a", "gone", is_gone=True)
    assert health.admitting(["a", "b"]) == {"b"}
