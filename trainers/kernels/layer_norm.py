"""Layer normalisation over the last axis, forward and backward in one pass over each row.

Sums over rows, the gradients of weight and bias, are made of sums over blocks of rows, added up in
the order of the blocks: the same bits for any number of threads.

Shape suffixes: R rows, D width.
Source: Ba et al. 2016, arXiv:1607.06450 §3.
"""

from tinygrad import Tensor, dtypes
from tinygrad.uop.ops import UOp

from trainers.kernels import compiled, foreign

_BLOCK = 16
"""Rows whose terms are added up in one go."""

_FORWARD = """
    const float* restrict x = p3 + row * {width};
    float* restrict y = p0 + row * {width};
    vec sums = splat(0);
    float rest = 0;
    long i = 0;
    for (; i + LANES <= {width}; i += LANES) sums += *(const vec*)(x + i);
    for (; i < {width}; i++) rest += x[i];
    float mean = (total(sums) + rest) / {width}.0f;
    sums = splat(0);
    rest = 0;
    for (i = 0; i + LANES <= {width}; i += LANES) {{
      vec d = *(const vec*)(x + i) - mean;
      sums += d * d;
    }}
    for (; i < {width}; i++) rest += (x[i] - mean) * (x[i] - mean);
    float scale = 1.0f / __builtin_sqrtf((total(sums) + rest) / {width}.0f + {epsilon}f);
    p1[row] = mean;
    p2[row] = scale;
    for (i = 0; i + LANES <= {width}; i += LANES)
      *(vec*)(y + i) = (*(const vec*)(x + i) - mean) * scale * *(const vec*)(p4 + i)
        + *(const vec*)(p5 + i);
    for (; i < {width}; i++) y[i] = (x[i] - mean) * scale * p4[i] + p5[i];
"""

_BACKWARD = """
    float* restrict weights = p1 + row * {width};
    float* restrict biases = p2 + row * {width};
    for (long i = 0; i < {width}; i++) weights[i] = biases[i] = 0;
    long last = (row + 1) * {block} < {rows} ? (row + 1) * {block} : {rows};
    for (long r = row * {block}; r < last; r++) {{
      float* restrict dx = p0 + r * {width};
      const float* restrict g = p3 + r * {width};
      const float* restrict x = p4 + r * {width};
      float mean = p6[r], scale = p7[r], sum = 0, product = 0;
      vec sums = splat(0), products = splat(0);
      long i = 0;
      for (; i + LANES <= {width}; i += LANES) {{
        vec n = (*(const vec*)(x + i) - mean) * scale;
        vec d = *(const vec*)(g + i);
        *(vec*)(weights + i) += d * n;
        *(vec*)(biases + i) += d;
        d *= *(const vec*)(p5 + i);
        sums += d;
        products += d * n;
      }}
      for (; i < {width}; i++) {{
        float n = (x[i] - mean) * scale;
        weights[i] += g[i] * n;
        biases[i] += g[i];
        sum += g[i] * p5[i];
        product += g[i] * p5[i] * n;
      }}
      float of_sum = (total(sums) + sum) / {width}.0f;
      float of_x = (total(products) + product) / {width}.0f;
      for (i = 0; i + LANES <= {width}; i += LANES)
        *(vec*)(dx + i) = (*(const vec*)(g + i) * *(const vec*)(p5 + i) - of_sum
          - (*(const vec*)(x + i) - mean) * scale * of_x) * scale;
      for (; i < {width}; i++)
        dx[i] = (g[i] * p5[i] - of_sum - (x[i] - mean) * scale * of_x) * scale;
    }}
"""

_ADD_UP = """
    long first = row * LANES;
    if (first + LANES <= {width}) {{
      vec weights = splat(0), biases = splat(0);
      for (long b = 0; b < {blocks}; b++) {{
        weights += *(const vec*)(p2 + b * {width} + first);
        biases += *(const vec*)(p3 + b * {width} + first);
      }}
      *(vec*)(p0 + first) = weights;
      *(vec*)(p1 + first) = biases;
    }} else for (long i = first; i < {width}; i++) {{
      p0[i] = p1[i] = 0;
      for (long b = 0; b < {blocks}; b++) {{
        p0[i] += p2[b * {width} + i];
        p1[i] += p3[b * {width} + i];
      }}
    }}
"""


def layer_norm(x: Tensor, weight_D: Tensor, bias_D: Tensor, *, epsilon: float) -> Tensor:  # noqa: N803  shape suffix
    """Return the input with each row normalised, multiplied by weights and shifted.

    Args:
        x: Input (..., D), float32.
        weight_D: What normalised values are multiplied by, float32.
        bias_D: What is added then, float32.
        epsilon: Added to the variance.
    """
    shape = tuple(int(size) for size in x.shape)
    width = shape[-1]
    rows = int(x.numel()) // width
    assert weight_D.shape == bias_D.shape == (width,), (shape, weight_D.shape, bias_D.shape)
    assert x.dtype == weight_D.dtype == bias_D.dtype == dtypes.float32, x.dtype
    name, sizes = f"{rows}_{width}", {"width": width, "epsilon": f"{epsilon:.9e}"}

    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        mean, scale = (Tensor(call.src[i].after(call)) for i in (2, 3))
        made = _backward(Tensor(g), Tensor(call.src[4]), Tensor(call.src[5]), mean, scale)
        return None, None, None, *(one.uop for one in made), None

    return compiled.run(
        f"layer_norm_{name}",
        _FORWARD.format(**sizes),
        rows=rows,
        outputs=[foreign.empty(*shape), foreign.empty(rows), foreign.empty(rows)],
        inputs=[x, weight_D, bias_D],
        operations=8 * rows * width,
        gradient=gradient,
    )[0]


def _backward(g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor) -> list[Tensor]:
    """Return the gradients of input, weight and bias."""
    width, rows = int(weight.numel()), int(mean.numel())
    blocks = -(-rows // _BLOCK)
    dx, *partial = compiled.run(
        f"layer_norm_backward_{rows}_{width}",
        _BACKWARD.format(width=width, rows=rows, block=_BLOCK),
        rows=blocks,
        outputs=[
            foreign.empty(*(int(size) for size in x.shape)),
            foreign.empty(blocks, width),
            foreign.empty(blocks, width),
        ],
        inputs=[g, x, weight, mean, scale],
        operations=14 * rows * width,
    )
    sums = compiled.run(
        f"layer_norm_sums_{blocks}_{width}",
        _ADD_UP.format(width=width, blocks=blocks),
        rows=-(-width // compiled.LANES),
        outputs=[foreign.empty(width), foreign.empty(width)],
        inputs=partial,
        operations=2 * blocks * width,
    )
    return [dx, *sums]
