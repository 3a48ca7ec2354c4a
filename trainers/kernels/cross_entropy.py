"""Cross-entropy of logits and labels, and whether the largest logit is the label's, in one pass.

Shape suffixes: N rows, K classes.
"""

from tinygrad import Tensor, dtypes
from tinygrad.uop.ops import UOp

from trainers.kernels import compiled, foreign

_FORWARD = """
    const float* restrict x = p4 + row * {classes};
    int label = ((const int*)p5)[row];
    vec most = splat(-3.0e38f);
    long i = 0;
    for (; i + LANES <= {classes}; i += LANES)
      most = __builtin_elementwise_max(most, *(const vec*)(x + i));
    float top = largest(most);
    for (; i < {classes}; i++) top = x[i] > top ? x[i] : top;
    vec sums = splat(0);
    for (i = 0; i + LANES <= {classes}; i += LANES)
      sums += exponential(*(const vec*)(x + i) - top);
    float sum = total(sums);
    for (; i < {classes}; i++) sum += exponential(splat(x[i] - top))[0];
    p2[row] = top;
    p3[row] = 1.0f / sum;
    if (label < 0 || label >= {classes}) {{  /* nothing to read there: the loss is no number */
      p0[row] = __builtin_nanf("");
      p1[row] = 0;
      continue;
    }}
    p0[row] = logarithm(sum) - (x[label] - top);
    int is_first = x[label] == top;
    for (i = 0; i < label; i++) is_first &= x[i] < top;
    p1[row] = (float)is_first;
"""

_BACKWARD = """
    float* restrict dx = p0 + row * {classes};
    const float* restrict x = p2 + row * {classes};
    int label = ((const int*)p3)[row];
    float g = p1[row], top = p4[row], factor = p5[row] * g;
    long i = 0;
    for (; i + LANES <= {classes}; i += LANES)
      *(vec*)(dx + i) = exponential(*(const vec*)(x + i) - top) * factor;
    for (; i < {classes}; i++) dx[i] = exponential(splat(x[i] - top))[0] * factor;
    if (label >= 0 && label < {classes}) dx[label] -= g;
"""


def cross_entropy(logits_NK: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803  shape suffix
    """Return the loss of each row in nats and 1.0 where its largest logit is the label's, else 0.0.

    Both (N,), float32; gradients flow through the losses. Of equal logits the first is the largest.
    The loss of a label that is no class is NaN.

    Args:
        logits_NK: float32.
        labels_N: Classes, int32, from 0 to K - 1.
    """
    rows, classes = (int(size) for size in logits_NK.shape)
    assert labels_N.shape == (rows,), (logits_NK.shape, labels_N.shape)
    assert (logits_NK.dtype, labels_N.dtype) == (dtypes.float32, dtypes.int32), labels_N.dtype
    name = f"{rows}_{classes}"

    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        top, factor = (Tensor(call.src[i].after(call)) for i in (3, 4))
        (dx,) = compiled.run(
            f"cross_entropy_backward_{name}",
            _BACKWARD.format(classes=classes),
            rows=rows,
            outputs=[foreign.empty(rows, classes)],
            inputs=[Tensor(g), Tensor(call.src[5]), Tensor(call.src[6]), top, factor],
            operations=18 * rows * classes,
        )
        return *(None for _ in range(4)), dx.uop, None, None

    losses, hits, *_ = compiled.run(
        f"cross_entropy_{name}",
        _FORWARD.format(classes=classes),
        rows=rows,
        outputs=[foreign.empty(rows) for _ in range(4)],
        inputs=[logits_NK, labels_N],
        operations=20 * rows * classes,
        gradient=gradient,
    )
    return losses, hits.detach()
