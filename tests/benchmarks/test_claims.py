"""Every claim quotes what stands in its document, and is judged by what its command gives."""

import pytest

from benchmarks import claims
from benchmarks.claims import Claim, Cost, Verdict

CLAIMS = claims.load()


@pytest.mark.parametrize("claim", CLAIMS, ids=[f"{c.document}: {c.quote}" for c in CLAIMS])
def test_the_quote_stands_in_its_document(claim: Claim) -> None:
    assert claim.stands()


@pytest.mark.parametrize("claim", CLAIMS, ids=[f"{c.document}: {c.quote}" for c in CLAIMS])
def test_a_claim_has_a_command_or_says_why_not(claim: Claim) -> None:
    assert bool(claim.command) is (claim.cost is not Cost.HISTORY)
    assert bool(claim.why) is (claim.cost is Cost.HISTORY)


def _claim(pattern: str | None) -> Claim:
    return Claim("README.md", "x", Cost.CHEAP, ("true",), pattern, least=2, most=3)


def test_a_figure_within_its_bounds_passes() -> None:
    assert claims.judge(_claim(r"(\d+)"), status=0, output="9 then 3")[0] is Verdict.PASS


def test_a_figure_beyond_its_bounds_differs() -> None:
    assert claims.judge(_claim(r"(\d+)"), status=0, output="4")[0] is Verdict.DIFFERS


def test_output_without_a_figure_differs() -> None:
    assert claims.judge(_claim(r"(\d+)"), status=0, output="none")[0] is Verdict.DIFFERS


def test_a_command_that_fails_differs() -> None:
    assert claims.judge(_claim(None), status=1, output="")[0] is Verdict.DIFFERS


def test_an_expensive_claim_is_not_run_and_shows_its_command() -> None:
    claim = Claim("README.md", "# Zeropoint", Cost.EXPENSIVE, ("{python}", "-m", "x"))
    found = claims.examine(claim, (Cost.CHEAP,))
    assert (found.verdict, found.detail) == (Verdict.NOT_RUN, "expensive: python -m x")


def test_a_quote_that_does_not_stand_differs() -> None:
    claim = Claim("README.md", "this stands nowhere", Cost.CHEAP, ("true",))
    assert claims.examine(claim, tuple(Cost)).verdict is Verdict.DIFFERS
