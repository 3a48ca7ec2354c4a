"""Peak memory of each kind of process of a service during a run, and of the bare script.

PSS (proportional set size) shares what processes have in common between them, so that the sum is
what the service takes; RSS counts shared pages in every process.
"""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Self

import psutil

from benchmarks import both_ways
from benchmarks.outcome import Row, compare
from serve.local import LocalService

_MIB = 1 << 20
_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """How long the run is."""

    steps: int


FULL = Plan(1000)
QUICK = Plan(300)

_KINDS = (
    ("gcs_server", "Ray: gcs_server"),
    ("raylet/raylet", "Ray: raylet"),
    ("ray::ManagerActor", "manager"),
    ("ray::TrainerActor", "trainer"),
    ("ray::ServeController", "Serve: controller"),
    ("ray::ProxyActor", "Serve: proxy"),
    ("ray::ServeReplica:events", "Serve: replica of events"),
    ("ray::ServeReplica", "Serve: replica of api"),
    ("ray::", "Ray: other workers"),
    ("dashboard", "Ray: dashboard and agents"),
    ("runtime_env", "Ray: dashboard and agents"),
)
"""Part of a command line, and what such a process is; the first that fits decides."""


def measure(plan: Plan) -> list[Row]:
    """Return one row a kind of process, the trainer beside the bare script."""
    overrides = {"steps": plan.steps, "device": "CPU"}
    request = {"recipe": "mnist_mlp", "overrides": overrides}
    with both_ways.service() as (service, client):
        sampler = _Sampler(service)
        with sampler:
            both_ways.by_service(client, request)
        bare = _Peak()
        both_ways.by_bare_script(request, watch=lambda pid: bare.see(_sizes(psutil.Process(pid))))
    rows = []
    for kind, peak in sorted(sampler.peaks.items()):
        if kind == "trainer":
            peer = (both_ways.BARE, [bare.pss / _MIB])
            rows.append(compare("trainer, PSS", "MiB", ours=[peak.pss / _MIB], peer=peer))
            peer = (both_ways.BARE, [bare.rss / _MIB])
            rows.append(compare("trainer, RSS", "MiB", ours=[peak.rss / _MIB], peer=peer))
            continue
        note = f"{peak.count} process(es), RSS {peak.rss / _MIB:.0f} MiB"
        rows.append(Row(f"{kind}, PSS", "MiB", ours=peak.pss / _MIB, note=note))
    whole = sampler.whole
    note = f"largest sum at one moment; {whole.count} processes"
    return [*rows, Row("whole service, PSS", "MiB", ours=whole.pss / _MIB, note=note)]


def kind_of(command: str) -> str:
    """Return what a process of a service is, by its command line."""
    return next((kind for part, kind in _KINDS if part in command), "Ray: head and others")


@dataclass(slots=True)
class _Sizes:
    """Bytes, and of how many processes."""

    rss: int = 0
    pss: int = 0
    count: int = 0

    def add(self, other: "_Sizes") -> None:
        self.rss += other.rss
        self.pss += other.pss
        self.count += other.count


class _Peak(_Sizes):
    """The largest sizes seen."""

    def see(self, sizes: _Sizes | None) -> None:
        if sizes is not None:
            self.rss = max(self.rss, sizes.rss)
            self.pss = max(self.pss, sizes.pss)
            self.count = max(self.count, sizes.count)


class _Sampler:
    """Looks at the processes of a service in a thread while the block runs."""

    def __init__(self, service: LocalService) -> None:
        self.peaks: dict[str, _Peak] = defaultdict(_Peak)
        self.whole = _Peak()
        self._service = service
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._ended.is_set():
            started = time.monotonic()
            self._look()
            self._ended.wait(max(_EVERY_S - (time.monotonic() - started), _EVERY_S / 2))

    def _look(self) -> None:
        now: dict[str, _Sizes] = defaultdict(_Sizes)
        total = _Sizes()
        for process in self._service.processes():
            sizes = _sizes(process)
            if sizes is not None:
                now[kind_of(_command(process))].add(sizes)
                total.add(sizes)
        for kind, sizes in now.items():
            self.peaks[kind].see(sizes)
        self.whole.see(total)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _sizes(process: psutil.Process) -> _Sizes | None:
    """Return the sizes of a process, or None if it has ended."""
    try:
        sizes = process.memory_full_info()
    except psutil.Error:
        return None
    return _Sizes(sizes.rss, sizes.pss, 1)
