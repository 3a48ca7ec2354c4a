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


def _operand(role: Argument, shape: tuple[int, int, int], *, swapped: bool) -> Operand:
    _, rows, columns = shape
    strides = (rows * columns, 1, rows) if swapped else (rows * columns, columns, 1)
    return Operand(role, shape, strides, fixed=True)
