"""A prepared primitive as a kernel in tinygrad's graph: C source that calls through a table.

The graph, its autograd and TinyJit see an ordinary kernel. The source depends on the number of
memories only; addresses stand in the plan's table, a uint64 tensor of this process, so compiled
kernels can be kept on disk.

Source: `Tensor.custom_kernel` of tinygrad 0.14.0, which is marked alpha.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, Unpack

from tinygrad import Device, Tensor, dtypes
from tinygrad.renderer import Estimates
from tinygrad.uop.ops import KernelInfo, Ops, UOp

from evidence.errors import Unavailable
from trainers.kernels import onednn, openblas
from trainers.kernels.onednn import Plan

Gradient = Callable[[UOp, UOp], tuple[UOp | None, ...]]
"""Takes the output's gradient and the call; returns one gradient for each operand."""

_FLOAT_BYTES = 4
_DTYPES = dtypes.float32, dtypes.int32


@functools.cache
def plan(make: Callable[..., Plan], *sizes: Any) -> "Prepared":
    """Return `make(library, *sizes)`, made once; what runs has ended before memory moves."""
    Device["CPU"].synchronize()  # type: ignore[no-untyped-call]  # tinygrad's
    return Prepared(make(onednn.load(), *sizes))


class Prepared:
    """A plan and the tensor of its table."""

    def __init__(self, made: Plan) -> None:
        self.plan = made
        self.table = Tensor(list(made.table), dtype=dtypes.uint64, device="CPU").contiguous()
        self.table.realize()


class Work(TypedDict):
    """What every kernel is given."""

    outputs: Sequence[Tensor]
    """Tensors on the CPU, float32: empty, or realised ones that the kernel changes in place."""
    inputs: Sequence[Tensor]
    """float32 tensors, or int32 ones that the C casts back; made contiguous."""
    operations: int
    """Floating-point operations, for the counters."""
    gradient: NotRequired[Gradient]
    """How gradients flow back; absent if they do not."""


def run(prepared: Prepared, name: str, **work: Unpack[Work]) -> list[Tensor]:
    """Return the outputs after a primitive has run.

    Args:
        prepared: The plan; its operands are the outputs, then the inputs.
        name: Of the kernel, an identifier.
        work: See `Work`.
    """
    operands = len(work["outputs"]) + len(work["inputs"])
    full = f"{name}_{operands}"
    return call(Source(full, _source(full, operands)), prepared.table, **work)


@dataclass(frozen=True, slots=True)
class Source:
    """A kernel in C."""

    name: str
    """Of its function."""
    text: str
    """Compiled by tinygrad's compiler: no library behind it."""


def call(source: Source, table: Tensor, **work: Unpack[Work]) -> list[Tensor]:
    """Return the outputs after a kernel.

    Args:
        source: Takes a float pointer for each output, then for each input, then the table.
        table: Numbers of this process, uint64.
        work: See `Work`.
    """
    outputs = work["outputs"]
    operands = [*outputs, *(_placed(tensor) for tensor in work["inputs"])]
    moved = _FLOAT_BYTES * sum(int(tensor.numel()) for tensor in operands)
    kernel = _kernel(source, Estimates(ops=work["operations"], lds=moved, mem=moved))
    first, *others = operands
    made = first.custom_kernel(*others, table, fxn=kernel, grad_fxn=work.get("gradient"))
    return made[: len(outputs)]


def empty(*shape: int) -> Tensor:
    """Return a place for an output."""
    return Tensor.empty(*shape, dtype=dtypes.float32, device="CPU")


def require_success() -> None:
    """Raise if a kernel failed since the last call; call it when all kernels have ended.

    Raises:
        Unavailable: A library refused to run a kernel.
    """
    for name, load in (("oneDNN", onednn.load), ("OpenBLAS", openblas.load)):
        if load.cache_info().currsize and (status := load().status.value):
            load().status.value = 0
            raise Unavailable(f"{name}: a kernel ended with status {status}")


def _placed(tensor: Tensor) -> Tensor:
    """Return the tensor as it lies in memory, row by row.

    What another kernel made lies so already, in any shape; `contiguous` would copy it.
    """
    assert tensor.dtype in _DTYPES, tensor.dtype
    place = tensor.uop
    while place.op is Ops.RESHAPE:
        place = place.src[0]
    lies = place.op is Ops.CONTIGUOUS or place.has_buffer_identity(after_ok=True)  # type: ignore[no-untyped-call]  # tinygrad
    return tensor if lies else tensor.contiguous()


def _kernel(source: Source, estimates: Estimates) -> Callable[..., UOp]:
    def build(*arguments: UOp) -> UOp:
        info = KernelInfo(name=source.name, estimates=estimates)
        sink = UOp.sink(*[argument.base for argument in arguments], arg=info)
        binary = Device["CPU"].compiler.compile_cached(source.text)
        parts = (
            sink,
            UOp(Ops.LINEAR, src=(*sink.src, sink)),
            UOp(Ops.SOURCE, arg=source.text),
            UOp(Ops.BINARY, arg=binary),
        )
        return UOp(Ops.PROGRAM, src=parts)

    return build


def _source(name: str, operands: int) -> str:
    """Return C that binds the memories and runs the steps of a table; see `Plan`."""
    parameters = ", ".join(f"float* p{i}" for i in range(operands))
    binds = "\n".join(f"  failed |= bind((void*)next[{i}], p{i});" for i in range(operands))
    return f"""typedef int (*bind_t)(void*, void*);
typedef int (*execute_t)(void*, void*, int, void*);
void {name}({parameters}, const unsigned long* restrict table) {{
  execute_t execute = (execute_t)table[0];
  bind_t bind = (bind_t)table[1];
  void* stream = (void*)table[2];
  int* status = (int*)table[3];
  const unsigned long* next = table + 4;
  int failed = 0;
{binds}
  next += {operands};
  for (unsigned long left = *next++; left && !failed; left--, next += 3)
    failed = execute((void*)next[0], stream, (int)next[1], (void*)next[2]);
  if (failed && !*status) *status = failed;
}}
"""
