"""The NVIDIA card that this process computes on, as its management library (NVML) tells.

Not a driver: tinygrad talks to the card. Without the package `nvidia-ml-py`, or without a card,
there is a reason in place of each answer.
"""

import ctypes
import importlib
import importlib.util
import os
from typing import Any, Final

from evidence.errors import NotInstalled, Unavailable

DEVICES: Final = frozenset({"CUDA", "NV"})
"""Names of tinygrad's devices that are such a card."""

_CURE: Final = "pip install 'zeropoint[nvidia]'"
_MILLI: Final = 1e-3


class Card:
    """The card that is this process's first.

    Raises:
        NotInstalled: `nvidia-ml-py` is not there.
        Unavailable: There is no driver or no card, or the library refuses.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("pynvml") is None:
            raise NotInstalled("no meter: the package nvidia-ml-py is not installed", cure=_CURE)
        self._nvml: Any = importlib.import_module("pynvml")
        self._handle = self._asked("nvmlInit", "nvmlDeviceGetHandleBy")

    @property
    def name(self) -> str:
        """Its model name, as `NVIDIA H100 80GB HBM3`."""
        return str(self._ask("nvmlDeviceGetName", self._handle))

    @property
    def driver(self) -> str:
        """The driver's version; the driver makes machine code of what the compiler gives it."""
        return str(self._ask("nvmlSystemGetDriverVersion"))

    def joules(self) -> float:
        """Return the energy that the card used since the driver was loaded, in joules.

        Raises:
            Unavailable: The card has no counter.
        """
        return float(self._ask("nvmlDeviceGetTotalEnergyConsumption", self._handle)) * _MILLI

    def _asked(self, start: str, handle: str) -> Any:
        self._ask(start)
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
        if first.startswith(("GPU-", "MIG-")):
            return self._ask(handle + "UUID", first)
        return self._ask(handle + "Index", int(first) if first.isdigit() else 0)

    def _ask(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self._nvml, function)(*arguments)
        except self._nvml.NVMLError as error:
            raise Unavailable(f"no meter: {function}: {error}") from error


def describe() -> dict[str, Any]:
    """Return what decides the bits on this card: `gpu`, `driver` and `nvrtc`, the compiler.

    What cannot be told is the reason why not.
    """
    try:
        card = Card()
        told = {"gpu": card.name, "driver": card.driver}
    except (NotInstalled, Unavailable) as error:
        told = {"gpu": error.detail, "driver": error.detail}
    return {**told, "nvrtc": _nvrtc_version()}


def _nvrtc_version() -> str:
    """Return the version of the compiler that tinygrad calls."""
    library: Any = importlib.import_module("tinygrad.runtime.autogen.nvrtc")
    major, minor = ctypes.c_int(), ctypes.c_int()
    try:
        library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    except (AttributeError, OSError) as error:
        return f"not found: {error}"
    return f"{major.value}.{minor.value}"
