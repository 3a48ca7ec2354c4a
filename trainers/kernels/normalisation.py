"""Batch normalisation by the statistics of the batch, forward and backward, a channel at a time.

Shape suffixes: B batch, C channels, H height, W width.
Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1 and the gradients below it.
"""

from tinygrad import Tensor
from tinygrad.uop.ops import UOp

from trainers.kernels import compiled, foreign

_LOOP = """
    for (long b = 0; b < {batch}; b++) {{
      {pointers}
      long i = 0;
      for (; i + LANES <= {pixels}; i += LANES) {{ {wide} }}
      for (; i < {pixels}; i++) {{ {narrow} }}
    }}"""

_AT = "(b * {channels} + row) * {pixels}"


def _loop(pointers: str, wide: str, narrow: str) -> str:
    """Return C that goes over a channel's pixels, 16 at a time; braces are doubled for `format`."""
    return _LOOP.replace("{pointers}", pointers).replace("{wide}", wide).replace("{narrow}", narrow)


_X = f"const float* restrict x = p3 + {_AT};"

_FORWARD = (
    "    vec sums = splat(0); float rest = 0;"
    + _loop(_X, "sums += *(const vec*)(x + i);", "rest += x[i];")
    + "    float mean = (total(sums) + rest) / {count}f; sums = splat(0); rest = 0;"
    + _loop(
        _X,
        "vec d = *(const vec*)(x + i) - mean; sums += d * d;",
        "float d = x[i] - mean; rest += d * d;",
    )
    + """
    float variance = (total(sums) + rest) / {count}f;
    float factor = p4[row] / __builtin_sqrtf(variance + {epsilon}f);
    float shift = p5[row] - mean * factor;
    p1[row] = mean;
    p2[row] = variance;"""
    + _loop(
        f"{_X} float* restrict y = p0 + {_AT};",
        "*(vec*)(y + i) = *(const vec*)(x + i) * factor + shift;",
        "y[i] = x[i] * factor + shift;",
    )
)

_G_AND_X = f"const float* restrict g = p3 + {_AT}; const float* restrict x = p4 + {_AT};"

_BACKWARD = (
    """
    float mean = p6[row], scale = 1.0f / __builtin_sqrtf(p7[row] + {epsilon}f);
    vec sums = splat(0), products = splat(0);
    float sum = 0, product = 0;"""
    + _loop(
        _G_AND_X,
        "vec v = *(const vec*)(g + i); sums += v; products += v * (*(const vec*)(x + i) - mean);",
        "sum += g[i]; product += g[i] * (x[i] - mean);",
    )
    + """
    sum += total(sums);
    product = (product + total(products)) * scale;
    p1[row] = product;
    p2[row] = sum;
    float factor = p5[row] * scale, of_sum = sum / {count}f, of_x = product * scale / {count}f;"""
    + _loop(
        f"{_G_AND_X} float* restrict dx = p0 + {_AT};",
        "*(vec*)(dx + i) = factor * (*(const vec*)(g + i) - of_sum"
        " - (*(const vec*)(x + i) - mean) * of_x);",
        "dx[i] = factor * (g[i] - of_sum - (x[i] - mean) * of_x);",
    )
)


def batch_norm(
    x_BCHW: Tensor,  # noqa: N803  shape suffix
    weight_C: Tensor,  # noqa: N803  shape suffix
    bias_C: Tensor,  # noqa: N803  shape suffix
    *,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalised input, and the mean and the biased variance of each channel.

    Gradients flow through the first alone.

    Args:
        x_BCHW: Input, float32.
        weight_C: What the normalised values are multiplied by.
        bias_C: What is added then.
        epsilon: Added to the variance.
    """
    batch, channels, height, width = (int(size) for size in x_BCHW.shape)
    pixels, shape = height * width, (batch, channels, height, width)
    sizes = {
        "batch": batch,
        "channels": channels,
        "pixels": pixels,
        "count": f"{batch * pixels}.0",
        "epsilon": f"{epsilon:.9e}",
    }
    name = f"{batch}_{channels}_{pixels}"

    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        mean, variance = (Tensor(call.src[i].after(call)) for i in (2, 3))
        x, weight = Tensor(call.src[4]), Tensor(call.src[5])
        made = compiled.run(
            f"batch_norm_backward_{name}",
            _BACKWARD.format(**sizes),
            rows=channels,
            outputs=[
                foreign.empty(*shape),
                foreign.empty(channels),
                foreign.empty(channels),
            ],
            inputs=[Tensor(g), x, weight, mean, variance],
            operations=10 * batch * channels * pixels,
        )
        return None, None, None, *(gradient.uop for gradient in made), None

    y, mean, variance = compiled.run(
        f"batch_norm_{name}",
        _FORWARD.format(**sizes),
        rows=channels,
        outputs=[foreign.empty(*shape), foreign.empty(channels), foreign.empty(channels)],
        inputs=[x_BCHW, weight_C, bias_C],
        operations=6 * batch * channels * pixels,
        gradient=gradient,
    )
    return y, mean.detach(), variance.detach()
