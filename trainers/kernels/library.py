"""Which library the products and convolutions of a CPU process go through, and why.

Light: it loads libraries, never tinygrad, so that `zpctl doctor` can ask.
"""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, get_args

from evidence.errors import InvalidInput, NotInstalled
from trainers.config import KernelLibrary
from trainers.kernels import onednn, openblas

VARIABLE: Final = "ZEROPOINT_KERNEL_LIBRARY"
"""The library that a process wants; `runtime.prepare_process` sets it."""

_PREFERRED: Final[Mapping[KernelLibrary, Callable[[], object]]] = MappingProxyType(
    {"onednn": onednn.require_usable, "openblas": openblas.require_usable}
)
"""What `auto` tries, in order, and how."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a process computes with."""

    name: KernelLibrary
    """onednn, openblas or tinygrad; never auto."""
    passed_over: tuple[NotInstalled, ...] = ()
    """Why those that `auto` prefers are not it."""


def chosen() -> Choice:
    """Return the library of this process; see `choose`."""
    return choose(named(os.environ.get(VARIABLE, "auto")))


def named(text: str) -> KernelLibrary:
    """Return the name that `text` is.

    Raises:
        InvalidInput: There is no such library.
    """
    for known in get_args(KernelLibrary):
        if text == known:
            name: KernelLibrary = known
            return name
    allowed = ", ".join(get_args(KernelLibrary))
    raise InvalidInput(f"{VARIABLE}: expected one of {allowed}, found {text!r:.80}", field=VARIABLE)


@functools.cache
def choose(wanted: KernelLibrary) -> Choice:
    """Return the library that is wanted, or for `auto` the first that can be used.

    Args:
        wanted: A library, `tinygrad` for its own kernels, or `auto`.

    Raises:
        NotInstalled: The one that is wanted cannot be used; no other stands in for it.
    """
    if wanted != "auto":
        if wanted in _PREFERRED:
            _PREFERRED[wanted]()
        return Choice(wanted)
    passed_over: list[NotInstalled] = []
    for name, require in _PREFERRED.items():
        try:
            require()
        except NotInstalled as error:
            passed_over.append(error)
        else:
            return Choice(name, tuple(passed_over))
    return Choice("tinygrad", tuple(passed_over))
