"""Named sums of a step: over the pieces of a worker's batch, then over the workers.

Alone, they are tensors of the device. In a group they lie in the memory that the workers share, so
the kernels of the step write and read there and nothing is copied.
"""

from collections.abc import Mapping

import numpy as np
from tinygrad import Device, Tensor, dtypes

from trainers.group import Group

_LINE_FLOATS = 16
"""Each sum begins on a cache line of its own, 64 bytes."""


class Sums:
    """Sums by name, all float32, zeros at first.

    Args:
        shapes: Shape of each.
        group: The workers.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], group: Group) -> None:
        self._group = group
        self.own: dict[str, Tensor]
        """This worker's terms; the step assigns to them."""
        self.total: dict[str, Tensor]
        """After `add_up`, the sums over all workers; the same tensors where it is alone."""
        if group.size == 1:
            self.own = {name: _zeros(shape) for name, shape in shapes.items()}
            self.total = self.own
            return
        offsets = _offsets(shapes)
        own, total = group.share(offsets.pop(""))
        self._memory = own, total
        self.own = {name: _view(own, offsets[name], shape) for name, shape in shapes.items()}
        self.total = {name: _view(total, offsets[name], shape) for name, shape in shapes.items()}

    def add_up(self) -> None:
        """Add the terms of all workers, in the order of the ranks.

        Raises:
            TrainerLost: Another worker is gone.
        """
        if self._group.size > 1:
            # The kernels that write the terms run on a thread of tinygrad's.
            Device[Device.DEFAULT].synchronize()  # type: ignore[no-untyped-call]  # tinygrad's
            self._group.add_up()


def _zeros(shape: tuple[int, ...]) -> Tensor:
    return Tensor.zeros(*shape).contiguous().realize().is_param_(False)


def _view(memory: np.ndarray, offset: int, shape: tuple[int, ...]) -> Tensor:
    """Return the tensor of a place in shared memory, which must outlive it."""
    address = memory.ctypes.data + offset * memory.itemsize
    view = Tensor.from_blob(address, shape, dtype=dtypes.float32, device=Device.DEFAULT)
    return view.is_param_(False)


def _offsets(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return where each sum begins, in floats; under "" where the last one ends."""
    offsets, end = {}, 0
    for name, shape in shapes.items():
        offsets[name] = end
        lines = -(-int(np.prod(shape, dtype=np.int64)) // _LINE_FLOATS)
        end += lines * _LINE_FLOATS
    return offsets | {"": end}
