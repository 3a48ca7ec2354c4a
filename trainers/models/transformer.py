"""What gpt and vit are stacked from: attention and perceptron, each normalised before.

Shape suffixes: B batch, T time, D width, N heads, H head width, F features of the perceptron.
Source: Vaswani et al. 2017, arXiv:1706.03762, with the normalisation before each part as in Radford
et al. 2019 (GPT-2), §2.3, whose initial weights it takes too.
"""

import math

import numpy as np
from tinygrad import Tensor

from trainers.config import Gpt, Vit
from trainers.kernels.ops import Ops
from trainers.models.layers import LayerNorm, Linear

DEVIATION = 0.02
"""Standard deviation of initial weights."""

_WIDENING = 4


class Block:
    """One layer: the stream plus attention over it, plus a perceptron at each place of it."""

    def __init__(
        self, config: Gpt | Vit, *, ops: Ops, rng: np.random.Generator, is_causal: bool
    ) -> None:
        width = config.width
        # 2 outputs a layer are added up in the stream.
        last = DEVIATION / math.sqrt(2 * config.layers)
        self.norm1 = LayerNorm(ops, width)
        self.qkv = Linear(ops, rng, inputs=width, outputs=3 * width, deviation=DEVIATION)
        self.out = Linear(ops, rng, inputs=width, outputs=width, deviation=last)
        self.norm2 = LayerNorm(ops, width)
        self.up = Linear(ops, rng, inputs=width, outputs=_WIDENING * width, deviation=DEVIATION)
        self.down = Linear(ops, rng, inputs=_WIDENING * width, outputs=width, deviation=last)
        self._ops = ops
        self._heads = config.heads
        self._dropout = config.dropout
        self._is_causal = is_causal

    def __call__(self, x_BTD: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return the stream after this layer."""
        x_BTD = x_BTD + self._attention(self.norm1(x_BTD)).dropout(self._dropout)  # noqa: N806
        h_BTF = self._ops.gelu(self.up(self.norm2(x_BTD)))  # noqa: N806  shape suffix
        return (x_BTD + self.down(h_BTF).dropout(self._dropout)).contiguous()

    def _attention(self, x_BTD: Tensor) -> Tensor:  # noqa: N803  shape suffix
        batch, time, width = (int(size) for size in x_BTD.shape)
        parts = self.qkv(x_BTD).reshape(batch, time, 3, self._heads, width // self._heads)
        q_BNTH, k_BNTH, v_BNTH = (  # noqa: N806  shape suffix
            parts[:, :, i].transpose(1, 2) for i in range(3)
        )
        y_BNTH = self._ops.attention(  # noqa: N806  shape suffix
            q_BNTH, k_BNTH, v_BNTH, is_causal=self._is_causal
        )
        return self.out(y_BNTH.transpose(1, 2).reshape(batch, time, width))
