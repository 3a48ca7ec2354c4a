"""What each key has used, folded from lines of the service journal."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.ledger import Ledger
from evidence.clock import timestamp
from evidence.errors import RateLimited
from governance.accounts import Quota

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = ("alice", "key-000000000001")


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def status(
    run_id: str, state: str, previous: str | None, *, s: float, **more: Any
) -> dict[str, Any]:
    who = {"who": ALICE[0], "key": ALICE[1]} if previous is None else {"who": "service"}
    moved = {"action": "run.status", "run_id": run_id, "state": state, "previous": previous}
    return {"timestamp": timestamp(at(s)), **moved, **who, **more}


def ledger(*lines: dict[str, Any]) -> Ledger:
    made = Ledger()
    for one in lines:
        made.take(one)
    return made


def whole(run_id: str = "r1", *, s: float = 0, steps: int = 50) -> list[dict[str, Any]]:
    """Return the lines of a run of two devices that takes 10 s."""
    return [
        status(run_id, "queued", None, s=s, steps_asked=steps),
        status(run_id, "running", "queued", s=s + 5, devices=2),
        status(run_id, "succeeded", "running", s=s + 15, steps=steps, bytes=1000),
    ]


def sums(made: Ledger, *, s: float = 100) -> dict[str, Any]:
    (one,) = made.usage(now=at(s))
    return one


def test_a_run_counts_its_steps_bytes_and_device_seconds() -> None:
    told = sums(ledger(*whole()))
    assert (told["account"], told["key_id"]) == ALICE
    assert (told["runs"], told["steps"], told["device_s"], told["bytes"]) == (1, 50, 20.0, 1000)
    assert told["live_runs"] == 0


def test_waiting_costs_nothing_and_a_running_run_counts_up_to_now() -> None:
    made = ledger(*whole()[:2])
    assert sums(made, s=5)["device_s"] == 0
    assert sums(made, s=8)["device_s"] == 6
    assert sums(made, s=8)["live_runs"] == 1


def test_a_resumed_run_counts_its_steps_once_and_its_time_twice() -> None:
    lines = [
        *whole()[:2],
        status("r1", "interrupted", "running", s=10, steps=20, bytes=400),
        status("r1", "queued", "interrupted", s=50, steps=20, bytes=400),
        status("r1", "running", "queued", s=60, devices=2),
        status("r1", "succeeded", "running", s=70, steps=50, bytes=1000),
    ]
    told = sums(ledger(*lines))
    assert (told["runs"], told["steps"], told["device_s"], told["bytes"]) == (1, 50, 30.0, 1000)


def test_time_in_which_the_cluster_was_dead_is_not_counted() -> None:
    last_seen = timestamp(at(7))
    lost = status("r1", "interrupted", "running", s=9000, steps=5, bytes=1, until=last_seen)
    assert sums(ledger(*whole()[:2], lost), s=9000)["device_s"] == 4


def test_a_deleted_run_keeps_its_steps_and_gives_back_its_bytes() -> None:
    gone = {"timestamp": timestamp(at(30)), "action": "run.deleted", "who": "owner", "run_id": "r1"}
    told = sums(ledger(*whole(), gone))
    assert (told["steps"], told["bytes"]) == (50, 0)


def test_a_day_forgets_and_the_sums_do_not() -> None:
    told = sums(ledger(*whole(), *whole("r2", s=90_000)), s=90_020)
    assert (told["runs"], told["steps"], told["device_s"]) == (2, 100, 40.0)
    assert (told["runs_per_day"], told["steps_per_day"], told["device_s_per_day"]) == (1, 50, 20.0)


@pytest.mark.parametrize(
    ("part", "most", "steps"),
    [
        ("live_runs", 1, 1),
        ("runs_per_day", 2, 1),
        ("steps_per_day", 149, 50),
        ("device_s_per_day", 20, 1),
        ("stored_bytes", 1000, 1),
    ],
)
def test_each_part_of_a_quota_refuses_one_more_and_is_named(
    part: str, most: int, steps: int
) -> None:
    made = ledger(*whole(), status("r2", "queued", None, s=20, steps_asked=50))
    with pytest.raises(RateLimited, match=f"quota {part} is {most}") as refused:
        made.require_within(Quota(**{part: most}), ALICE, steps=steps, now=at(30))
    assert refused.value.field == f"quota.{part}"
    made.require_within(Quota(**{part: most + 1}), ALICE, steps=steps, now=at(30))


def test_a_quota_of_zero_refuses_the_first_run() -> None:
    for part in Quota.model_fields:
        if part != "steps_per_day":
            with pytest.raises(RateLimited, match=part):
                Ledger().require_within(Quota(**{part: 0}), ALICE, steps=0, now=BEGIN)


def test_one_key_does_not_pay_for_another() -> None:
    other = ("alice", "key-000000000002")
    ledger(*whole()).require_within(Quota(runs_per_day=1), other, steps=1, now=at(30))


def test_slots_are_added_up_by_account() -> None:
    made = ledger(*whole()[:2])
    assert made.slots_held({"r1": 2, "unknown": 9}) == {"alice": 2}
