"""`zpctl doctor`: what this machine has, by trying it, and how to mend what it lacks.

Each check is a function that returns findings; none starts a service or changes anything.
"""

import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import typer
from rich.text import Text

from cluster.settings import Settings
from evidence.errors import ServiceError
from serve import local, ports
from serve.cli import connection, documents, live, options, phases, render, units
from serve.cli.options import ExitCode, JsonOption
from serve.cli.render import Mark
from serve.client import Client
from trainers import devices, runtime
from trainers.config import KernelLibrary
from trainers.data import catalog, local_search, store
from trainers.kernels import library

_OLDEST_PYTHON = (3, 11)
_CACHE_BYTES = 1 << 30
"""Space that environment, data and kernels take, with room to spare."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a device other than the CPU runs on."""

    title: str
    is_here: Callable[[], bool]
    """Whether this machine shows it."""
    cure: str
    """What to do where it is here, and no kernel runs on it."""


_NVIDIA = Hardware(
    "an NVIDIA GPU",
    lambda: any(map(Path.exists, map(Path, ("/dev/nvidiactl", "/proc/driver/nvidia")))),
    "install NVIDIA's driver; nvidia-smi must list the GPU",
)
_HARDWARE = {
    "CUDA": _NVIDIA,
    "NV": _NVIDIA,
    "AMD": Hardware(
        "an AMD GPU",
        Path("/dev/kfd").exists,
        "load the amdgpu driver and let this user open /dev/kfd and /dev/dri",
    ),
    "METAL": Hardware(
        "an Apple GPU (macOS)", lambda: sys.platform == "darwin", "xcode-select --install"
    ),
}


class State(StrEnum):
    """What a finding says."""

    GOOD = "good"
    LACKING = "lacking"
    """Needed, and not there."""
    ABSENT = "absent"
    """Not there, and not needed for a first run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    detail: str
    """What is there, or why it is not."""
    cure: str | None = None
    """What to do about it."""


_LIBRARIES: dict[KernelLibrary, str] = {
    "onednn": "oneDNN, from pip",
    "openblas": "OpenBLAS, from pip, on one thread; convolutions are slower than with oneDNN",
    "tinygrad": "tinygrad's own, which are several times slower than a library",
}

_MARKS = {State.GOOD: Mark.VERIFIED, State.LACKING: Mark.FAILED, State.ABSENT: Mark.ENDED}


def doctor(context: typer.Context, *, json: JsonOption = False) -> int:
    """Find what this machine lacks, and how to mend it.

    Tries the compiler and each device with a real kernel and gradient, and looks at disk, ports,
    data and service. Exits with 1 if something is lacking that a first run needs.
    """
    given = options.of(context)
    settings = connection.settings()
    findings: list[Finding] = []
    with phases.passing(given.terminal, "doctor", "looking") as this:
        for name, check in checks(settings).items():
            this.doing = f"looking at {name}"
            findings += check()
    is_good = all(finding.state is not State.LACKING for finding in findings)
    if json:
        told = [asdict(finding) for finding in findings]
        documents.print_document(given.terminal, {"good": is_good, "findings": told})
    else:
        frame = live.frame_of(given.terminal)
        for line in lines(frame, findings):
            given.terminal.result(line)
    return ExitCode.GOOD if is_good else ExitCode.FAILED


def checks(settings: Settings) -> dict[str, Callable[[], list[Finding]]]:
    """Return every check by its name, in order."""
    return {
        "Python": check_python,
        "compiler": partial(check_compiler, settings.cache),
        "kernels": partial(check_kernels, settings.kernel_library),
        "devices": partial(check_devices, settings.cache),
        "disk": partial(check_disk, settings),
        "ports": check_ports,
        "data": partial(check_data, settings),
        "service": partial(check_service, settings.home),
    }


def lines(frame: render.Frame, findings: Iterable[Finding]) -> list[Text]:
    """Return the findings for people, each cure below its finding."""
    told: list[Text] = []
    for finding in findings:
        told += render.paragraph(frame, _MARKS[finding.state], finding.name, finding.detail)
        if finding.cure is not None and finding.state is not State.GOOD:
            told += render.paragraph(frame, Mark.HELP, "", finding.cure)
    return told


def check_python() -> list[Finding]:
    """Look at the interpreter."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _OLDEST_PYTHON:
        return [Finding("Python", State.LACKING, found, "make PYTHON=python3.11 setup")]
    return [Finding("Python", State.GOOD, found)]


