"""Kernels of our own in C, compiled by tinygrad's compiler, their rows shared out over threads.

Which rows a thread takes does not change what a row becomes, so neither does the number of threads;
sums run over 16 lanes in a fixed order, so neither does the width of the vectors. The threads are
those of the library (libgomp), so that both never compete; without it there is one.
"""

import ctypes
import functools
import os
from typing import Unpack

from tinygrad import Device, Tensor, dtypes

from trainers.kernels import foreign
from trainers.kernels.foreign import Work

LANES = 16
"""Floats of a vector in C."""

PRELUDE = """
typedef float vec __attribute__((vector_size(64), aligned(4)));
typedef int ivec __attribute__((vector_size(64), aligned(4)));
#define LANES 16
static inline vec splat(float x) {
  return (vec){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
static inline float total(vec v) {
  float s = 0;
  for (int i = 0; i < LANES; i++) s += v[i];
  return s;
}
static inline float largest(vec v) {
  float s = v[0];
  for (int i = 1; i < LANES; i++) s = v[i] > s ? v[i] : s;
  return s;
}
/* e to the x, within 2 units in the last place, and NaN of NaN; Cody and Waite 1980, ch. 6, with
   Cephes' polynomial (netlib.org/cephes, single/expf.c). */
static inline vec exponential(vec x) {
  const vec given = x;
  x = __builtin_elementwise_min(x, splat(88.0f));
  x = __builtin_elementwise_max(x, splat(-87.0f));
  vec shifted = x * 1.44269504f + 12582912.0f;
  vec n = shifted - 12582912.0f;
  x = x - n * 0.693359375f;
  x = x + n * 2.12194440e-4f;
  vec y = splat(1.9875691500e-4f);
  y = y * x + 1.3981999507e-3f;
  y = y * x + 8.3334519073e-3f;
  y = y * x + 4.1665795894e-2f;
  y = y * x + 1.6666665459e-1f;
  y = y * x + 5.0000001201e-1f;
  y = y * x * x + x + 1.0f;
  ivec bits = (__builtin_convertvector(n, ivec) + 127) << 23;
  ivec is_number = given == given;
  return (vec)(((ivec)(y * (vec)bits) & is_number) | ((ivec)given & ~is_number));
}
/* The natural logarithm of a normal number, within 2 units in the last place; Cephes' logf.c. */
static inline float logarithm(float x) {
  if (!(x < 3.4e38f)) return x;
  union { float f; int i; } u = {x};
  float e = (float)((u.i >> 23) - 126);
  u.i = (u.i & 0x007fffff) | 0x3f000000;
  float m = u.f - 1.0f;
  if (u.f < 0.70710678f) {
    e -= 1.0f;
    m += u.f;
  }
  float z = m * m, y = 7.0376836292e-2f;
  y = y * m - 1.1514610310e-1f;
  y = y * m + 1.1676998740e-1f;
  y = y * m - 1.2420140846e-1f;
  y = y * m + 1.4249322787e-1f;
  y = y * m - 1.6668057665e-1f;
  y = y * m + 2.0000714765e-1f;
  y = y * m - 2.4999993993e-1f;
  y = y * m + 3.3333331174e-1f;
  y = y * m * z - 2.12194440e-4f * e - 0.5f * z;
  return m + y + 0.693359375f * e;
}
"""
"""What every kernel may use."""

_SOURCE = """
typedef void (*parallel_t)(void (*)(void*), void*, unsigned, unsigned);
typedef int (*number_t)(void);
struct task {{ float* operands[{count}]; number_t number; long threads; }};
static void rows(struct task* t, long first, long last) {{
  float* const* operands = t->operands;
  {locals}
  for (long row = first; row < last; row++) {{
{body}
  }}
}}
static void share(void* raw) {{
  struct task* t = (struct task*)raw;
  long n = t->number();
  rows(t, {rows} * n / t->threads, {rows} * (n + 1) / t->threads);
}}
void {name}({parameters}, const unsigned long* restrict table) {{
  struct task t;
  {sets}
  t.number = (number_t)table[1];
  t.threads = (long)table[2];
  if (t.threads == 1) rows(&t, 0, {rows});
  else ((parallel_t)table[0])(share, &t, (unsigned)t.threads, 0);
}}
"""


def run(name: str, body: str, *, rows: int, **work: Unpack[Work]) -> list[Tensor]:
    """Return the outputs after a kernel has run over all rows.

    Args:
        name: Of the kernel, an identifier; sizes that `body` has in its text belong into it.
        body: C for one `row`; operands are float pointers `p0`, `p1`, ..., outputs first, and
            elements of the array `operands`.
        rows: How many there are.
        work: See `foreign.Work`.
    """
    operands = range(len(work["outputs"]) + len(work["inputs"]))
    source = PRELUDE + _SOURCE.format(
        name=name,
        rows=rows,
        body=body,
        count=len(operands),
        locals=" ".join(f"float* restrict p{i} = t->operands[{i}];" for i in operands),
        sets=" ".join(f"t.operands[{i}] = p{i};" for i in operands),
        parameters=", ".join(f"float* p{i}" for i in operands),
    )
    return foreign.call(foreign.Source(name, source), table(), **work)


@functools.cache
def table() -> Tensor:
    """Return the table of this process: libgomp's two functions and the number of threads."""
    Device["CPU"].synchronize()  # type: ignore[no-untyped-call]  # tinygrad's
    numbers = (0, 0, 1)
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    if threads > 1:
        try:
            library = ctypes.CDLL("libgomp.so.1")
        except OSError:
            threads = 1
        else:
            numbers = (
                _address(library.GOMP_parallel), _address(library.omp_get_thread_num), threads
            )  # fmt: skip
    return Tensor(list(numbers), dtype=dtypes.uint64, device="CPU").contiguous().realize()


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]  # it is one
