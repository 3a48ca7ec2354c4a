"""SSE fan-out: our stream code and sse-starlette, each in one uvicorn process, to many clients.

Both servers read the same journal with the same reader while it grows, 64 lines at a time, and have
the same HTTP parser and event loop. Measured is from the first line appended to the last event at
the last client. The clients, in one process, only count; every client must get every event.
"""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import both_ways, peers, streams
from benchmarks.outcome import Goal, Row, compare
from evidence import clock
from evidence.errors import NotInstalled, Unavailable
from evidence.journal import Journal
from evidence.records import Metric, Split
from serve import ports
from trainers.provenance import REPOSITORY

_PEER = "sse-starlette"
_GOAL = Goal("at least 10", least=10.0)
_GENESIS = "0" * 64
_BATCH = 64
_START_S = 30.0
_DELIVER_S = 90.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is sent."""

    rounds: int
    events_of: dict[int, int]
    """Events by number of clients."""


FULL = Plan(3, {100: 2000, 1000: 200})
QUICK = Plan(1, {20: 200})


def measure(plan: Plan) -> list[Row]:
    """Return one row a number of clients."""
    streams.raise_file_limit()
    try:
        theirs: Path | None = peers.require()
        missing = ""
    except NotInstalled as error:
        theirs, missing = None, error.detail
    rows = []
    for clients, events in plan.events_of.items():
        workload = f"{clients:,} clients, {events:,} events each"
        if theirs is None:
            rows.append(Row(workload, "events/s", peer_name=_PEER, not_run=missing))
            continue
        ours, peer = [], []
        lines = _lines(events)
        for _ in range(plan.rounds):
            ours.append(_rate(Path(sys.executable), "fanout_ours", clients, lines))
            peer.append(_rate(theirs, "fanout_peer", clients, lines))
        rows.append(compare(workload, "events/s", ours=ours, peer=(_PEER, peer), goal=_GOAL))
    return rows


def _lines(count: int) -> list[bytes]:
    """Return the lines of a real journal of metric events."""
    path = both_ways.settings().home / "fanout-source.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with Journal(path, genesis=_GENESIS) as journal:
        for step in range(1, count + 1):
            journal.append(example_metric(step).model_dump(mode="json"))
    return path.read_bytes().splitlines(keepends=True)


def example_metric(step: int) -> Metric:
    """Return a metric record with the fields and the size that a run's records have."""
    return Metric(
        timestamp=clock.timestamp(clock.utc_now()),
        step=step,
        split=Split.TRAIN,
        loss=2.302585 / step,
        accuracy=0.984375,
        lr=0.002,
        step_ms=1.7320508,
        samples_s=36950.41,
        tokens_s=None,
        memory_bytes=412_345_678,
        energy_j=None,
        reasons={
            "tokens_s": "the model reads no tokens",
            "energy_j": "no meter: this machine has no RAPL zone",
        },
    )


def _rate(python: Path, module: str, clients: int, lines: list[bytes]) -> float:
    """Return how many events per second one server delivers to so many clients."""
    journal = both_ways.settings().home / "fanout.jsonl"
    journal.write_bytes(b"")
    with _server(python, module, journal) as port:
        seconds = asyncio.run(_deliver(port, journal, clients, lines))
    return clients * len(lines) / seconds


@contextlib.contextmanager
def _server(python: Path, module: str, journal: Path) -> Iterator[int]:
    """Run a server for the block and give its port."""
    port = ports.free(1)[0]
    command = [str(python), "-m", f"benchmarks.{module}", str(journal), str(port)]
    child = subprocess.Popen(command, cwd=REPOSITORY, env={"PYTHONPATH": str(REPOSITORY)})
    try:
        deadline = time.monotonic() + _START_S
        while ports.is_free(port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"benchmarks.{module} did not start")
            time.sleep(0.05)
        yield port
    finally:
        child.kill()
        child.wait()


async def _deliver(port: int, journal: Path, clients: int, lines: list[bytes]) -> float:
    """Append the lines while the clients read; return the seconds until all have all."""
    complete = asyncio.Event()
    counters = [streams.Counter() for _ in range(clients)]
    missing = clients * len(lines)

    def on_bytes(i: int) -> streams.OnBytes:
        def count(data: bytes) -> None:
            nonlocal missing
            missing -= counters[i].feed(data)
            if missing == 0:
                complete.set()

        return count

    readers = await streams.connect(
        port,
        clients,
        request=streams.request("/events", host="127.0.0.1"),
        on_bytes=on_bytes,
    )
    started = time.perf_counter()
    await _append(journal, lines)
    try:
        async with asyncio.timeout(_DELIVER_S):
            await complete.wait()
    except TimeoutError as error:
        raise Unavailable(f"{missing} events did not arrive in {_DELIVER_S:g} s") from error
    seconds = time.perf_counter() - started
    for reader in readers:
        if reader.transport is not None:
            reader.transport.abort()
    if {counter.count for counter in counters} != {len(lines)}:
        raise Unavailable("a client got another number of events than were sent")
    return seconds


async def _append(journal: Path, lines: list[bytes]) -> None:
    with journal.open("ab", buffering=0) as file:
        for start in range(0, len(lines), _BATCH):
            file.write(b"".join(lines[start : start + _BATCH]))
            await asyncio.sleep(0)
