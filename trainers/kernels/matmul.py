"""Matrix products in all transposed and batched forms, with gradients.

Shape suffixes: B batch, M rows, N columns, K inner.
"""

from dataclasses import dataclass

from tinygrad import Tensor
from tinygrad.uop.ops import UOp

from trainers.kernels import foreign, onednn
from trainers.kernels.onednn import Argument, Library, Operand, Plan


@dataclass(frozen=True, slots=True)
class Product:
    """Sizes of a batch of products and how their factors lie."""

    batch: int
    rows: int
    columns: int
    inner: int
    ta: bool
    tb: bool

    @property
    def operations(self) -> int:
        """Floating-point operations of all products."""
        return 2 * self.batch * self.rows * self.columns * self.inner


def matmul(a_BMK: Tensor, b_BKN: Tensor, *, ta: bool = False, tb: bool = False) -> Tensor:  # noqa: N803  shape suffix
    """Return the product (B, M, N) of float32 matrices.

    Args:
        a_BMK: (B, M, K), or (B, K, M) if `ta`.
        b_BKN: (B, K, N), or (B, N, K) if `tb`.
        ta: Whether the first lies transposed.
        tb: Whether the second lies transposed.
    """
    batch, rows, inner = _sizes(a_BMK, swapped=ta)
    other, inner_b, columns = _sizes(b_BKN, swapped=tb)
    assert (batch, inner) == (other, inner_b), (a_BMK.shape, b_BKN.shape, ta, tb)
    product = Product(batch, rows, columns, inner, ta, tb)

    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        a, b, grad = Tensor(call.src[2]), Tensor(call.src[3]), Tensor(g)
        da = matmul(b, grad, ta=tb, tb=True) if ta else matmul(grad, b, tb=not tb)
        db = matmul(grad, a, ta=True, tb=ta) if tb else matmul(a, grad, ta=not ta)
        return None, da.uop, db.uop, None

    return foreign.run(
        foreign.plan(_plan, product),
        "onednn_matmul",
        outputs=[foreign.empty(batch, rows, columns)],
        inputs=[a_BMK, b_BKN],
        operations=product.operations,
        gradient=gradient,
    )[0]


def affine(x_RF: Tensor, w_OF: Tensor, b_O: Tensor) -> Tensor:  # noqa: N803  shape suffix
    """Return (R, O): x times the transposed weights plus the bias, of float32 matrices.

    Args:
        x_RF: Rows.
        w_OF: Weights.
        b_O: Added to each row.
    """
    rows, inner = (int(size) for size in x_RF.shape)
    outputs, inner_w = (int(size) for size in w_OF.shape)
    assert inner == inner_w, (x_RF.shape, w_OF.shape)
    product = Product(1, rows, outputs, inner, ta=False, tb=True)

    def gradient(g: UOp, call: UOp) -> tuple[UOp | None, ...]:
        x, w = Tensor(call.src[2]).unsqueeze(0), Tensor(call.src[3]).unsqueeze(0)
        grad = Tensor(g).unsqueeze(0)
        # A sum over rows, as a product with ones: threads and wide vectors come with it.
        ones = Tensor.ones(1, 1, rows, dtype=grad.dtype, device=grad.device).contiguous()
        dx, dw = matmul(grad, w), matmul(grad, x, ta=True)
        db = matmul(ones, grad)
        return None, dx[0].uop, dw[0].uop, db.reshape(outputs).uop, None

    return foreign.run(
        foreign.plan(_affine_plan, product),
        "onednn_affine",
        outputs=[foreign.empty(rows, outputs)],
        inputs=[x_RF, w_OF, b_O],
        operations=product.operations,
        gradient=gradient,
    )[0]


def _sizes(x: Tensor, *, swapped: bool) -> tuple[int, int, int]:
    batch, rows, columns = (int(size) for size in x.shape)
    return (batch, columns, rows) if swapped else (batch, rows, columns)


def _plan(library: Library, product: Product) -> Plan:
    batch, rows, columns, inner = product.batch, product.rows, product.columns, product.inner
    operands = (
        _operand(Argument.DESTINATION, (batch, rows, columns), swapped=False),
        _operand(Argument.SOURCE, (batch, rows, inner), swapped=product.ta),
        _operand(Argument.WEIGHTS, (batch, inner, columns), swapped=product.tb),
    )
    return onednn.matmul(library, operands)


def _affine_plan(library: Library, product: Product) -> Plan:
    rows, columns, inner = product.rows, product.columns, product.inner
    operands = (
        _operand(Argument.DESTINATION, (1, rows, columns), swapped=False),
        _operand(Argument.SOURCE, (1, rows, inner), swapped=product.ta),
        _operand(Argument.WEIGHTS, (1, inner, columns), swapped=product.tb),
        Operand(Argument.BIAS, (1, 1, columns), fixed=True),
    )
    return onednn.matmul(library, operands)


def _operand(role: Argument, shape: tuple[int, int, int], *, swapped: bool) -> Operand:
    _, rows, columns = shape
    strides = (rows * columns, 1, rows) if swapped else (rows * columns, columns, 1)
    return Operand(role, shape, strides, fixed=True)
