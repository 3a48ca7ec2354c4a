"""Named sets of CPU kernels: what a process fixes before it loads them, and what it then has.

`portable` caps the instruction set at AVX2 and uses one thread, so that any x86-64-v3 machine can
give the same bits; `native` takes what the machine has. The library behind them is oneDNN, else
OpenBLAS (`library`); without either, or on another device, both mean tinygrad's own kernels.
`describe` says which it was.
"""

import ctypes.util
import os
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from evidence import digest
from trainers import nvidia
from trainers.config import KernelLibrary, KernelSetName
from trainers.kernels import library, onednn, openblas, search

SETTINGS: Final = (
    "OMP_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE",
)  # fmt: skip
"""Variables that a library reads when it is loaded."""

_X86 = frozenset({"x86_64", "AMD64"})


def environment(
    name: KernelSetName, *, device: str, threads: int, wanted: KernelLibrary = "auto"
) -> Mapping[str, str]:
    """Return the variables that a process has to have before tinygrad and the library are loaded.

    Args:
        name: The set.
        device: tinygrad's device; only the CPU has sets.
        threads: Processor threads that the process may use.
        wanted: The library; see `library.choose`.
    """
    if device != "CPU":
        return {"DEV": device}
    is_portable = name == "portable"
    is_capped = is_portable and platform.machine() in _X86
    return {
        library.VARIABLE: wanted,
        "DEV": "CPU:CLANG:x86_64,x86-64-v3" if is_capped else "CPU",
        "OMP_NUM_THREADS": "1" if is_portable else str(threads),
        "ONEDNN_MAX_CPU_ISA": "AVX2" if is_portable else "DEFAULT",
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",
        **({"OPENBLAS_CORETYPE": "Haswell"} if is_capped else {}),
    }


def describe(*, device: str, runtime: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kernels that this process computes with, and one digest over all of it.

    Args:
        device: tinygrad's device.
        runtime: What else decides the bits: compiler, renderer, arch, tinygrad and its settings.

    Returns:
        `backend` (onednn, openblas or tinygrad), and for a library its version, SHA-256, effective
        instruction set and threads, and `sources`, a digest of this package, which has the C of our
        own kernels and says what the library is asked for; of an NVIDIA card `gpu`, `driver` and
        `nvrtc`; `beam` (`search.describe`) where kernels are searched; `digest` over that and
        `runtime`.

    Raises:
        NotInstalled: The library that was asked for cannot be used.
    """
    told = _LIBRARIES[library.chosen().name]() if device == "CPU" else _tinygrad()
    if device in nvidia.DEVICES:
        told |= nvidia.describe()
    if search.width():
        told["beam"] = search.describe()
    return {**told, "digest": digest.of_record({"kernels": told, "runtime": dict(runtime)})}


def _tinygrad() -> dict[str, Any]:
    return {"backend": "tinygrad"}


def _onednn() -> dict[str, Any]:
    loaded = onednn.load()
    return {
        "backend": "onednn",
        "package": f"{onednn.PACKAGE} {version(onednn.PACKAGE)}",
        "version": loaded.version,
        "sha256": digest.of_file(onednn.library_path()),
        "libgomp": ctypes.util.find_library("gomp"),
        "instruction_set": loaded.instruction_set,
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")),
        "sources": _sources(),
    }


def _openblas() -> dict[str, Any]:
    loaded = openblas.load()
    return {
        "backend": "openblas",
        "package": f"{openblas.PACKAGE} {version(openblas.PACKAGE)}",
        "version": loaded.version,
        "sha256": digest.of_file(openblas.library_path()),
        "libgomp": ctypes.util.find_library("gomp"),
        "instruction_set": loaded.core,
        "threads": loaded.threads,
        "sources": _sources(),
    }


def _sources() -> str:
    """Return a digest over the files of this package, by name."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return digest.of_record({path.name: digest.of_file(path) for path in files})


_LIBRARIES: Final[Mapping[KernelLibrary, Callable[[], dict[str, Any]]]] = MappingProxyType(
    {"onednn": _onednn, "openblas": _openblas, "tinygrad": _tinygrad}
)
