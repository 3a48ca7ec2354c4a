"""Whose turn it is in the queue."""

from hypothesis import given
from hypothesis import strategies as st

from cluster.fair_share import Waiting, order


def line(text: str) -> list[Waiting]:
    """Return a queue: a letter is a run of that account, of one slot."""
    return [Waiting(f"{name}{place}", name, 1) for place, name in enumerate(text)]


def turns(text: str, **held: int) -> str:
    return "".join(run_id[0] for run_id in order(line(text), held))


def test_who_is_alone_gets_everything_in_order() -> None:
    assert order(line("aaa"), {}) == ["a0", "a1", "a2"]


def test_one_run_does_not_wait_for_a_thousand_of_another() -> None:
    assert turns("a" * 1000 + "b").index("b") == 1


def test_turns_alternate() -> None:
    assert turns("aaabbb") == "ababab"


def test_who_holds_slots_waits_for_who_holds_none() -> None:
    assert turns("aabb", a=2) == "bbaa"


def test_a_large_run_counts_as_many() -> None:
    queued = [Waiting("a0", "a", 4), Waiting("a1", "a", 1), Waiting("b0", "b", 1)]
    queued += [Waiting("b1", "b", 1)]
    assert order(queued, {}) == ["a0", "b0", "b1", "a1"]


@given(st.text("abc", max_size=40), st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)))
def test_every_run_has_one_turn_and_each_account_keeps_its_order(
    text: str, held: dict[str, int]
) -> None:
    told = order(line(text), held)
    assert sorted(told) == sorted(run.run_id for run in line(text))
    for name in "abc":
        own = [run_id for run_id in told if run_id[0] == name]
        assert own == [run.run_id for run in line(text) if run.owner == name]


@given(st.text("ab", min_size=1, max_size=40))
def test_while_both_wait_neither_is_more_than_one_run_ahead(text: str) -> None:
    told = turns(text)
    both = min(text.count("a"), text.count("b"))
    for end in range(len(told)):
        begun = told[:end]
        if begun.count("a") < both and begun.count("b") < both:
            assert abs(begun.count("a") - begun.count("b")) <= 1
