"""Retention deletes what the policy says, and never more than that needs."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.retention import Held, Retention, choose

NOW = datetime(2026, 2, 1, tzinfo=UTC)
RUNS = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 50)), max_size=12, unique_by=lambda run: run[0]
).map(lambda drawn: [Held(f"run{age}", NOW - timedelta(seconds=age), size) for age, size in drawn])
POLICIES = st.builds(
    Retention,
    keep_runs=st.none() | st.integers(0, 12),
    max_age_s=st.none() | st.integers(0, 1000).map(float),
    max_bytes=st.none() | st.integers(0, 200),
)


def obeys(kept: list[Held], policy: Retention) -> bool:
    oldest = max((NOW - run.ended for run in kept), default=timedelta(0))
    return (
        (policy.keep_runs is None or len(kept) <= policy.keep_runs)
        and (policy.max_age_s is None or oldest.total_seconds() <= policy.max_age_s)
        and (policy.max_bytes is None or sum(run.bytes for run in kept) <= policy.max_bytes)
    )


def split(held: list[Held], policy: Retention) -> tuple[list[Held], list[Held]]:
    chosen = choose(held, policy, now=NOW)
    deleted = [run for run in held if run.run_id in chosen]
    return [run for run in held if run.run_id not in chosen], deleted


@settings(deadline=None)
@given(held=RUNS, policy=POLICIES)
def test_what_is_kept_obeys_the_policy(held: list[Held], policy: Retention) -> None:
    kept, _ = split(held, policy)
    assert obeys(kept, policy)


@settings(deadline=None)
@given(held=RUNS, max_age_s=st.integers(0, 1000), max_bytes=st.integers(0, 200))
def test_no_deleted_run_could_have_been_kept(
    held: list[Held], max_age_s: int, max_bytes: int
) -> None:
    policy = Retention(max_age_s=max_age_s, max_bytes=max_bytes)
    kept, deleted = split(held, policy)
    assert not [run.run_id for run in deleted if obeys([*kept, run], policy)]


@settings(deadline=None)
@given(held=RUNS, keep_runs=st.integers(0, 12))
def test_by_count_the_newest_are_kept(held: list[Held], keep_runs: int) -> None:
    kept, deleted = split(held, Retention(keep_runs=keep_runs))
    assert len(kept) == min(keep_runs, len(held))
    assert all(old.ended < new.ended for old in deleted for new in kept)


@settings(deadline=None)
@given(held=RUNS)
def test_no_policy_deletes_nothing(held: list[Held]) -> None:
    assert choose(held, Retention(), now=NOW) == {}


def test_each_deletion_names_its_rule() -> None:
    ages = (10, 20, 30, 400)
    held = [Held(str(age), NOW - timedelta(seconds=age), 60) for age in ages]
    policy = Retention(keep_runs=3, max_age_s=25, max_bytes=100)
    assert choose(held, policy, now=NOW) == {
        "20": "max_bytes = 100",
        "30": "max_age_s = 25",
        "400": "keep_runs = 3",
    }


@pytest.mark.parametrize("max_age_s", [1e15, 1e308])
def test_an_age_beyond_all_time_deletes_nothing(max_age_s: float) -> None:
    held = [Held("old", datetime(1970, 1, 1, tzinfo=UTC), 1)]
    assert choose(held, Retention(max_age_s=max_age_s), now=NOW) == {}
