from evidence.errors import InvalidInput
from serve.probe.finding import (
    MOST_DISCREPANCIES,
    MOST_SHOWN,
    CannotTell,
    Finder,
    Result,
    conclude,
    differs,
)


def test_a_check_that_yields_nothing_passes_and_says_what_it_looked_at() -> None:
    def find() -> Finder:
        yield from ()
        return "3 answers"

    outcome = conclude(find)
    assert (outcome.result, outcome.looked_at) == (Result.PASSED, "3 answers")


def test_a_check_that_cannot_be_made_is_no_pass() -> None:
    def find() -> Finder:
        yield from ()
        raise CannotTell("no data")

    assert conclude(find).result is Result.CANNOT_TELL


def test_what_was_found_before_a_check_broke_off_still_counts() -> None:
    def find() -> Finder:
        yield differs("GET /x", 1, 2)
        raise CannotTell("no data")

    assert conclude(find).result is Result.FAILED


def test_an_answer_of_another_shape_is_a_discrepancy() -> None:
    def missing() -> Finder:
        yield from ()
        return str({}["loss"])  # type: ignore[index]  # a stranger's answer

    def refused() -> Finder:
        yield from ()
        raise InvalidInput("expected JSON")

    for find in (missing, refused):
        (one,) = conclude(find).discrepancies
        assert one.expected == "of the shape that the API states"


def test_many_discrepancies_are_counted_and_not_all_kept() -> None:
    def find() -> Finder:
        for number in range(MOST_DISCREPANCIES + 5):
            yield differs("GET /x", number, "other")
        return ""

    outcome = conclude(find)
    assert (len(outcome.discrepancies), outcome.more) == (MOST_DISCREPANCIES, 5)


def test_a_value_is_cut_and_cannot_control_a_terminal() -> None:
    one = differs("GET /x", "\x1b[31mred", "x" * 10_000)
    assert "\x1b" not in one.expected
    assert len(one.found) == MOST_SHOWN
