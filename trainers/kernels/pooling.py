"""The largest of each 2 x 2 window, and its gradient, a channel of an image at a time.

Shape suffixes: B batch, C channels, H height, W width.
"""

from tinygrad import Tensor, dtypes
from tinygrad.uop.ops import UOp

from trainers.kernels import compiled, foreign

_FORWARD = """
    for (long i = 0; i < {out_h}; i++) {{
      const float* restrict a = p1 + (row * {height} + 2 * i) * {width};
      const float* restrict b = a + {width};
      float* restrict y = p0 + (row * {out_h} + i) * {out_w};
      for (long j = 0; j < {out_w}; j++) {{
        float upper = a[2 * j] > a[2 * j + 1] ? a[2 * j] : a[2 * j + 1];
        float lower = b[2 * j] > b[2 * j + 1] ? b[2 * j] : b[2 * j + 1];
        y[j] = upper > lower ? upper : lower;
      }}
    }}
"""

_BACKWARD = """
    float* restrict plane = p0 + row * {height} * {width};
    for (long i = 0; i < {out_h}; i++) {{
      const float* restrict a = p2 + (row * {height} + 2 * i) * {width};
      const float* restrict b = a + {width};
      const float* restrict g = p1 + (row * {out_h} + i) * {out_w};
      const float* restrict y = p3 + (row * {out_h} + i) * {out_w};
      float* restrict da = plane + 2 * i * {width};
      float* restrict db = da + {width};
      for (long j = 0; j < {out_w}; j++) {{
        float m = y[j];
        float a0 = a[2 * j] == m, a1 = a[2 * j + 1] == m;
        float b0 = b[2 * j] == m, b1 = b[2 * j + 1] == m;
        float share = 1.0f / (a0 + a1 + b0 + b1) * g[j];
        da[2 * j] = a0 * share;
        da[2 * j + 1] = a1 * share;
        db[2 * j] = b0 * share;
        db[2 * j + 1] = b1 * share;
      }}
      for (long j = 2 * {out_w}; j < {width}; j++) da[j] = db[j] = 0;
    }}
    for (long j = 2 * {out_h} * {width}; j < {height} * {width}; j++) plane[j] = 0;
"""


def max_pool_2x2(x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
    """Return (B, C, H // 2, W // 2), float32; an odd last row or column is dropped.

    Where values of a window are equal and the largest, they share its gradient.

    Args:
        x_BCHW: float32, at least 2 high and wide.
    """
    batch, channels, height, width = (int(size) for size in x_BCHW.shape)
    assert min(height, width) > 1, x_BCHW.shape
    assert x_BCHW.dtype == dtypes.float32, x_BCHW.dtype
    out_h, out_w = height // 2, width // 2
    sizes = {"height": height, "width": width, "out_h": out_h, "out_w": out_w}
    planes = batch * channels
    name = f"{planes}_{height}_{width}"

    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        made = Tensor(call.src[1].after(call))
        (dx,) = compiled.run(
            f"max_pool_backward_{name}",
            _BACKWARD.format(**sizes),
            rows=planes,
            outputs=[foreign.empty(batch, channels, height, width)],
            inputs=[Tensor(g), Tensor(call.src[2]), made],
            operations=2 * planes * height * width,
        )
        return None, dx.uop, None

    return compiled.run(
        f"max_pool_{name}",
        _FORWARD.format(**sizes),
        rows=planes,
        outputs=[foreign.empty(batch, channels, out_h, out_w)],
        inputs=[x_BCHW],
        operations=planes * height * width,
        gradient=gradient,
    )[0]
