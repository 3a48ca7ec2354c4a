"""Named sets of CPU kernels: what a process fixes before it loads them, and what it then has.

`portable` caps the instruction set at AVX2 and uses one thread, so that any x86-64-v3 machine can
give the same bits; `native` takes what the machine has. Where the library is absent, or the device
is no CPU, both mean tinygrad's own kernels; `describe` says which it was.
"""

import ctypes.util
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from evidence import digest
from trainers.config import KernelSetName
from trainers.kernels import onednn

SETTINGS: Final = ("OMP_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "OMP_WAIT_POLICY")
"""Variables that the library reads when it is loaded."""

_X86 = frozenset({"x86_64", "AMD64"})


def environment(name: KernelSetName, *, device: str, threads: int) -> Mapping[str, str]:
    """Return the variables that a process has to have before tinygrad and the library are loaded.

    Args:
        name: The set.
        device: tinygrad's device; only the CPU has sets.
        threads: Processor threads that the process may use.
    """
    if device != "CPU":
        return {"DEV": device}
    is_portable = name == "portable"
    capped = "CPU:CLANG:x86_64,x86-64-v3" if platform.machine() in _X86 else "CPU"
    return {
        "DEV": capped if is_portable else "CPU",
        "OMP_NUM_THREADS": "1" if is_portable else str(threads),
        "ONEDNN_MAX_CPU_ISA": "AVX2" if is_portable else "DEFAULT",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def describe(*, device: str, runtime: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kernels that this process computes with, and one digest over all of it.

    Args:
        device: tinygrad's device.
        runtime: What else decides the bits: compiler, renderer, arch, tinygrad and its settings.

    Returns:
        `backend` (onednn or tinygrad), and for a library its version, SHA-256, effective
        instruction set and threads; `digest` over that and `runtime`.
    """
    told: dict[str, Any] = {"backend": "tinygrad"}
    if device == "CPU" and onednn.is_usable():
        loaded = onednn.load()
        told = {
            "backend": "onednn",
            "package": f"{onednn.PACKAGE} {version(onednn.PACKAGE)}",
            "version": loaded.version,
            "sha256": digest.of_file(onednn.library_path()),
            "libgomp": ctypes.util.find_library("gomp"),
            "instruction_set": loaded.instruction_set,
            "threads": int(os.environ.get("OMP_NUM_THREADS", "0")),
        }
    return {**told, "digest": digest.of_record({"kernels": told, "runtime": dict(runtime)})}
