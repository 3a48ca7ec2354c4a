"""Convolution as a matrix product with unfolded images (im2col), forward and both gradients.

One image at a time: its windows become the columns of a matrix that stays in the caches. Images
are added up in their order, on one thread.

Source: Chellapilla, Puri and Simard 2006, High Performance Convolutional Neural Networks for
Document Processing, §3.
"""

from collections.abc import Mapping, Sequence

from tinygrad import Tensor

from trainers.kernels import blas, compiled, foreign
from trainers.kernels.foreign import Gradient
from trainers.kernels.onednn import Convolution

_WINDOWS = """
  for (long c = 0; c < {channels}; c++)
  for (long i = 0; i < {kernel_h}; i++)
  for (long j = 0; j < {kernel_w}; j++)
  for (long h = 0; h < {out_h}; h++) {{
    {qualifier} float* restrict line = columns
      + (((c * {kernel_h} + i) * {kernel_w} + j) * {out_h} + h) * {out_w};
    long row = h * {stride} + i - {padding}, shift = j - {padding};
    long first = shift < 0 ? ({stride} - 1 - shift) / {stride} : 0;
    long last = {width} > shift ? ({width} - shift - 1) / {stride} + 1 : 0;
    last = last < {out_w} ? last : {out_w};
    first = first < last ? first : last;
    {inside}
  }}
"""
"""C over the lines of all windows; pixels from `first` to before `last` lie within the image."""

_UNFOLD = (
    """
static void unfold(const float* restrict image, float* restrict columns) {{
"""
    + _WINDOWS.replace(
        "{inside}",
        """if (row < 0 || row >= {height}) last = first = {out_w};
    for (long w = 0; w < first; w++) line[w] = 0;
    for (long w = first; w < last; w++)
      line[w] = image[(c * {height} + row) * {width} + w * {stride} + shift];
    for (long w = last; w < {out_w}; w++) line[w] = 0;""",
    ).replace("{qualifier} ", "")
    + "}}\n"
)

_FOLD = (
    """
static void fold(const float* restrict columns, float* restrict image) {{
  for (long i = 0; i < {channels} * {height} * {width}; i++) image[i] = 0;
"""
    + _WINDOWS.replace(
        "{inside}",
        """if (row < 0 || row >= {height}) continue;
    for (long w = first; w < last; w++)
      image[(c * {height} + row) * {width} + w * {stride} + shift] += line[w];""",
    ).replace("{qualifier}", "const")
    + "}}\n"
)

_FORWARD = """
  for (long b = 0; b < {batch}; b++) {{
    float* restrict y = p0 + b * {outputs} * {pixels};
    {bias}
    unfold(p2 + b * {image}, p1);
    sgemm(ROW_MAJOR, PLAIN, PLAIN, {outputs}, {pixels}, {window}, 1, p3, {window},
          p1, {pixels}, {has_bias}, y, {pixels});
  }}
"""

_BIAS = """for (long o = 0; o < {outputs}; o++)
      for (long i = 0; i < {pixels}; i++) y[o * {pixels} + i] = p4[o];"""

_BACKWARD_DATA = """
  for (long b = 0; b < {batch}; b++) {{
    sgemm(ROW_MAJOR, TURNED, PLAIN, {window}, {pixels}, {outputs}, 1, p3, {window},
          p2 + b * {outputs} * {pixels}, {pixels}, 0, p1, {pixels});
    fold(p1, p0 + b * {image});
  }}
"""

_BACKWARD_WEIGHTS = """
  for (long b = 0; b < {batch}; b++) {{
    unfold({x} + b * {image}, p1);
    sgemm(ROW_MAJOR, PLAIN, TURNED, {outputs}, {window}, {pixels}, 1,
          {dy} + b * {outputs} * {pixels}, {pixels}, p1, {pixels}, b > 0, p0, {window});
  }}
"""

