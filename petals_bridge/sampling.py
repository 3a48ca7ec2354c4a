"""The next token from a row of logits: a pure function, equal on every repeat.

The draw of position n depends on seed and n alone, so an answer that is taken up again after a
restart goes on as it would have.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen."""

    temperature: float = 0.0
    """0 takes the most likely token (greedy); else >= 0.01, at most 2."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together have this probability, (0, 1]."""
    seed: int = 0
    """Of the draws, 0 to 2**63 - 1."""


def choose(logits: np.ndarray[Any, Any], sampling: Sampling, *, position: int) -> int:
    """Return the next token.

    Args:
        logits: Shape (V,), floating point.
        sampling: How.
        position: Which token of the sequence it becomes; enters the draw.

    Source: nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751 §3.1.
    """
    if sampling.temperature == 0:
        return int(np.argmax(logits))
    scaled = logits.astype(np.float64) / sampling.temperature
    weights = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    order = np.argsort(-weights, kind="stable")
    cumulative = np.cumsum(weights[order])
    kept = order[: int(np.searchsorted(cumulative, sampling.top_p)) + 1]
    rng = np.random.Generator(np.random.PCG64([sampling.seed, position]))
    draw = rng.random() * weights[kept].sum()
    place = int(np.searchsorted(np.cumsum(weights[kept]), draw, side="right"))
    return int(kept[min(place, len(kept) - 1)])
