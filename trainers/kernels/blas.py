"""Kernels in C around OpenBLAS's matrix product, called through a table as `foreign` says.

The C sees `sgemm` and names for its first three arguments; a kernel without the function behind it
leaves a status and does nothing.

Source: cblas_sgemm of the CBLAS standard, https://netlib.org/blas/blast-forum/cinterface.pdf.
"""

import ctypes
import functools
from typing import Unpack

from tinygrad import Device, Tensor, dtypes

from trainers.kernels import foreign, openblas
from trainers.kernels.foreign import Source, Work

_SOURCE = """
typedef void (*sgemm_t)(int, int, int, long, long, long, float, const float*, long,
                        const float*, long, float, float*, long);
enum {{ ROW_MAJOR = 101, PLAIN = 111, TURNED = 112 }};
{functions}
void {name}({parameters}, const unsigned long* restrict table) {{
  sgemm_t sgemm = (sgemm_t)table[0];
  int* status = (int*)table[1];
  if (!sgemm) {{
    if (!*status) *status = 1;
    return;
  }}
{body}
}}
"""


def run(name: str, body: str, functions: str = "", **work: Unpack[Work]) -> list[Tensor]:
    """Return the outputs after a kernel.

    Args:
        name: Of the kernel, an identifier; sizes that `body` has in its text belong into it.
        body: C; operands are float pointers `p0`, `p1`, ..., outputs first.
        functions: C that the body calls.
        work: See `Work`.
    """
    operands = len(work["outputs"]) + len(work["inputs"])
    made = source(name, body, operands=operands, functions=functions)
    return foreign.call(made, table(), **work)


def source(name: str, body: str, *, operands: int, functions: str = "") -> Source:
    """Return the kernel in C; see `run`."""
    parameters = ", ".join(f"float* restrict p{i}" for i in range(operands))
    text = _SOURCE.format(name=name, functions=functions, parameters=parameters, body=body)
    return Source(name, text)


@functools.cache
def table() -> Tensor:
    """Return the table of this process: the product's address and where a status goes."""
    library = openblas.load()
    return tabulate(library.address("cblas_sgemm64_"), ctypes.addressof(library.status))


def tabulate(*numbers: int) -> Tensor:
    """Return a table of addresses."""
    Device["CPU"].synchronize()  # type: ignore[no-untyped-call]  # tinygrad's
    return Tensor(list(numbers), dtype=dtypes.uint64, device="CPU").contiguous().realize()
