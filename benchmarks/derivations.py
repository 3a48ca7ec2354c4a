"""Small measurements behind figures of the docs: `python -m benchmarks.derivations NAME`.

Each prints one number; its name tells the unit. `claims.toml` names them.
"""

import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import both_ways, outcome
from evidence.errors import NotInstalled
from evidence.records import CHECKPOINT_FILES
from serve import local
from trainers.provenance import REPOSITORY

_MB = 1_000_000
_KERNEL = "void k(float *a, float *b) { for (int i = 0; i < 4096; i++) a[i] += b[i] * b[i]; }\n"
_COMPILES = 9


def tree_megabytes() -> float:
    """Return the size of the files that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    paths = {REPOSITORY / name for name in listed.stdout.split("\0") if name}
    return sum(path.stat().st_size for path in paths if path.is_file()) / _MB


def checkpoint_megabytes() -> float:
    """Return the size of one checkpoint of mnist_mlp."""
    both_ways.require_data("mnist", both_ways.settings().cache)
    both_ways.by_bare_script({"recipe": "mnist_mlp", "overrides": {"steps": 12, "device": "CPU"}})
    folder = both_ways.settings().home / "bare" / "checkpoints" / "step_000012"
    return sum((folder / name).stat().st_size for name in CHECKPOINT_FILES) / _MB


def mnist_convnet_percent() -> float:
    """Return the test accuracy that the recipe ends with."""
    return _accuracy_percent({"recipe": "mnist_convnet", "overrides": {"device": "CPU"}})


def mnist_convnet_longer_percent() -> float:
    """Return the test accuracy after five epochs instead of two."""
    overrides = {"device": "CPU", "steps": 2345}
    return _accuracy_percent({"recipe": "mnist_convnet", "overrides": overrides})


def mnist_mlp_percent() -> float:
    """Return the test accuracy that the recipe ends with."""
    return _accuracy_percent({"recipe": "mnist_mlp", "overrides": {"device": "CPU"}})


def _accuracy_percent(request: dict[str, Any]) -> float:
    both_ways.require_data("mnist", both_ways.settings().cache)
    trained = both_ways.by_bare_script(request)
    tested = [metric for metric in trained.metrics if metric["split"] == "test"]
    return 100 * float(tested[-1]["accuracy"])


def zig_kernel_ms() -> float:
    """Return what compiling a small kernel takes with the binary of ziglang."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise NotInstalled("the package ziglang is not installed")
    return _compile_ms([str(Path(spec.origin).with_name("zig")), "clang"])


def ziglang_kernel_ms() -> float:
    """Return what compiling a small kernel takes through `python -m ziglang`."""
    return _compile_ms([sys.executable, "-m", "ziglang", "clang"])


def _compile_ms(compiler: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "k.c")
        source.write_text(_KERNEL)
        command = [*compiler, "-c", "-O2", "-march=native", str(source), "-o", f"{folder}/k.o"]
        return 1000 * min(_seconds(command) for _ in range(_COMPILES))


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


def service_start_s() -> float:
    """Return the seconds from nothing to a local service whose API answers."""
    started = time.perf_counter()
    service = local.start(both_ways.settings())
    seconds = time.perf_counter() - started
    local.stop(service)
    return seconds


def service_kill_s() -> float:
    """Return the seconds until no process of a service is left."""
    service = local.start(both_ways.settings())
    started = time.perf_counter()
    local.kill(service)
    seconds = time.perf_counter() - started
    local.stop(service)
    return seconds


def pip_install_s() -> float:
    """Return the processor time of installing the lock with pip."""
    return _install_s(lambda python: [python, "-m", "pip", "install", "-q", "--no-compile"])


def uv_install_s() -> float:
    """Return the processor time of installing the lock with uv."""
    return _install_s(
        lambda python: [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", python]
    )


def _install_s(installer: Callable[[str], list[str]]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        lock = REPOSITORY / "requirements.lock"
        command = [*installer(f"{folder}/bin/python"), "--require-hashes", "-r", str(lock)]
        subprocess.run(command, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def table_lines_missing() -> int:
    """Return how many lines of the results' table docs/benchmarks.md lacks."""
    stated = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8").splitlines()
    derived = outcome.as_markdown(outcome.read(outcome.RESULTS)).splitlines()
    return len(set(derived) - set(stated))


NAMES: dict[str, Callable[[], float]] = {
    derive.__name__: derive
    for derive in (
        tree_megabytes, checkpoint_megabytes, mnist_convnet_percent,
        mnist_convnet_longer_percent, mnist_mlp_percent,
        zig_kernel_ms, ziglang_kernel_ms, service_start_s, service_kill_s, pip_install_s,
        uv_install_s, table_lines_missing,
    )
}  # fmt: skip
"""Every derivation by its name."""


if __name__ == "__main__":
    print(json.dumps(round(NAMES[sys.argv[1]](), 3)))  # noqa: T201 - what it is for
