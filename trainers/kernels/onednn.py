"""oneDNN 3 through ctypes: primitives prepared in Python so that C code runs them from a table.

A `Plan` is one primitive with the reorders around it. All that it needs at run time stands in its
`table` of unsigned 64-bit numbers: addresses of functions, of memory objects and of argument lists.
Plans run one after another on one thread, so all of them share one arena for scratch memory.

Source: the C API of oneDNN 3.2, https://oneapi-src.github.io/oneDNN/v3.2/ (dnnl.h, dnnl_types.h).
"""

import ctypes
import functools
import platform
import sys
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint, c_void_p
from dataclasses import dataclass
from enum import IntEnum
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from evidence.errors import NotInstalled, Unavailable

PACKAGE: Final = "onednn-cpu-gomp"
_FILE: Final = "libdnnl.so.3.2"
_MAX_DIMS: Final = 12
_F32: Final = 3
_ENGINE_CPU: Final = 1
_STREAM_IN_ORDER: Final = 1
_SCRATCHPAD_USER: Final = 1
_QUERY_SCRATCHPAD: Final = 136
_TAG_ANY: Final = 1
_CONVOLUTION_DIRECT: Final = 1
_FORWARD_TRAINING: Final = 64
_PAGE: Final = 4096


class Argument(IntEnum):
    """Roles of a primitive's memories (DNNL_ARG_*)."""

    SOURCE = 1
    DESTINATION = 17
    WEIGHTS = 33
    BIAS = 41
    SCRATCHPAD = 80
    D_SOURCE = 129
    D_DESTINATION = 145
    D_WEIGHTS = 161
    D_BIAS = 169


_WANTED: Final = {
    Argument.SOURCE: 129,
    Argument.D_SOURCE: 130,
    Argument.WEIGHTS: 131,
    Argument.D_WEIGHTS: 132,
    Argument.DESTINATION: 133,
    Argument.D_DESTINATION: 134,
}
"""The query that tells which layout a primitive wants for a role (dnnl_query_*_md)."""

_Dims = c_int64 * _MAX_DIMS


class _ExecArgument(ctypes.Structure):
    _fields_ = (("role", c_int), ("memory", c_void_p))


