"""Batch normalisation by the statistics of the batch, forward and backward, a channel at a time.

Alone, or with what follows it in a residual network: a second input added, and the rectifier.

Shape suffixes: B batch, C channels, H height, W width.
Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1 and the gradients below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad import Tensor, dtypes
from tinygrad.uop.ops import UOp

from trainers.kernels import compiled, foreign

_LOOP = """
    for (long b = 0; b < {batch}; b++) {{
      const long at = (b * {channels} + row) * {pixels};
      long i = at;
      for (; i + LANES <= at + {pixels}; i += LANES) {{ {wide} }}
      for (; i < at + {pixels}; i++) {{ {narrow} }}
    }}"""


def _loop(wide: str, narrow: str) -> str:
    """Return C that goes over a channel's pixels, 16 at a time; braces are doubled for `format`."""
    return _LOOP.replace("{wide}", wide).replace("{narrow}", narrow)


_AT = "*(vec*)({} + i)"


def _of(name: str) -> str:
    return f"*(const vec*)({name} + i)"


_FORWARD = (
    "    vec sums = splat(0); float rest = 0;"
    + _loop(f"sums += {_of('x')};", "rest += x[i];")
    + "    float mean = (total(sums) + rest) / {count}f; sums = splat(0); rest = 0;"
    + _loop(
        f"vec d = {_of('x')} - mean; sums += d * d;",
        "float d = x[i] - mean; rest += d * d;",
    )
    + """
    float variance = (total(sums) + rest) / {count}f;
    float factor = weight[row] / __builtin_sqrtf(variance + {epsilon}f);
    float shift = bias[row] - mean * factor;
    means[row] = mean;
    variances[row] = variance;"""
)

_BACKWARD = """
    float mean = means[row], scale = 1.0f / __builtin_sqrtf(variances[row] + {epsilon}f);
    vec sums = splat(0), products = splat(0);
    float sum = 0, product = 0;"""

_BACKWARD_REST = """
    sum += total(sums);
    product = (product + total(products)) * scale;
    dweight[row] = product;
    dbias[row] = sum;
    float factor = weight[row] * scale;
    float of_sum = sum / {count}f, of_x = product * scale / {count}f;"""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is computed after the normalisation: C for 16 pixels, and for one."""

    name: str
    y: tuple[str, str]
    """The output of what was normalised, `v`."""
    g: tuple[str, str]
    """The gradient that flows into the normalisation."""
    again: tuple[str, str]
    """The same, in the second pass over it."""
    has_rectifier: bool = False
    has_residual: bool = False


_PLAIN_G = _of("g"), "g[i]"
_MASKED_G = (
    f"(vec)((ivec){_of('g')} & ({_of('y')} > splat(0)))",
    "(y[i] > 0 ? g[i] : 0)",
)
_PLAIN = _Kind("batch_norm", ("v", "v"), _PLAIN_G, _PLAIN_G)
_RECTIFIED = _Kind(
    "batch_norm_relu",
    ("__builtin_elementwise_max(v, splat(0))", "v > 0 ? v : 0"),
    _MASKED_G,
    _MASKED_G,
    has_rectifier=True,
)
_ADDED = _Kind(
    "batch_norm_add_relu",
    (f"__builtin_elementwise_max(v + {_of('r')}, splat(0))", "v + r[i] > 0 ? v + r[i] : 0"),
    (f"{_AT.format('dr')} = {_MASKED_G[0]}", f"dr[i] = {_MASKED_G[1]}"),
    (_of("dr"), "dr[i]"),
    has_rectifier=True,
    has_residual=True,
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
    return _run(_PLAIN, [x_BCHW, weight_C, bias_C], epsilon=epsilon)


def batch_norm_relu(
    x_BCHW: Tensor,  # noqa: N803  shape suffix
    weight_C: Tensor,  # noqa: N803  shape suffix
    bias_C: Tensor,  # noqa: N803  shape suffix
    residual_BCHW: Tensor | None,  # noqa: N803  shape suffix
    *,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return `batch_norm`, with the residual added if there is one and what is negative made 0."""
    if residual_BCHW is None:
        return _run(_RECTIFIED, [x_BCHW, weight_C, bias_C], epsilon=epsilon)
    assert residual_BCHW.shape == x_BCHW.shape, (residual_BCHW.shape, x_BCHW.shape)
    return _run(_ADDED, [x_BCHW, weight_C, bias_C, residual_BCHW], epsilon=epsilon)


