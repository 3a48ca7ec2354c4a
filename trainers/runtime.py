"""The process that tinygrad runs in: compiler, device, kernel cache; and what it turned out to be.

tinygrad reads its environment when it is imported, so `prepare_process` comes first. This module
does not import tinygrad itself; `describe` needs it to be there.
"""

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evidence import digest
from evidence.errors import Conflict, NotInstalled
from trainers.config import KernelLibrary, KernelSetName
from trainers.kernels import kernel_set, search

KERNEL_SETTINGS = (
    "BEAM", "NOOPT", "JIT", "FLOAT16", "FUSE_OPTIM", "DEFAULT_FLOAT", "TC", "TC_OPT",
    "TRANSCENDENTAL", "SPLIT_REDUCEOP", "WINO", "USE_ATOMICS", "NUM_CPU_THREADS", "PARALLEL",
    "CACHELEVEL", *kernel_set.SETTINGS,
)  # fmt: skip
"""Variables of tinygrad and the library that can change kernels, and with them bits or speed."""

_PINNED = {
    "NOOPT": "0", "JIT": "1", "FLOAT16": "0", "FUSE_OPTIM": "0", "WINO": "0",
    "DEFAULT_FLOAT": "float32", "USE_ATOMICS": "0", "CACHELEVEL": "2",
}  # fmt: skip
"""Values that every run has."""

_NEED_A_COMPILER = frozenset({"CPU", "AMD"})
"""Devices whose kernels, or whose host's part, clang compiles."""

_COMPILER_CURE = "pip install ziglang==0.17.1"


def prepare_process(
    *,
    device: str,
    cache: Path,
    threads: int = 1,
    kernels: KernelSetName = "portable",
    library: KernelLibrary = "auto",
    beam: int = 0,
) -> dict[str, str]:
    """Set what tinygrad reads from the environment; call it before anything imports tinygrad.

    Args:
        device: CPU, CUDA, NV, AMD or METAL.
        cache: Folder for compiled kernels and the compiler's wrapper. Kernels lie in one file per
            kind of processor and compiler, since tinygrad's own key has neither.
        threads: Processor threads that this process may use, at least 1.
        kernels: The set of CPU kernels.
        library: What products and convolutions on the CPU go through.
        beam: Width of tinygrad's search for kernels; 0 does not search.

    Returns:
        The variables that were set.

    Raises:
        NotInstalled: There is no C compiler, and the device needs one.
        Conflict: tinygrad is imported already, with other settings.
        OSError: The cache cannot be written.
    """
    cache = cache.absolute()
    compiler = find_compiler(cache, required=device in _NEED_A_COMPILER)
    database = cache / "kernels" / f"{_node_key(compiler)}.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    wanted = {
        **_PINNED,
        **kernel_set.environment(kernels, device=device, threads=threads, wanted=library),
        "CACHEDB": str(database),
        "NUM_CPU_THREADS": str(threads),
        "PARALLEL": str(threads if beam and threads > 1 else 0),
        **dict.fromkeys(search.SETTINGS, str(beam)),
        **({"CC": compiler} if compiler else {}),
    }
    differing = sorted(name for name, value in wanted.items() if os.environ.get(name) != value)
    if "tinygrad" in sys.modules and differing:
        raise Conflict(
            f"tinygrad is imported already, with other settings: {', '.join(differing)}",
            cure="call prepare_process first, once per process",
        )
    os.environ.update(wanted)
    return wanted


def find_compiler(cache: Path, *, required: bool = True) -> str | None:
    """Return the path of a C compiler that tinygrad can call.

    In order: $CC; the `ziglang` package, through a one-line script written to the cache (tinygrad
    takes one path, no arguments); `clang` on the PATH.

    Raises:
        NotInstalled: There is none and `required` is true.
        OSError: The cache cannot be written.
    """
    if os.environ.get("CC"):
        return os.environ["CC"]
    spec = importlib.util.find_spec("ziglang")
    if spec and spec.origin and (zig := Path(spec.origin).with_name("zig")).is_file():
        return str(_wrapper(zig, cache))
    found = shutil.which("clang")
    if found is None and required:
        raise NotInstalled(
            "compiler: expected clang or the package ziglang, found neither", cure=_COMPILER_CURE
        )
    return found


def describe() -> dict[str, Any]:
    """Return what this process computes with, for provenance; holds no path of this machine.

    Returns:
        `device`, `renderer`, `arch`, `compiler`, `kernel_settings`, `versions` (python, numpy,
        tinygrad), `kernels` (see `kernel_set.describe`), `cpu` (model name) and `platform`.

    Raises:
        Conflict: tinygrad is not imported yet.
    """
    if "tinygrad" not in sys.modules:
        raise Conflict("tinygrad is not imported yet", cure="import trainers.loop first")
    devices = sys.modules["tinygrad"].Device
    default = devices[devices.DEFAULT]
    renderer = default.renderer
    decisive = {
        "device": str(devices.DEFAULT),
        "renderer": type(renderer).__name__,
        "arch": str(getattr(renderer.target, "arch", "")) or platform.machine(),
        "compiler": _compiler_version(os.environ.get("CC", "")),
        "kernel_settings": {name: os.environ.get(name) for name in KERNEL_SETTINGS},
        "versions": {
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "tinygrad": version("tinygrad"),
        },
    }
    return {
        **decisive,
        "kernels": kernel_set.describe(device=str(devices.DEFAULT), runtime=decisive),
        "cpu": cpu_model(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def cpu_model() -> str:
    """Return the processor's model name, or its architecture where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _wrapper(zig: Path, cache: Path) -> Path:
    """Write the script that calls zig's clang, whole or not at all."""
    cache.mkdir(parents=True, exist_ok=True)
    script = f'#!/bin/sh\nexec {shlex.quote(str(zig))} clang "$@"\n'
    path = cache / f"clang-{digest.of_bytes(script.encode())[:12]}"
    if not path.exists():
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(script, encoding="utf-8")
        part.chmod(0o755)
        part.replace(path)
    return path


def _node_key(compiler: str | None) -> str:
    facts = {
        "cpu": _cpu_facts(),
        "compiler": _compiler_version(compiler or ""),
        "tinygrad": version("tinygrad"),  # whose flags for the compiler are not in its own key
    }
    return digest.of_record(facts)[:16]


def _cpu_facts() -> list[str]:
    """Return what decides the native instruction set: the model and its flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return [platform.machine(), platform.processor()]
    keys = ("model name", "flags", "Features", "CPU part")
    return sorted({line for line in lines if line.startswith(keys)})


def _compiler_version(compiler: str) -> str | None:
    """Return the first line that `compiler --version` prints, or None without a compiler."""
    if not compiler:
        return None
    try:
        shown = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.splitlines()[0].strip() if shown.stdout else None
