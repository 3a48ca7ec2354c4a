"""Weights of attention from its scores: scaled, masked and normalised in one pass over each row.

Shape suffixes: M batch of matrices, T time of queries, S time of keys.
"""

from tinygrad import Tensor
from tinygrad.uop.ops import UOp

from trainers.kernels import compiled, foreign

_FORWARD = """
    long seen = {seen};
    float* restrict y = p0 + row * {keys};
    const float* restrict x = p1 + row * {keys};
    vec most = splat(-3.0e38f);
    long i = 0;
    for (; i + LANES <= seen; i += LANES)
      most = __builtin_elementwise_max(most, *(const vec*)(x + i));
    float top = largest(most);
    for (; i < seen; i++) top = x[i] > top ? x[i] : top;
    vec sums = splat(0);
    for (i = 0; i + LANES <= seen; i += LANES) {{
      vec e = exponential((*(const vec*)(x + i) - top) * {scale}f);
      sums += e;
      *(vec*)(y + i) = e;
    }}
    float sum = total(sums);
    for (; i < seen; i++) {{
      y[i] = exponential(splat((x[i] - top) * {scale}f))[0];
      sum += y[i];
    }}
    float factor = 1.0f / sum;
    for (i = 0; i + LANES <= seen; i += LANES) *(vec*)(y + i) *= factor;
    for (; i < seen; i++) y[i] *= factor;
    for (; i < {keys}; i++) y[i] = 0;
"""

_BACKWARD = """
    long seen = {seen};
    float* restrict dx = p0 + row * {keys};
    const float* restrict y = p1 + row * {keys};
    const float* restrict dy = p2 + row * {keys};
    vec sums = splat(0);
    long i = 0;
    for (; i + LANES <= seen; i += LANES) sums += *(const vec*)(y + i) * *(const vec*)(dy + i);
    float sum = total(sums);
    for (; i < seen; i++) sum += y[i] * dy[i];
    for (i = 0; i + LANES <= seen; i += LANES)
      *(vec*)(dx + i) = *(const vec*)(y + i) * (*(const vec*)(dy + i) - sum) * {scale}f;
    for (; i < seen; i++) dx[i] = y[i] * (dy[i] - sum) * {scale}f;
    for (; i < {keys}; i++) dx[i] = 0;
"""


def weights(scores_MTS: Tensor, *, scale: float, is_causal: bool) -> Tensor:  # noqa: N803  shape suffix
    """Return the softmax over the last axis of scaled scores, float32.

    Args:
        scores_MTS: Products of queries and keys.
        scale: What scores are multiplied by, > 0.
        is_causal: Whether query t sees keys 0 to t only; the others get weight 0.
    """
    matrices, queries, keys = (int(size) for size in scores_MTS.shape)
    assert not is_causal or queries <= keys, scores_MTS.shape
    seen = f"row % {queries} + 1" if is_causal else str(keys)
    sizes = {"seen": seen, "keys": keys, "scale": f"{scale:.9e}"}
    name = f"{matrices}_{queries}_{keys}_{'causal' if is_causal else 'full'}"
    rows = matrices * queries

    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        made = Tensor(call.src[1].after(call))
        (dx,) = compiled.run(
            f"softmax_backward_{name}",
            _BACKWARD.format(**sizes),
            rows=rows,
            outputs=[foreign.empty(matrices, queries, keys)],
            inputs=[made, Tensor(g)],
            operations=4 * rows * keys,
        )
        return None, dx.uop, None

    return compiled.run(
        f"softmax_{name}",
        _FORWARD.format(**sizes),
        rows=rows,
        outputs=[foreign.empty(matrices, queries, keys)],
        inputs=[scores_MTS],
        operations=20 * rows * keys,
        gradient=gradient,
    )[0]
