"""The next token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petals_bridge.sampling import Sampling, choose

LOGITS = np.log(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32))


def test_greedy_takes_the_likeliest_and_the_first_of_equals() -> None:
    assert choose(LOGITS, Sampling(), position=0) == 3
    assert choose(np.zeros(4, dtype=np.float32), Sampling(), position=0) == 0


@given(st.integers(0, 2**53 - 1), st.integers(0, 1000))
def test_a_draw_depends_on_seed_and_position_alone(seed: int, position: int) -> None:
    sampling = Sampling(temperature=1.0, seed=seed)
    assert choose(LOGITS, sampling, position=position) == choose(
        LOGITS, sampling, position=position
    )


def test_draws_come_as_often_as_they_are_likely() -> None:
    drawn = [choose(LOGITS, Sampling(1.0, seed=5), position=i) for i in range(4_000)]
    assert np.bincount(drawn, minlength=4) / 4_000 == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.03)


def test_top_p_keeps_the_likeliest_only() -> None:
    drawn = {choose(LOGITS, Sampling(1.0, top_p=0.6), position=i) for i in range(300)}
    assert drawn == {2, 3}


def test_the_least_top_p_is_greedy() -> None:
    drawn = {choose(LOGITS, Sampling(2.0, top_p=1e-9), position=i) for i in range(50)}
    assert drawn == {3}
