"""Lies that a comparison finds, and roundings that it forgives."""

import numpy as np
import pytest

from petals_bridge import spot_check
from petals_bridge.spot_check import TOLERANCE, compare

RNG = np.random.default_rng(1)
TRUE = RNG.standard_normal((6, 32)).astype(np.float32)


def test_equal_bits_are_equal() -> None:
    assert compare(TRUE, TRUE) == spot_check.Comparison(None, 0.0)


def test_rounding_is_forgiven() -> None:
    assert compare(TRUE.astype(np.float16), TRUE).first_wrong is None


@pytest.mark.parametrize("row", [0, 3, 5])
def test_the_first_wrong_row_is_named(row: int) -> None:
    lie = TRUE.copy()
    lie[row:] += 0.1
    assert compare(lie, TRUE).first_wrong == row


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e30])
def test_garbage_is_no_rounding(value: float) -> None:
    assert compare(np.full_like(TRUE, value), TRUE).first_wrong == 0


def test_another_shape_is_wrong() -> None:
    assert compare(TRUE[:5], TRUE).first_wrong == 0


def test_what_is_just_within_and_just_beyond_the_tolerance() -> None:
    norm = np.linalg.norm(TRUE.astype(np.float64), axis=-1, keepdims=True)
    step = np.zeros_like(TRUE, dtype=np.float64)
    step[:, :1] = norm
    assert compare(TRUE + step * TOLERANCE * 0.99, TRUE).first_wrong is None
    assert compare(TRUE + step * TOLERANCE * 1.01, TRUE).first_wrong == 0


def test_the_rate_is_kept() -> None:
    rng = np.random.default_rng(7)
    assert sum(spot_check.is_due(0.25, rng) for _ in range(4_000)) == pytest.approx(1_000, abs=100)
    assert not any(spot_check.is_due(0.0, rng) for _ in range(100))
    assert all(spot_check.is_due(1.0, rng) for _ in range(100))
