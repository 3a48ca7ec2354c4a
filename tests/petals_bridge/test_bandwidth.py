"""Token buckets by a clock that the test turns."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import InvalidInput, RateLimited
from petals_bridge.bandwidth import Allowance, Direction, Guardrail, TokenBucket

SENT, RECEIVED = Direction.SENT, Direction.RECEIVED


class Dial:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_full_bucket_lets_its_burst_through_at_once() -> None:
    bucket = TokenBucket(10, 100, now=0)
    assert bucket.wait_for(100, now=0) == 0
    bucket.take(100, now=0)
    assert bucket.wait_for(10, now=0) == 1
    assert bucket.wait_for(10, now=1) == 0


def test_a_transfer_above_the_burst_passes_when_the_bucket_is_full_and_is_paid_off() -> None:
    bucket = TokenBucket(10, 100, now=0)
    assert bucket.wait_for(250, now=0) == 0
    bucket.take(250, now=0)
    assert bucket.wait_for(1, now=0) == pytest.approx(15.1)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(10, 10, now=100)
    bucket.take(10, now=100)
    assert bucket.wait_for(10, now=50) == 1


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1)])
def test_a_bucket_without_flow_or_room_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(InvalidInput):
        TokenBucket(rate, burst, now=0)


@given(st.lists(st.tuples(st.integers(1, 5_000), st.floats(0, 3)), min_size=1, max_size=60))
def test_no_order_of_transfers_gets_more_than_rate_and_burst(
    steps: list[tuple[int, float]],
) -> None:
    rate, burst, largest = 1_000.0, 2_000.0, 5_000
    bucket, now, passed = TokenBucket(rate, burst, now=0), 0.0, 0
    for size, pause in steps:
        now += pause
        now += bucket.wait_for(size, now=now)
        bucket.take(size, now=now)
        passed += size
        assert passed <= rate * now + burst + largest + 1e-6


def test_the_peer_and_the_total_are_both_held() -> None:
    dial = Dial()
    allowance = Allowance(peer_bytes_per_s=100, total_bytes_per_s=150)
    guard = Guardrail(allowance, seconds=dial)
    assert guard.admit("a", SENT, 100) == 0
    assert guard.admit("b", SENT, 100) == pytest.approx(50 / 150)
    assert guard.admit("c", RECEIVED, 100) == 0


def test_what_would_wait_too_long_is_refused_with_the_reason_and_not_counted() -> None:
    guard = Guardrail(Allowance(peer_bytes_per_s=10, max_wait_s=1.0), seconds=Dial())
    guard.admit("a", SENT, 30)
    with pytest.raises(RateLimited, match=r"would wait 3\.0 s, the limit is 1\.0 s"):
        guard.admit("a", SENT, 10)
    assert guard.counts()["a"]["bytes_sent"] == 30
    assert guard.refused == 1


def test_bytes_are_counted_without_any_limit() -> None:
    guard = Guardrail(Allowance(), seconds=Dial())
    assert guard.admit("a", SENT, 10**9) == 0
    guard.note("a", RECEIVED, 7)
    assert guard.counts() == {"a": {"bytes_sent": 10**9, "bytes_received": 7, "sessions": 0}}


def test_what_came_is_waited_off_before_more_is_asked_for() -> None:
    dial = Dial()
    guard = Guardrail(Allowance(peer_bytes_per_s=100), seconds=dial)
    assert guard.wait_to_receive("a") == 0
    guard.note("a", RECEIVED, 300)
    assert guard.wait_to_receive("a") == pytest.approx(2)
    dial.now = 2
    assert guard.wait_to_receive("a") == 0


def test_sessions_are_bounded_for_each_peer_and_together() -> None:
    guard = Guardrail(Allowance(peer_sessions=1, total_sessions=2), seconds=Dial())
    with guard.session("a"), guard.session("b"):
        assert not guard.has_room("c")
        with pytest.raises(RateLimited, match="petals_total_sessions"):
            guard.open_session("c")
    with guard.session("a"), pytest.raises(RateLimited, match="petals_peer_sessions"):
        guard.open_session("a")
    assert guard.has_room("a")


def test_threads_together_lose_no_byte() -> None:
    guard = Guardrail(Allowance(), seconds=Dial())
    work = [
        threading.Thread(target=lambda: [guard.admit("a", SENT, 1) for _ in range(2_000)])
        for _ in range(4)
    ]
    for one in work:
        one.start()
    for one in work:
        one.join()
    assert guard.counts()["a"]["bytes_sent"] == 8_000