_BACKWARD_BIAS = """
  for (long o = 0; o < {outputs}; o++) {{
    vec sums = splat(0);
    float rest = 0;
    for (long b = 0; b < {batch}; b++) {{
      const float* restrict dy = {dy} + (b * {outputs} + o) * {pixels};
      long i = 0;
      for (; i + LANES <= {pixels}; i += LANES) sums += *(const vec*)(dy + i);
      for (; i < {pixels}; i++) rest += dy[i];
    }}
    p2[o] = total(sums) + rest;
  }}
"""


def forward(sizes: Convolution, inputs: Sequence[Tensor], gradient: Gradient) -> Tensor:
    """Return (B, O, H', W') of x, w and b if there is one.

    Args:
        sizes: Of the convolution.
        inputs: x (B, C, H, W), w (O, C, H, W), b (O,) if `sizes.has_bias`.
        gradient: Takes and returns gradients of y, a scratch matrix, and the inputs.
    """
    fields = _fields(sizes)
    return blas.run(
        f"im2col_convolution_{_name(sizes)}",
        _FORWARD.format(
            **fields, bias=_BIAS.format(**fields) if sizes.has_bias else "",
            has_bias=int(sizes.has_bias),
        ),
        outputs=[foreign.empty(*sizes.y), _columns(sizes)],
        inputs=inputs,
        operations=sizes.operations,
        gradient=gradient,
        functions=_UNFOLD.format(**fields),
    )[0]  # fmt: skip


def backward_data(grad: Tensor, w: Tensor, sizes: Convolution) -> Tensor:
    """Return the input's gradient (B, C, H, W)."""
    fields = _fields(sizes)
    return blas.run(
        f"im2col_backward_data_{_name(sizes)}",
        _BACKWARD_DATA.format(**fields),
        outputs=[foreign.empty(*sizes.x), _columns(sizes)],
        inputs=[grad, w],
        operations=sizes.operations,
        functions=_FOLD.format(**fields),
    )[0]


def backward_weights(x: Tensor, grad: Tensor, sizes: Convolution) -> list[Tensor]:
    """Return the weights' gradient (O, C, H, W), and the bias's (O,) if there is one."""
    places = {"x": "p3", "dy": "p4"} if sizes.has_bias else {"x": "p2", "dy": "p3"}
    fields = {**_fields(sizes), **places}
    body = _BACKWARD_WEIGHTS + (_BACKWARD_BIAS if sizes.has_bias else "")
    made = blas.run(
        f"im2col_backward_weights_{_name(sizes)}",
        body.format(**fields),
        outputs=[
            foreign.empty(*sizes.w),
            _columns(sizes),
            *([foreign.empty(sizes.outputs)] if sizes.has_bias else []),
        ],
        inputs=[x, grad],
        operations=sizes.operations,
        functions=compiled.PRELUDE + _UNFOLD.format(**fields),
    )
    return [made[0], *made[2:]]


def _columns(sizes: Convolution) -> Tensor:
    """Return a place for one image's windows, (C kh kw, H' W')."""
    _, _, height, width = sizes.y
    return foreign.empty(sizes.channels * sizes.kernel[0] * sizes.kernel[1], height * width)


def _fields(sizes: Convolution) -> Mapping[str, int]:
    """Return the numbers that stand in the C."""
    _, _, out_h, out_w = sizes.y
    kernel_h, kernel_w = sizes.kernel
    return {
        "batch": sizes.batch, "channels": sizes.channels, "outputs": sizes.outputs,
        "height": sizes.height, "width": sizes.width, "out_h": out_h, "out_w": out_w,
        "kernel_h": kernel_h, "kernel_w": kernel_w,
        "stride": sizes.stride, "padding": sizes.padding,
        "pixels": out_h * out_w, "window": sizes.channels * kernel_h * kernel_w,
        "image": sizes.channels * sizes.height * sizes.width,
    }  # fmt: skip


def _name(sizes: Convolution) -> str:
    numbers = (*sizes.x, *sizes.w, sizes.stride, sizes.padding, int(sizes.has_bias))
    return "_".join(map(str, numbers))