def check_compiler(cache: Path) -> list[Finding]:
    """Look for the compiler that kernels are compiled with."""
    try:
        found = runtime.find_compiler(cache)
    except ServiceError as error:
        return [Finding("compiler", State.LACKING, error.detail, error.cure)]
    is_ours = found is not None and Path(found).parent == cache
    told = "clang of the package ziglang, from pip" if is_ours else str(found)
    return [Finding("compiler", State.GOOD, told)]


def check_kernels(wanted: KernelLibrary) -> list[Finding]:
    """Say which library the CPU's products and convolutions go through, and why no better one."""
    try:
        choice = library.choose(wanted)
    except ServiceError as error:
        return [Finding("kernels", State.LACKING, error.detail, error.cure)]
    told = _LIBRARIES[choice.name]
    if wanted != "auto":
        return [Finding("kernels", State.GOOD, f"{told} (set by {library.VARIABLE})")]
    if not choice.passed_over:
        return [Finding("kernels", State.GOOD, told)]
    why = "; ".join(error.detail for error in choice.passed_over)
    cure = next((error.cure for error in choice.passed_over if error.cure), None)
    return [Finding("kernels", State.ABSENT, f"{told}; {why}", cure)]


def check_devices(cache: Path) -> list[Finding]:
    """Run a kernel and a gradient on every device that a config can name."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        reports = list(pool.map(partial(devices.probe, cache=cache), devices.NAMES))
    return [_of_device(report) for report in reports]


def check_disk(settings: Settings) -> list[Finding]:
    """Look at the space where packs and data go."""
    needed = settings.limits.min_free_bytes + _CACHE_BYTES
    free = shutil.disk_usage(_existing(settings.evidence_root)).free
    told = f"{units.size(free)} free at {_existing(settings.evidence_root)}"
    if free < needed:
        cure = f"free {units.size(needed - free)}, or set EVIDENCE_ROOT elsewhere"
        return [Finding("disk", State.LACKING, told, cure)]
    return [Finding("disk", State.GOOD, told)]


def check_ports() -> list[Finding]:
    """Look at the ports that a service prefers; it takes others if they are in use."""
    wanted = {"HTTP": ports.PREFERRED_HTTP, "dashboard": ports.PREFERRED_DASHBOARD}
    told = ", ".join(
        f"{port} {'free' if ports.is_free(port) else 'in use'} ({name})"
        for name, port in wanted.items()
    )
    return [Finding("ports", State.GOOD, f"{told}; others are taken if need be")]


def check_data(settings: Settings) -> list[Finding]:
    """Look for the data sets in the cache and on the search path."""
    return [_of_dataset(name, settings) for name in catalog.names()]


def check_service(home: Path) -> list[Finding]:
    """Look for the local service and ask whether it is ready."""
    service = local.find(home)
    if service is None:
        return [Finding("service", State.ABSENT, "none runs here", "make up    starts one")]
    try:
        with Client(service.url, token=None) as client:
            health = client.readiness()
    except ServiceError as error:
        return [Finding("service", State.LACKING, error.detail, "make down, then make up")]
    failed = [name for name, check in health["checks"].items() if check["state"] != "passed"]
    if failed:
        told = f"{service.url}, not ready: {', '.join(failed)}"
        return [Finding("service", State.LACKING, told, "zpctl status    says why")]
    return [Finding("service", State.GOOD, f"{service.url}, ready")]


def _of_device(report: devices.DeviceReport) -> Finding:
    name = f"device {report.device}"
    if report.usable:
        told = f"kernel and gradient right, {units.duration(report.details['seconds'])}"
        return Finding(name, State.GOOD, told)
    reason = (report.reason or "").removeprefix(f"device {report.device}: ")
    reason = reason.removeprefix("the probe kernel did not run: ")
    if report.device not in _HARDWARE:
        return Finding(name, State.LACKING, reason, "pip install ziglang==0.17.1, or install clang")
    hardware = _HARDWARE[report.device]
    if not hardware.is_here():
        told = f"only where there is {hardware.title}; this machine shows none"
        return Finding(name, State.ABSENT, told)
    return Finding(name, State.ABSENT, f"{hardware.title}: {reason}", hardware.cure)


def _of_dataset(name: str, settings: Settings) -> Finding:
    label = f"data {name}"
    state = store.status(name, settings.cache).state
    if state == "ready":
        return Finding(label, State.GOOD, "in the cache, SHA-256 as published")
    found = [
        local_search.find(known, file, folders=settings.search_path)[0]
        for file, known in catalog.entry(name).files.items()
    ]
    if settings.search_path and all(found):
        return Finding(label, State.GOOD, "on the search path, SHA-256 as published")
    return Finding(label, State.ABSENT, state, f"zpctl fetch {name}    (or the first run does)")


def _existing(path: Path) -> Path:
    """Return `path`, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
