"""Whether a peer computed what it was asked to: which steps are checked, and what is equal.

A step is checked by computing its blocks locally too. Which ones is drawn from a secret, so that a
peer cannot know when it is looked at. On one kind of machine with one build of PyTorch honest
outputs are equal to the bit; between kinds they differ by rounding, for which `TOLERANCE` leaves
room. A lie within the tolerance is not found.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

TOLERANCE = 1e-3
"""Largest difference of a row, as a share of the row's norm (Euclidean), that counts as equal."""


def is_due(rate: float, rng: np.random.Generator) -> bool:
    """Return whether this step is checked; at `rate`, 0 to 1."""
    return rate > 0 and bool(rng.random() < rate)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a check found."""

    first_wrong: int | None
    """First row that differs; None where all are equal."""
    deviation: float
    """Largest difference of a row as a share of its norm; infinite for NaN."""


def compare(
    claimed: np.ndarray[Any, Any], computed: np.ndarray[Any, Any], *, tolerance: float = TOLERANCE
) -> Comparison:
    """Compare what a peer answered with what was computed here.

    Args:
        claimed: Shape (T, D), any floating point.
        computed: The same shape.
        tolerance: See `TOLERANCE`.
    """
    if claimed.shape != computed.shape:
        return Comparison(0, float("inf"))
    expected = computed.astype(np.float64)
    difference = np.linalg.norm(claimed.astype(np.float64) - expected, axis=-1)
    norm = np.maximum(np.linalg.norm(expected, axis=-1), 1e-12)
    deviation = np.nan_to_num(difference / norm, nan=np.inf, posinf=np.inf)
    wrong = np.flatnonzero(deviation > tolerance)
    largest = float(deviation.max(initial=0.0))
    return Comparison(int(wrong[0]) if len(wrong) else None, largest)