class _Version(ctypes.Structure):
    _fields_ = (
        ("major", c_int), ("minor", c_int), ("patch", c_int), ("hash", c_char_p),
        ("cpu_runtime", c_uint), ("gpu_runtime", c_uint),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operand:
    """One memory that a kernel passes: its role, its size and how it lies there."""

    role: Argument
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    """In elements; None is row-major."""
    fixed: bool = False
    """Whether the primitive has to take this layout; otherwise it may ask for a reorder."""


def library_path() -> Path:
    """Return the library's file.

    Raises:
        NotInstalled: The package is absent.
    """
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError as error:
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            raise NotInstalled(f"{PACKAGE} is there for Linux on x86-64 only") from error
        raise NotInstalled(
            f"{PACKAGE} is not installed", cure=f"pip install {PACKAGE}==2023.2.0"
        ) from error
    return next(Path(str(file.locate())).resolve() for file in files if file.name == _FILE)


def require_usable() -> ctypes.CDLL:
    """Return the library, opened.

    Raises:
        NotInstalled: The package, or the system's libgomp that it needs, is absent.
    """
    path = library_path()
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NotInstalled(f"{_FILE}: {error}", cure="apt-get install libgomp1") from error


class Library:
    """The loaded library with one engine, one stream and one arena; one in a process.

    Its threads (OMP_NUM_THREADS) and instruction set (ONEDNN_MAX_CPU_ISA) are those of the
    environment at the time of loading.

    Raises:
        NotInstalled: The package, or the system's libgomp, is absent.
    """

    def __init__(self) -> None:
        self.c = require_usable()
        self.c.dnnl_version.restype = POINTER(_Version)
        self.c.dnnl_primitive_desc_query_md.restype = c_void_p
        self.c.dnnl_memory_desc_get_size.restype = c_size_t
        self.engine, self.stream, self.attributes = c_void_p(), c_void_p(), c_void_p()
        self.call("engine_create", byref(self.engine), _ENGINE_CPU, c_size_t(0))
        self.call("stream_create", byref(self.stream), self.engine, _STREAM_IN_ORDER)
        self.call("primitive_attr_create", byref(self.attributes))
        self.call("primitive_attr_set_scratchpad_mode", self.attributes, _SCRATCHPAD_USER)
        self.status = c_int(0)
        """First status other than success that a kernel met; kernels write it, we read it."""
        self.arena = _Arena(self)

    def call(self, name: str, *arguments: Any) -> None:
        """Call `dnnl_NAME`.

        Raises:
            Unavailable: It refused.
        """
        status = getattr(self.c, f"dnnl_{name}")(*arguments)
        if status:
            raise Unavailable(f"oneDNN: {name} answered with status {status}")

    def address(self, name: str) -> int:
        """Return the address of `dnnl_NAME`."""
        return ctypes.cast(getattr(self.c, f"dnnl_{name}"), c_void_p).value or 0

    @property
    def version(self) -> str:
        """Release and commit, e.g. `3.2.0 (34e5b8aa)`."""
        told = self.c.dnnl_version().contents
        return f"{told.major}.{told.minor}.{told.patch} ({told.hash.decode()[:8]})"

    @property
    def instruction_set(self) -> int:
        """The effective instruction set (dnnl_cpu_isa_t), after the cap."""
        return int(self.c.dnnl_get_effective_cpu_isa())

    def layout(self, operand: Operand) -> c_void_p:
        """Return the memory descriptor of an operand as it lies there."""
        strides = operand.strides or _row_major(operand.shape)
        found = c_void_p()
        n = len(operand.shape)
        self.call(
            "memory_desc_create_with_strides",
            byref(found), n, _Dims(*operand.shape), _F32, _Dims(*strides),
        )  # fmt: skip
        return found

    def any_layout(self, shape: Sequence[int]) -> c_void_p:
        """Return a descriptor that lets a primitive choose."""
        found = c_void_p()
        self.call(
            "memory_desc_create_with_tag", byref(found), len(shape), _Dims(*shape), _F32, _TAG_ANY
        )
        return found

    def memory(self, layout: c_void_p) -> c_void_p:
        """Return a memory object without memory: its place is bound later."""
        found = c_void_p()
        self.call("memory_create", byref(found), layout, self.engine, c_void_p(None))
        return found

    def size(self, layout: c_void_p) -> int:
        """Return the bytes of a layout."""
        return int(self.c.dnnl_memory_desc_get_size(layout)) if layout.value else 0

    def wanted(self, description: c_void_p, role: Argument) -> c_void_p:
        """Return the layout that a primitive wants for a role."""
        return c_void_p(self.c.dnnl_primitive_desc_query_md(description, _WANTED[role], 0))

    def scratchpad(self, description: c_void_p) -> c_void_p:
        """Return the layout of the scratch memory that a primitive needs; may be empty."""
        return c_void_p(self.c.dnnl_primitive_desc_query_md(description, _QUERY_SCRATCHPAD, 0))


@functools.cache
def load() -> Library:
    """Return the library of this process, loaded at the first call; see `Library`."""
    return Library()


class _Arena:
    """Scratch memory of all plans; it grows between steps, never under a running kernel."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._bytes = 0
        self._buffer = ctypes.create_string_buffer(_PAGE)
        self._bound: list[tuple[c_void_p, int]] = []

    def bind(self, memories: Sequence[tuple[c_void_p, int]], *, size: int) -> None:
        """Place memories at offsets; the caller has made sure that no kernel runs."""
        self._bound += memories
        moved = list(memories)
        if size > self._bytes:
            self._bytes = size
            self._buffer = ctypes.create_string_buffer(size + _PAGE)
            moved = self._bound
        base = _aligned(ctypes.addressof(self._buffer))
        for memory, offset in moved:
            self._library.call("memory_set_data_handle", memory, c_void_p(base + offset))


class Plan:
    """A primitive with the reorders before and after it, ready to run from a table.

    Args:
        library: The loaded library.
        description: The primitive's description; its scratchpad is the user's.
        operands: What the kernel passes, in order, outputs first.
        outputs: How many of them are outputs.
    """

    def __init__(
        self, library: Library, description: c_void_p, operands: Sequence[Operand], *, outputs: int
    ) -> None:
        self._library = library
        self._lists: list[Any] = []
        self._steps: list[tuple[int, int, int]] = []
        self._placed: list[tuple[c_void_p, int]] = []
        self._end = 0
        self._scratch: list[tuple[c_void_p, int]] = []
        passed, arguments, before, after = [], [], [], []
        for position, operand in enumerate(operands):
            plain = library.layout(operand)
            outside = library.memory(plain)
            passed.append(outside)
            if operand.fixed or operand.role not in _WANTED:
                arguments.append((operand.role, outside))
                continue
            wanted = library.wanted(description, operand.role)
            if library.c.dnnl_memory_desc_equal(wanted, plain):
                arguments.append((operand.role, outside))
                continue
            inside = self._place(wanted)
            arguments.append((operand.role, inside))
            if position < outputs:
                after.append((wanted, inside, plain, outside))
            else:
                before.append((plain, outside, wanted, inside))
        for reorder in before:
            self._add_reorder(*reorder)
        self._add(description, arguments)
        for reorder in after:
            self._add_reorder(*reorder)
        bound = [*self._placed, *((memory, self._end) for memory, _ in self._scratch)]
        size = self._end + max((n for _, n in self._scratch), default=0)
        library.arena.bind(bound, size=size)
        self.table = self._table(passed)

    def _place(self, layout: c_void_p) -> c_void_p:
        memory = self._library.memory(layout)
        self._placed.append((memory, self._end))
        self._end = _aligned(self._end + self._library.size(layout))
        return memory

    def _add_reorder(
        self, layout: c_void_p, memory: c_void_p, to_layout: c_void_p, to_memory: c_void_p
    ) -> None:
        description, engine = c_void_p(), self._library.engine
        self._library.call(
            "reorder_primitive_desc_create",
            byref(description), layout, engine, to_layout, engine, self._library.attributes,
        )  # fmt: skip
        self._add(description, [(Argument.SOURCE, memory), (Argument.DESTINATION, to_memory)])

    def _add(self, description: c_void_p, arguments: list[tuple[Argument, c_void_p]]) -> None:
        library = self._library
        pad = library.scratchpad(description)
        if size := library.size(pad):
            memory = library.memory(pad)
            self._scratch.append((memory, size))
            arguments = [*arguments, (Argument.SCRATCHPAD, memory)]
        primitive = c_void_p()
        library.call("primitive_create", byref(primitive), description)
        listed = (_ExecArgument * len(arguments))(
            *(_ExecArgument(int(role), memory.value) for role, memory in arguments)
        )
        self._lists.append(listed)
        self._steps.append((primitive.value or 0, len(arguments), ctypes.addressof(listed)))

    def _table(self, passed: Sequence[c_void_p]) -> tuple[int, ...]:
        library = self._library
        return (
            library.address("primitive_execute"),
            library.address("memory_set_data_handle"),
            library.stream.value or 0,
            ctypes.addressof(library.status),
            *(memory.value or 0 for memory in passed),
            len(self._steps),
            *(number for step in self._steps for number in step),
        )


def matmul(library: Library, operands: Sequence[Operand]) -> Plan:
    """Return the plan of destination = source x weights, batched over leading axes.

    Args:
        library: The loaded library.
        operands: Destination (B, M, N), source (B, M, K), weights (B, K, N), any strides, and
            perhaps a bias (1, 1, N).
    """
    description = c_void_p()
    layouts = {operand.role: library.layout(operand) for operand in operands}
    library.call(
        "matmul_primitive_desc_create",
        byref(description), library.engine,
        layouts[Argument.SOURCE], layouts[Argument.WEIGHTS],
        layouts.get(Argument.BIAS, c_void_p()), layouts[Argument.DESTINATION],
        library.attributes,
    )  # fmt: skip
    return Plan(library, description, operands, outputs=1)


@dataclass(frozen=True, slots=True)
class Convolution:
    """Sizes of a two-dimensional convolution; channels first."""

    batch: int
    channels: int
    height: int
    width: int
    outputs: int
    kernel: tuple[int, int]
    stride: int
    padding: int
    has_bias: bool

    @property
    def x(self) -> tuple[int, int, int, int]:
        """Shape of the input."""
        return (self.batch, self.channels, self.height, self.width)

    @property
    def w(self) -> tuple[int, int, int, int]:
        """Shape of the weights."""
        return (self.outputs, self.channels, *self.kernel)

    @property
    def y(self) -> tuple[int, int, int, int]:
        """Shape of the output."""
        height, width = (
            (size + 2 * self.padding - kernel) // self.stride + 1
            for size, kernel in zip((self.height, self.width), self.kernel, strict=True)
        )
        return (self.batch, self.outputs, height, width)

    @property
    def operations(self) -> int:
        """Floating-point operations of the forward pass."""
        batch, outputs, height, width = self.y
        kernel = self.kernel[0] * self.kernel[1]
        return 2 * batch * outputs * height * width * self.channels * kernel


def convolution_forward(library: Library, sizes: Convolution) -> Plan:
    """Return the plan y = conv(x, w) + b; operands y, x, w and b if there is one."""
    operands = [
        Operand(Argument.DESTINATION, sizes.y),
        Operand(Argument.SOURCE, sizes.x),
        Operand(Argument.WEIGHTS, sizes.w),
    ]
    if sizes.has_bias:
        operands.append(Operand(Argument.BIAS, (sizes.outputs,)))
    return Plan(library, _forward(library, sizes), operands, outputs=1)


def convolution_backward_data(library: Library, sizes: Convolution) -> Plan:
    """Return the plan of the input's gradient; operands dx, dy, w."""
    description = c_void_p()
    library.call(
        "convolution_backward_data_primitive_desc_create",
        byref(description), library.engine, _CONVOLUTION_DIRECT,
        library.any_layout(sizes.x), library.any_layout(sizes.w), library.any_layout(sizes.y),
        *_geometry(sizes), _forward(library, sizes), library.attributes,
    )  # fmt: skip
    operands = [
        Operand(Argument.D_SOURCE, sizes.x),
        Operand(Argument.D_DESTINATION, sizes.y),
        Operand(Argument.WEIGHTS, sizes.w),
    ]
    return Plan(library, description, operands, outputs=1)


def convolution_backward_weights(library: Library, sizes: Convolution) -> Plan:
    """Return the plan of the weights' gradient; operands dw, db if there is one, x, dy."""
    description = c_void_p()
    bias = Operand(Argument.D_BIAS, (sizes.outputs,))
    library.call(
        "convolution_backward_weights_primitive_desc_create",
        byref(description), library.engine, _CONVOLUTION_DIRECT,
        library.any_layout(sizes.x), library.any_layout(sizes.w),
        library.layout(bias) if sizes.has_bias else c_void_p(), library.any_layout(sizes.y),
        *_geometry(sizes), _forward(library, sizes), library.attributes,
    )  # fmt: skip
    outputs = [Operand(Argument.D_WEIGHTS, sizes.w), *([bias] if sizes.has_bias else [])]
    inputs = [Operand(Argument.SOURCE, sizes.x), Operand(Argument.D_DESTINATION, sizes.y)]
    return Plan(library, description, [*outputs, *inputs], outputs=len(outputs))


def _forward(library: Library, sizes: Convolution) -> c_void_p:
    description = c_void_p()
    bias = Operand(Argument.BIAS, (sizes.outputs,))
    library.call(
        "convolution_forward_primitive_desc_create",
        byref(description), library.engine, _FORWARD_TRAINING, _CONVOLUTION_DIRECT,
        library.any_layout(sizes.x), library.any_layout(sizes.w),
        library.layout(bias) if sizes.has_bias else c_void_p(), library.any_layout(sizes.y),
        *_geometry(sizes), library.attributes,
    )  # fmt: skip
    return description


def _geometry(sizes: Convolution) -> tuple[Any, ...]:
    """Return strides, dilations (0 is none) and the padding before and behind."""
    padding = _Dims(sizes.padding, sizes.padding)
    return _Dims(sizes.stride, sizes.stride), _Dims(0, 0), padding, padding


def _row_major(shape: Sequence[int]) -> tuple[int, ...]:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * size)
    return tuple(reversed(strides))


def _aligned(address: int) -> int:
    return (address + _PAGE - 1) & ~(_PAGE - 1)
