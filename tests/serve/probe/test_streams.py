"""The checks of streams, on streams made for them."""

import json

import pytest

from serve.probe import check_streams
from serve.probe.capture import Exchange
from serve.probe.contract import Contract
from serve.probe.events import Arrival
from serve.probe.finding import Outcome, Result, conclude
from serve.probe.seen import FIRST, Asked, Seen, SeenRun

STEPS = 40
STEP_S = 0.05


def exchange(events: tuple[Arrival, ...] = ()) -> Exchange:
    route = "/api/events/training"
    return Exchange(1, "GET", route, route, 200, {}, b"{}", 0.0, 1.0, "c.json", events=events)


def metric(number: int, at_s: float) -> Arrival:
    stamp = f"2026-01-01T00:00:{number * STEP_S:06.3f}Z"
    record = {"seq": number, "kind": "metric", "timestamp": stamp, "step_ms": 1000 * STEP_S}
    return Arrival(at_s, str(number), "metric", json.dumps(record))


def seen_with(arrivals: list[Arrival]) -> Seen:
    seen = Seen(Contract({"paths": {}}), None, [], [], token_given=False)
    run = SeenRun(Asked(FIRST, {}, {}), exchange(), "0123456789ab")
    run.streams = [exchange(tuple(arrivals))]
    seen.runs[FIRST] = run
    return seen


def live(delays: list[float]) -> Outcome:
    arrivals = [metric(n, n * STEP_S + delay) for n, delay in enumerate(delays, 1)]
    return conclude(lambda: check_streams.live(seen_with(arrivals)))


@pytest.mark.parametrize("delay", [0.0, 3.0])
def test_a_stream_that_follows_its_run_is_live_however_far_behind(delay: float) -> None:
    assert live([delay] * STEPS).result is Result.PASSED


def test_a_hiccup_at_the_beginning_is_no_lie() -> None:
    assert live([max(0.0, 0.7 - n * STEP_S) for n in range(STEPS)]).result is Result.PASSED


def test_what_is_sent_in_one_piece_is_not_live() -> None:
    (held, moments) = live([(STEPS - n) * STEP_S for n in range(STEPS)]).discrepancies
    assert held.expected.startswith("over about the 1.95 s")
    assert moments.expected == "at least 3 moments of arrival"


def test_steps_that_took_longer_than_their_timestamps_allow_are_found() -> None:
    crowded = [metric(1, n * STEP_S) for n in range(STEPS)]
    outcome = conclude(lambda: check_streams.live(seen_with(crowded)))
    assert "/timestamp" in {one.field for one in outcome.discrepancies}


def order(numbers: list[int], *, last: str = "end") -> Outcome:
    arrivals = [metric(number, 0.0) for number in numbers]
    record = json.dumps({"seq": len(numbers) + 1, "kind": last})
    end = Arrival(0.0, str(len(numbers) + 1), last, record)
    return conclude(lambda: check_streams.order(seen_with([*arrivals, end])))


def test_events_in_order_up_to_the_end_pass() -> None:
    assert order([1, 2, 3]).result is Result.PASSED


@pytest.mark.parametrize("numbers", [[1, 3, 3], [1, 1, 2], [2, 3, 4], [1, 3, 2]])
def test_a_gap_a_repetition_or_another_order_is_found(numbers: list[int]) -> None:
    assert order(numbers).result is Result.FAILED


def test_a_stream_without_its_end_is_found() -> None:
    assert order([1, 2], last="log").result is Result.FAILED


def test_a_run_that_was_not_taken_in_cannot_be_told_of() -> None:
    seen = seen_with([])
    seen.runs[FIRST].run_id = ""
    assert conclude(lambda: check_streams.live(seen)).result is Result.CANNOT_TELL
