"""Latency of events through Ray Serve: from the trainer's timestamp to the client.

The timestamp is taken when the step has been measured, so that the way trainer -> manager ->
journal -> replica -> proxy -> client is all in it: an upper bound of manager to client. It is cut
to a millisecond, which adds half of one on average. There is no peer: the row states milliseconds.
"""

import asyncio
import re
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks import both_ways, streams
from benchmarks.outcome import Row
from serve.client import Client

_METRIC = re.compile(rb'"kind":"metric".{0,2000}?"timestamp":"([^"]+)"')
_END = b"event: end"
_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How many clients, and how the run reports."""

    clients: tuple[int, ...]
    steps: int
    metric_every: int


FULL = Plan((1, 100), steps=2000, metric_every=25)
QUICK = Plan((1, 5), steps=600, metric_every=20)


def measure(plan: Plan) -> list[Row]:
    """Return p50 and p99 for each number of clients."""
    streams.raise_file_limit()
    rows = []
    with both_ways.service() as (service, client):
        for clients in plan.clients:
            delays = asyncio.run(_follow(client, service.token(), clients, plan))
            note = f"{len(delays):,} deliveries, one metric each {plan.metric_every} steps"
            cuts = statistics.quantiles(delays, n=100)
            for name, value in (("p50", cuts[49]), ("p99", cuts[98])):
                rows.append(Row(f"{clients} clients, {name}", "ms", ours=value, note=note))
    return rows


async def _follow(client: Client, token: str, clients: int, plan: Plan) -> list[float]:
    """Return the delays of all metric events at all clients of one run, in milliseconds."""
    overrides = {
        "steps": plan.steps, "metric_every": plan.metric_every, "device": "CPU",
        "checkpoint_every": plan.steps // 3,
    }  # fmt: skip
    run = client.submit({"recipe": "mnist_mlp", "overrides": overrides})
    host, _, port = client.url.removeprefix("http://").rpartition(":")
    request = streams.request(
        f"/api/events/training?run_id={run['run_id']}",
        host=f"{host}:{port}",
        headers={"authorization": f"Bearer {token}"},
    )
    delays: list[float] = []
    ended = asyncio.Event()
    watchers = [Watcher(delays) for _ in range(clients)]

    def on_bytes(i: int) -> streams.OnBytes:
        def take(data: bytes) -> None:
            watchers[i].feed(data, time.time_ns())
            if all(watcher.has_ended for watcher in watchers):
                ended.set()

        return take

    await streams.connect(int(port), clients, request=request, on_bytes=on_bytes)
    async with asyncio.timeout(_TIMEOUT_S):
        await ended.wait()
    return delays


class Watcher:
    """Finds metric events in the bytes of one stream and notes how late they came.

    Args:
        delays: Where delays go, in milliseconds.
    """

    def __init__(self, delays: list[float]) -> None:
        self.has_ended = False
        self._delays = delays
        self._rest = b""

    def feed(self, data: bytes, now_ns: int) -> None:
        """Take bytes in that came at `now_ns`, nanoseconds since 1970."""
        joined = self._rest + data
        past = 0
        for match in _METRIC.finditer(joined):
            self._delays.append(now_ns / 1e6 - _milliseconds(match.group(1)))
            past = match.end()
        self.has_ended = self.has_ended or _END in joined
        self._rest = joined[max(past, len(joined) - 2048) :]


def _milliseconds(stamp: bytes) -> float:
    moment = datetime.fromisoformat(stamp.decode()).astimezone(UTC)
    return moment.timestamp() * 1000
