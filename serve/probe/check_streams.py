"""Checks of event streams: order, life, resumption, and that all doors show the same records."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from evidence import clock
from evidence.pack import EVENTS, METRICS
from evidence.subject import first_difference
from serve.probe.finding import CannotTell, Discrepancy, Finder, differs
from serve.probe.seen import Seen, SeenRun, require

STREAM = "GET /api/events/training"
LEAST_SPREAD = 0.5
"""Part of the time that the measurements claim, over which their events must have come."""
_MOST_HELD = 0.9
_DELAY_S = 0.75
_LEAST_MOMENTS = 3
_SLACK_S = 0.25
_CHAIN = frozenset({"prev"})
"""Fields in which metrics.jsonl differs from events.jsonl."""

_JOURNAL_FIELDS = _CHAIN | {"v", "attempt", "n"}
"""Fields of the journal that REST leaves out."""


def order(seen: Seen) -> Finder:
    """Events come once each, 1, 2, 3, ... through every reconnection, up to `end`."""
    runs = seen.require_runs()
    for run in runs:
        events = run.events
        if not events:
            yield _of(run, "", "events, up to `end`", "none")
            continue
        expected = 0
        for event, record in zip(events, run.records, strict=True):
            expected += 1
            if event.id != str(expected) or record.get("seq") != expected:
                found = f"id {event.id}, seq {record.get('seq')}"
                yield _of(run, f"/{expected}/seq", str(expected), found)
                break
            if event.kind != record.get("kind"):
                yield _of(run, f"/{expected}/kind", event.kind, record.get("kind"))
        if events[-1].kind != "end":
            yield _of(run, f"/{expected}/kind", "end", events[-1].kind)
    return f"{sum(len(run.events) for run in runs)} events"


def live(seen: Seen) -> Finder:
    """Metrics came while the run ran: over the time that they claim, not in one piece after it."""
    runs = seen.require_runs()
    for run in runs:
        came = [
            (event.at_s, record)
            for event, record in zip(run.events, run.records, strict=True)
            if event.kind == "metric"
        ]
        if len(came) < 2:  # noqa: PLR2004 - a span
            raise CannotTell(f"the stream of the {run.asked.name} run has {len(came)} metrics")
        claimed = _span(_moment(record) for _, record in came)
        worked = sum(record["step_ms"] for _, record in came[1:]) / 1000
        spread = came[-1][0] - came[0][0]
        if claimed - spread > _most_held(claimed):
            why = "the events were held back and sent after the fact, or never happened live"
            expected = f"over about the {claimed:.2f} s between their timestamps"
            yield _of(run, "", expected, f"over {spread:.2f} s", why=why)
        if claimed + _SLACK_S < LEAST_SPREAD * worked:
            found = f"{claimed:.2f} s between timestamps"
            yield _of(run, "/timestamp", f"{worked:.2f} s of steps, one after another", found)
        moments = len({round(at_s, 3) for at_s, _ in came})
        if moments < _LEAST_MOMENTS:
            yield _of(run, "", f"at least {_LEAST_MOMENTS} moments of arrival", str(moments))
    return f"{len(runs)} streams"


def _most_held(claimed: float) -> float:
    """Return by how much the first metric may be later than the last one, in seconds.

    A busy machine delays some: half of the time that they claim, and less than a moment of a short
    one. What is sent in one piece is later by all of it.
    """
    return min(_MOST_HELD * claimed, max(LEAST_SPREAD * claimed, _DELAY_S))


def resumed(seen: Seen) -> Finder:
    """A stream that goes on behind an id gives exactly the rest, the same bytes."""
    runs = seen.require_runs()
    for run in runs:
        rest = require(run.rest, "the rest of the stream")
        expected = [event.data for event in run.events[run.rest_after :]]
        found = [event.data for event in rest.events]
        if found == expected:
            continue
        pairs = zip(expected, found, strict=False)
        first = next(
            (n for n, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(found))
        )
        yield differs(
            STREAM,
            f"{len(expected)} events behind {run.rest_after}",
            f"{len(found)} events, another at {run.rest_after + first + 1}",
            field=f"/{run.rest_after + first + 1}",
            file=rest.file,
        )
    return f"{len(runs)} streams, from their middle"


def agreeing(seen: Seen) -> Finder:
    """Stream, REST and pack show the same records."""
    runs = seen.require_runs()
    for run in runs:
        _events(run)
        streamed = [record for record in run.records if record.get("kind") == "metric"]
        page = run.metrics[0]
        of_rest = [record for one in run.metrics for record in one.json["metrics"]]
        yield from _compare(streamed, of_rest, place=page.place, file=page.file)
        total = page.json["total"]
        if total != len(of_rest):
            yield differs(page.place, len(of_rest), total, field="/total", file=page.file)
        yield from _in_lists(run)
        yield from _in_pack(run, streamed)
    return f"{sum(len(run.events) for run in runs)} records"


def _in_lists(run: SeenRun) -> Iterator[Discrepancy]:
    listed = require(run.checkpoints, "the checkpoints")
    written = [one for one in run.records if one.get("kind") == "checkpoint"]
    names = ("step", "model_digest", "optimizer_digest", "state_digest", "files")
    streamed = [{name: one.get(name) for name in names} for one in written]
    told = [{name: one.get(name) for name in names} for one in listed.json["checkpoints"]]
    yield from _compare(streamed, told, place=listed.place, file=listed.file)
    logs = require(run.logs, "the log lines")
    of_stream = [one for one in run.records if one.get("kind") in {"log", "status"}]
    yield from _compare(of_stream, logs.json["logs"], place=logs.place, file=logs.file)


def _in_pack(run: SeenRun, streamed: list[dict[str, Any]]) -> Iterator[Discrepancy]:
    pack = require(run.pack, "the pack")
    yield from _compare(
        run.records,
        run.pack_lines(EVENTS),
        place=f"pack/{EVENTS}",
        file=pack.file,
        skipped=frozenset(),
    )
    yield from _compare(streamed, run.pack_lines(METRICS), place=f"pack/{METRICS}", file=pack.file)


def _compare(
    expected: list[dict[str, Any]],
    found: list[dict[str, Any]],
    *,
    place: str,
    file: str,
    skipped: frozenset[str] = _JOURNAL_FIELDS,
) -> Iterator[Discrepancy]:
    """Yield the first difference of two lists of records, and that of their lengths."""
    if len(expected) != len(found):
        yield differs(
            place, f"{len(expected)} records, as streamed", f"{len(found)} records", file=file
        )
    for number, (one, other) in enumerate(zip(expected, found, strict=False), 1):
        pair = [{k: v for k, v in of.items() if k not in skipped} for of in (one, other)]
        if pair[0] != pair[1]:
            pointer, wanted, actual = first_difference(pair[0], pair[1])
            field = f"/{number}{pointer}"
            why = "two doors of the service tell different things"
            yield differs(place, wanted, actual, field=field, file=file, why=why)
            return


def _events(run: SeenRun) -> list[Any]:
    if not run.events:
        raise CannotTell(f"the stream of the {run.asked.name} run brought nothing")
    return run.events


def _moment(record: dict[str, Any]) -> datetime:
    return clock.moment(record["timestamp"])


def _span(moments: Iterator[datetime]) -> float:
    found = list(moments)
    return (max(found) - min(found)).total_seconds()


def _of(run: SeenRun, field: str, expected: object, found: object, *, why: str = "") -> Discrepancy:
    return differs(STREAM, expected, found, field=field, file=run.last_stream, why=why)
