"""Two-dimensional convolution with both of its gradients.

Shape suffixes: B batch, C channels, O output channels, H height, W width.
"""

from tinygrad import Tensor
from tinygrad.uop.ops import UOp

from trainers.kernels import foreign, im2col, library, onednn
from trainers.kernels.onednn import Convolution


def conv2d(
    x_BCHW: Tensor,  # noqa: N803  shape suffix
    w_OCHW: Tensor,  # noqa: N803  shape suffix
    b_O: Tensor | None = None,  # noqa: N803  shape suffix
    *,
    stride: int = 1,
    padding: int = 0,
) -> Tensor:
    """Return (B, O, H', W') of float32 tensors; one group, no dilation.

    Args:
        x_BCHW: Input.
        w_OCHW: Filters.
        b_O: Added to each output channel, if given.
        stride: Of both axes.
        padding: Zeros on each of the four sides.
    """
    batch, channels, height, width = (int(size) for size in x_BCHW.shape)
    outputs, channels_w, *kernel = (int(size) for size in w_OCHW.shape)
    assert channels == channels_w, (x_BCHW.shape, w_OCHW.shape)
    sizes = Convolution(
        batch, channels, height, width, outputs, (kernel[0], kernel[1]), stride, padding,
        has_bias=b_O is not None,
    )  # fmt: skip
    inputs = [x_BCHW, w_OCHW, *([b_O] if b_O is not None else [])]
    if library.chosen().name == "openblas":
        return _by_blas(sizes, inputs)

    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        x, w, grad = Tensor(call.src[2]), Tensor(call.src[3]), Tensor(g)
        dx = _backward_data(grad, w, sizes)
        weights = _backward_weights(x, grad, sizes)
        return None, dx.uop, *(gradient.uop for gradient in weights), None

    return foreign.run(
        foreign.plan(onednn.convolution_forward, sizes),
        "onednn_convolution",
        outputs=[foreign.empty(*sizes.y)],
        inputs=inputs,
        operations=sizes.operations,
        gradient=gradient,
    )[0]


def _by_blas(sizes: Convolution, inputs: list[Tensor]) -> Tensor:
    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        x, w, grad = Tensor(call.src[3]), Tensor(call.src[4]), Tensor(g)
        dx = im2col.backward_data(grad, w, sizes)
        weights = im2col.backward_weights(x, grad, sizes)
        return None, None, dx.uop, *(gradient.uop for gradient in weights), None

    return im2col.forward(sizes, inputs, gradient)


def _backward_data(grad: Tensor, w: Tensor, sizes: Convolution) -> Tensor:
    return foreign.run(
        foreign.plan(onednn.convolution_backward_data, sizes),
        "onednn_convolution_backward_data",
        outputs=[foreign.empty(*sizes.x)],
        inputs=[grad, w],
        operations=sizes.operations,
    )[0]


def _backward_weights(x: Tensor, grad: Tensor, sizes: Convolution) -> list[Tensor]:
    outputs = [foreign.empty(*sizes.w)]
    if sizes.has_bias:
        outputs.append(foreign.empty(sizes.outputs))
    return foreign.run(
        foreign.plan(onednn.convolution_backward_weights, sizes),
        "onednn_convolution_backward_weights",
        outputs=outputs,
        inputs=[x, grad],
        operations=sizes.operations,
    )
