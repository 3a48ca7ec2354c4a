"""Attempts to sign in are limited by address."""

from datetime import timedelta

import pytest

from cluster import sign_in
from cluster.sign_in import SignInLimit
from evidence.errors import RateLimited
from tests.governance.test_accounts import Clock


def test_after_so_many_attempts_an_address_waits_and_others_do_not() -> None:
    limit = SignInLimit(3, clock=Clock())
    for _ in range(3):
        limit.attempt("a")
    with pytest.raises(RateLimited, match="3 attempts"):
        limit.attempt("a")
    limit.attempt("b")


def test_a_minute_later_it_may_try_again() -> None:
    clock = Clock()
    limit = SignInLimit(1, clock=clock)
    limit.attempt("a")
    clock.now += timedelta(seconds=sign_in.WINDOW_S)
    limit.attempt("a")
    with pytest.raises(RateLimited):
        limit.attempt("a")


def test_a_success_forgets_what_failed() -> None:
    limit = SignInLimit(2, clock=Clock())
    limit.attempt("a")
    limit.succeeded("a")
    limit.attempt("a")
    limit.attempt("a")
    with pytest.raises(RateLimited):
        limit.attempt("a")


def test_addresses_without_end_take_no_memory_without_end() -> None:
    limit = SignInLimit(1, clock=Clock())
    for number in range(sign_in.MOST_ADDRESSES + 10):
        limit.attempt(str(number))
    assert len(limit._attempts) == sign_in.MOST_ADDRESSES
