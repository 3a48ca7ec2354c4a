"""Matrix products in all transposed and batched forms, with gradients.

Shape suffixes: B batch, M rows, N columns, K inner.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad import Tensor, dtypes
from tinygrad.uop.ops import UOp

from trainers.kernels import blas, foreign, library, onednn
from trainers.kernels.foreign import Gradient
from trainers.kernels.onednn import Argument, Library, Operand, Plan

_FACTORS = 2


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

    return _run(product, foreign.empty(batch, rows, columns), [a_BMK, b_BKN], gradient)


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
        dx, dw = matmul(grad, w), matmul(grad, x, ta=True)
        # A sum over rows, as a product with ones: threads and wide vectors come with it.
        db = matmul(_ones(rows), grad)
        made = dx.reshape(rows, inner), dw.reshape(outputs, inner), db.reshape(outputs)
        return None, *(gradient.uop for gradient in made), None

    return _run(product, foreign.empty(rows, outputs), [x_RF, w_OF, b_O], gradient)


@functools.cache
def _ones(count: int) -> Tensor:
    """Return ones, (1, 1, count), float32, made once in a process."""
    return Tensor.ones(1, 1, count, dtype=dtypes.float32, device="CPU").contiguous().realize()


def _sizes(x: Tensor, *, swapped: bool) -> tuple[int, int, int]:
    batch, rows, columns = (int(size) for size in x.shape)
    return (batch, columns, rows) if swapped else (batch, rows, columns)


def _run(product: Product, output: Tensor, inputs: Sequence[Tensor], gradient: Gradient) -> Tensor:
    """Return the product of the first two inputs, plus the third in each row if there is one."""
    has_bias = len(inputs) > _FACTORS
    if library.chosen().name == "openblas":
        name, body = _in_c(product, has_bias=has_bias)
        run = functools.partial(blas.run, name, body)
    else:
        name, plan = ("onednn_affine", _affine_plan) if has_bias else ("onednn_matmul", _plan)
        run = functools.partial(foreign.run, foreign.plan(plan, product), name)
    made = run(outputs=[output], inputs=inputs, operations=product.operations, gradient=gradient)
    return made[0]


def _in_c(product: Product, *, has_bias: bool) -> tuple[str, str]:
    """Return name and body of the kernel for `blas.run`."""
    m, n, k = product.rows, product.columns, product.inner
    first, second = ("TURNED" if turned else "PLAIN" for turned in (product.ta, product.tb))
    bias = f"""
  for (long i = 0; i < {m}; i++)
    for (long j = 0; j < {n}; j++) p0[i * {n} + j] = p3[j];"""
    body = f"""
  for (long b = 0; b < {product.batch}; b++)
    sgemm(ROW_MAJOR, {first}, {second}, {m}, {n}, {k},
          1, p1 + b * {m * k}, {m if product.ta else k}, p2 + b * {k * n}, {k if product.tb else n},
          {int(has_bias)}, p0 + b * {m * n}, {n});"""
    kind = "affine" if has_bias else "matmul"
    name = f"blas_{kind}_{product.batch}_{m}_{n}_{k}_{first}_{second}"
    return name, (bias if has_bias else "") + body


def _plan(loaded: Library, product: Product) -> Plan:
    batch, rows, columns, inner = product.batch, product.rows, product.columns, product.inner
    operands = (
        _operand(Argument.DESTINATION, (batch, rows, columns), swapped=False),
        _operand(Argument.SOURCE, (batch, rows, inner), swapped=product.ta),
        _operand(Argument.WEIGHTS, (batch, inner, columns), swapped=product.tb),
    )
    return onednn.matmul(loaded, operands)


def _affine_plan(loaded: Library, product: Product) -> Plan:
    rows, columns, inner = product.rows, product.columns, product.inner
    operands = (
        _operand(Argument.DESTINATION, (1, rows, columns), swapped=False),
        _operand(Argument.SOURCE, (1, rows, inner), swapped=product.ta),
        _operand(Argument.WEIGHTS, (1, inner, columns), swapped=product.tb),
        Operand(Argument.BIAS, (1, 1, columns), fixed=True),
    )
    return onednn.matmul(loaded, operands)


def _operand(role: Argument, shape: tuple[int, int, int], *, swapped: bool) -> Operand:
    _, rows, columns = shape
    strides = (rows * columns, 1, rows) if swapped else (rows * columns, columns, 1)
    return Operand(role, shape, strides, fixed=True)
