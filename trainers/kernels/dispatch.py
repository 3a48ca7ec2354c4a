"""The kernels of a captured step called one after another, with nothing between them.

tinygrad looks up buffers, program and sizes of each kernel anew in each step, 25 to 50 microseconds
of Python; a step of the small ViT has 900 kernels. For GPUs it has graphs that are made once. This
is one for its CPU device: a list of functions with their arguments. Order and kernels stay the
same, and so do the bits.

Source: `GraphRunner` of tinygrad 0.14.0, `engine/jit.py`.
"""

import ctypes
from collections.abc import Mapping
from typing import Any

from tinygrad import Device
from tinygrad.device import Buffer
from tinygrad.engine.jit import GraphRunner
from tinygrad.helpers import DEBUG
from tinygrad.uop.ops import Ops, UOp

_SINGLE_KERNELS = 2
"""From this level of DEBUG on tinygrad prints each kernel with its time, so each runs alone."""


class CallList(GraphRunner):
    """Functions and arguments of some kernels; arguments that are inputs of the step vary."""

    def __init__(self, linear: UOp, input_uops: tuple[UOp, ...] = ()) -> None:
        super().__init__(linear, input_uops)
        self._list: list[tuple[Any, tuple[ctypes.c_uint64, ...]]] = []
        self._inputs: list[tuple[ctypes.c_uint64, int]] = []
        """An argument, and which input it is the address of."""
        numbered = zip(self.calls, self.runtimes, self.uop_replace, strict=True)
        for (_, program, buffers, _), runtime, replaced in numbered:
            slots = dict(replaced)
            places = tuple(program.arg.globals)
            arguments = tuple(ctypes.c_uint64(_address(buffers[place])) for place in places)
            varying = zip(arguments, places, strict=True)
            self._inputs += [(one, slots[place]) for one, place in varying if place in slots]
            assert runtime is not None, program
            self._list.append((runtime.fxn, arguments))

    def __call__(
        self,
        input_uops: tuple[UOp, ...],
        var_vals: Mapping[str, int],  # noqa: ARG002  tinygrad's signature; there are none
        wait: bool = False,  # noqa: ARG002, FBT001, FBT002  as above; each kernel is waited for
    ) -> None:
        """Run the kernels in their order; they have ended when this returns."""
        for argument, slot in self._inputs:
            buffer = input_uops[slot].buffer
            assert isinstance(buffer, Buffer), type(buffer)
            argument.value = _address(buffer)
        for function, arguments in self._list:
            function(*arguments)

    @staticmethod
    def supports_uop(batch_devs: list[Any], new_call: UOp) -> bool:
        """Return whether a call can be in a list: one compiled kernel of fixed sizes."""
        if DEBUG >= _SINGLE_KERNELS or not GraphRunner.supports_uop(batch_devs, new_call):
            return False
        told = new_call.src[0].arg
        return (
            not told.vars
            and tuple(told.global_size) == (1, 1, 1)
            and not any(_is_part_of_input(operand) for operand in new_call.src[1:])
        )


def shorten(device: str) -> None:
    """Let steps that are captured from now on run as lists, where the device is the CPU."""
    if device == "CPU":
        Device[device].graph = CallList


def _address(buffer: Buffer) -> int:
    return int(buffer.get_buf("CPU").va_addr)


def _is_part_of_input(operand: UOp) -> bool:
    """Return whether this is a view of an input, which `GraphRunner` would not find again."""
    return operand.op is not Ops.PARAM and any(u.op is Ops.PARAM for u in operand.toposort())
