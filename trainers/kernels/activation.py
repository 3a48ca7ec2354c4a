"""The Gaussian error linear unit in its tanh form, forward and backward in one pass each.

Source: Hendrycks and Gimpel 2016, arXiv:1606.08415 §2; x sigmoid(2 u) is x (1 + tanh u) / 2.
"""

from tinygrad import Tensor
from tinygrad.uop.ops import UOp

from trainers.kernels import compiled, foreign

_PIECE = 1024
"""Elements that one row of the kernel stands for."""

_SIGMOID = """
    vec x = *(const vec*)({x} + i);
    vec u = x * 1.5957691216f * (1.0f + 0.044715f * x * x);
    vec s = 1.0f / (1.0f + exponential(-u));
"""

_FORWARD = (
    """
    for (long i = row * {piece}; i < (row + 1) * {piece}; i += LANES) {{"""
    + _SIGMOID
    + """
    *(vec*)(p0 + i) = x * s;
    }}
"""
)

_BACKWARD = (
    """
    for (long i = row * {piece}; i < (row + 1) * {piece}; i += LANES) {{"""
    + _SIGMOID
    + """
    vec du = 1.5957691216f * (1.0f + 0.134145f * x * x);
    *(vec*)(p0 + i) = *(const vec*)(p2 + i) * (s + x * s * (1.0f - s) * du);
    }}
"""
)


def is_fit(x: Tensor) -> bool:
    """Return whether the tensor falls into whole pieces."""
    return int(x.numel()) % _PIECE == 0


def gelu(x: Tensor) -> Tensor:
    """Return the unit of each element of a float32 tensor for which `is_fit`."""
    pieces = int(x.numel()) // _PIECE
    shape = tuple(int(size) for size in x.shape)

    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        (dx,) = compiled.run(
            f"gelu_backward_{pieces}",
            _BACKWARD.format(piece=_PIECE, x="p1"),
            rows=pieces,
            outputs=[foreign.empty(*shape)],
            inputs=[Tensor(call.src[2]), Tensor(g)],
            operations=40 * pieces * _PIECE,
        )
        return None, dx.uop, None

    return compiled.run(
        f"gelu_{pieces}",
        _FORWARD.format(piece=_PIECE, x="p1"),
        rows=pieces,
        outputs=[foreign.empty(*shape)],
        inputs=[x],
        operations=30 * pieces * _PIECE,
        gradient=gradient,
    )[0]
