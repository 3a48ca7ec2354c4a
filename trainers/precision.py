"""Mixed precision: which number format computes, and the scale that keeps float16 gradients alive.

Source: Micikevicius et al. 2017, arXiv:1710.03740 §3.2; the rule for the scale is the one of
PyTorch's `GradScaler`.
"""

from dataclasses import dataclass

from tinygrad import dtypes
from tinygrad.dtype import DType

from evidence.errors import TrainingDiverged
from trainers.config import Precision

_FIRST_SCALE = 2.0**15
_SMALLEST_SCALE = 2.0**-14
_LARGEST_SCALE = 2.0**24
_GROWTH_STEPS = 2000


def compute_dtype(precision: Precision) -> DType:
    """Return the dtype of activations in forward and backward pass."""
    return {
        "float32": dtypes.float32,
        "float16": dtypes.float16,
        "bfloat16": dtypes.bfloat16,
    }[precision]


@dataclass(frozen=True, slots=True)
class LossScale:
    """What the loss is multiplied by before the backward pass; a power of 2."""

    scale: float
    """1 where no scaling is needed, else 2**-14 to 2**24."""
    good_steps: int
    """Steps without overflow since the scale last changed."""

    def after(self, *, overflowed: bool, step: int) -> "LossScale":
        """Return the scale for the next step: halved after an overflow, doubled after 2000 without.

        Raises:
            TrainingDiverged: The gradients overflow at any scale.
        """
        if overflowed and self.scale <= _SMALLEST_SCALE:
            raise TrainingDiverged(
                f"step {step}: float16 gradients overflow even with loss scale {self.scale}",
                found="inf",
            )
        if overflowed:
            return LossScale(self.scale / 2, 0)
        if self.good_steps + 1 < _GROWTH_STEPS:
            return LossScale(self.scale, self.good_steps + 1)
        return LossScale(min(self.scale * 2, _LARGEST_SCALE), 0)


def first_scale(precision: Precision) -> LossScale:
    """Return the scale of step 1: 2**15 for float16, else 1."""
    return LossScale(_FIRST_SCALE if precision == "float16" else 1.0, 0)
