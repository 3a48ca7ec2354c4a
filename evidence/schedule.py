"""The learning rate at every step, computed the same way by trainers and by verifiers.

Only IEEE 754 basic operations in a fixed order, never the platform's libm, so that two machines
agree on every bit of every learning rate.
"""

import struct
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_PI = 3.141592653589793


class ScheduleName(StrEnum):
    """How the learning rate moves after the warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class Schedule(BaseModel):
    """Warm-up from near 0 to the peak, then constant, linear or cosine decay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ScheduleName = ScheduleName.CONSTANT
    """Shape after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Steps of linear warm-up; 0 is none."""
    final_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Learning rate of the last step as a fraction of the peak, [0, 1]; unused when constant."""


def learning_rate(schedule: Schedule, *, peak: float, step: int, steps: int) -> float:
    """Return the learning rate of one step, rounded to float32.

    With w warm-up steps, N steps, f the final fraction and p = (step - w) / (N - w):
    warm-up `peak * step / w`; linear `peak * (f + (1 - f) * (1 - p))`;
    cosine `peak * (f + (1 - f) * (1 + cos(pi * p)) / 2)`.

    Args:
        schedule: Shape of the schedule.
        peak: Largest learning rate, > 0.
        step: 1 for the first update, N for the last.
        steps: N, the number of updates in the run.

    Source: warm-up Goyal et al. 2017, arXiv:1706.02677 §2.2; cosine Loshchilov and Hutter 2017,
        arXiv:1608.03983 equation 5, without restarts.
    """
    assert 1 <= step <= steps, (step, steps)
    if step <= schedule.warmup_steps:
        return _as_float32(peak * step / schedule.warmup_steps)
    if schedule.name is ScheduleName.CONSTANT:
        return _as_float32(peak)
    progress = (step - schedule.warmup_steps) / (steps - schedule.warmup_steps)
    remaining = (
        1.0 - progress
        if schedule.name is ScheduleName.LINEAR
        else (1.0 + _cosine_of_half_turns(progress)) / 2.0
    )
    fraction = schedule.final_fraction
    return _as_float32(peak * (fraction + (1.0 - fraction) * remaining))


def _cosine_of_half_turns(turns: float) -> float:
    """Return cos(pi * turns) for turns in [0, 1] by its Taylor series, error below 1e-15.

    The series runs on [0, pi / 2], where 12 terms are enough; cos(pi - x) = -cos(x) gives the rest.
    """
    if turns > 0.5:  # noqa: PLR2004
        return -_cosine_of_half_turns(1.0 - turns)
    square = (_PI * turns) * (_PI * turns)
    result = 1.0
    for n in range(12, 0, -1):
        result = 1.0 - square * result / ((2 * n - 1) * (2 * n))
    return result


def _as_float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])
