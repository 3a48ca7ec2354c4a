"""The demo's own check: what it would not let pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.cli.petals_demo import first_difference


@given(st.lists(st.integers(0, 511), min_size=1), st.data())
def test_one_altered_token_is_caught(tokens: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(tokens) - 1))
    altered = [*tokens[:at], tokens[at] + 1, *tokens[at + 1 :]]
    assert first_difference(tokens, altered) == at
    assert first_difference(tokens, tokens) is None


@pytest.mark.parametrize(("one", "other"), [([1, 2], [1]), ([], [1]), ([1], [1, 2])])
def test_a_text_that_is_cut_short_or_goes_on_is_caught(one: list[int], other: list[int]) -> None:
    assert first_difference(one, other) == min(len(one), len(other))