def _run(kind: _Kind, inputs: Sequence[Tensor], *, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, height, width = (int(size) for size in inputs[0].shape)
    pixels, shape = height * width, (batch, channels, height, width)
    assert all(one.dtype == dtypes.float32 for one in inputs), [one.dtype for one in inputs]
    assert inputs[1].shape == inputs[2].shape == (channels,), [one.shape for one in inputs]
    sizes = {
        "batch": batch,
        "channels": channels,
        "pixels": pixels,
        "count": f"{batch * pixels}.0",
        "epsilon": f"{epsilon:.9e}",
    }
    name = f"{batch}_{channels}_{pixels}"

    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        y, mean, variance = (Tensor(call.src[i].after(call)) for i in (1, 2, 3))
        x, weight = Tensor(call.src[4]), Tensor(call.src[5])
        outputs = ["dx", "dweight", "dbias", *(["dr"] if kind.has_residual else [])]
        operands = ["g", "x", "weight", "means", "variances"]
        values = [Tensor(g), x, weight, mean, variance]
        body = (
            _names(outputs, [*operands, *(["y"] if kind.has_rectifier else [])])
            + _BACKWARD
            + _loop(
                f"vec v = {kind.g[0]}; sums += v; products += v * ({_of('x')} - mean);",
                f"float v = {kind.g[1]}; sum += v; product += v * (x[i] - mean);",
            )
            + _BACKWARD_REST
            + _loop(
                f"{_AT.format('dx')} = factor * ({kind.again[0]} - of_sum"
                f" - ({_of('x')} - mean) * of_x);",
                f"dx[i] = factor * ({kind.again[1]} - of_sum - (x[i] - mean) * of_x);",
            )
        )
        channel = [foreign.empty(channels), foreign.empty(channels)]
        made = compiled.run(
            f"{kind.name}_backward_{name}",
            body.format(**sizes),
            rows=channels,
            outputs=[
                foreign.empty(*shape),
                *channel,
                *([foreign.empty(*shape)] if kind.has_residual else []),
            ],
            inputs=[*values, *([y] if kind.has_rectifier else [])],
            operations=10 * batch * channels * pixels,
        )
        return None, None, None, *(gradient.uop for gradient in made), None

    body = (
        _names(["y", "means", "variances"], ["x", "weight", "bias", "r"][: len(inputs)])
        + _FORWARD
        + _loop(
            f"vec v = {_of('x')} * factor + shift; {_AT.format('y')} = {kind.y[0]};",
            f"float v = x[i] * factor + shift; y[i] = {kind.y[1]};",
        )
    )
    y, mean, variance = compiled.run(
        f"{kind.name}_{name}",
        body.format(**sizes),
        rows=channels,
        outputs=[foreign.empty(*shape), foreign.empty(channels), foreign.empty(channels)],
        inputs=inputs,
        operations=6 * batch * channels * pixels,
        gradient=gradient,
    )
    return y, mean.detach(), variance.detach()


def _names(outputs: Sequence[str], inputs: Sequence[str]) -> str:
    """Return C that names a kernel's operands."""
    made = [f"float* restrict {name} = p{i};" for i, name in enumerate(outputs)]
    read = [f"const float* restrict {name} = p{i};" for i, name in enumerate(inputs, len(outputs))]
    return " ".join([*made, *read]) + "\n"
