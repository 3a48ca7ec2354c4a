"""A decoder that says of each byte which one follows (GPT-2's plan, small).

Shape suffixes: B batch, T time, V vocabulary, D width.
"""

import numpy as np
from tinygrad import Tensor

from trainers.config import Gpt
from trainers.data.catalog import TextSet
from trainers.kernels.ops import Ops
from trainers.models.layers import LayerNorm, Linear, Positions
from trainers.models.transformer import DEVIATION, Block


class GptNet:
    """Tokens and their places embedded, causal blocks, a norm, and logits."""

    def __init__(self, config: Gpt, *, text: TextSet, ops: Ops, rng: np.random.Generator) -> None:
        tokens, width = text.vocabulary, config.width
        # A product with one-hot rows: the gradient of a look-up table, as a matrix product.
        self.embed = Linear(ops, rng, inputs=tokens, outputs=width, deviation=DEVIATION)
        self.positions = Positions(rng, length=config.context, width=width)
        self.blocks = [
            Block(config, ops=ops, rng=rng, is_causal=True) for _ in range(config.layers)
        ]
        self.norm = LayerNorm(ops, width)
        self.head = Linear(ops, rng, inputs=width, outputs=tokens, deviation=DEVIATION)
        self._dropout = config.dropout

    def __call__(self, x_BTV: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return logits (B, T, V) in the dtype of the input, which is one-hot."""
        x_BTD = self.positions(self.embed(x_BTV)).dropout(self._dropout)  # noqa: N806
        for block in self.blocks:
            x_BTD = block(x_BTD)  # noqa: N806  shape suffix
        return self.head(self.norm(x_BTD))
