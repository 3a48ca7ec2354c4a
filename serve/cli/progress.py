"""What is known of a run from its events so far: a fold over the stream, for showing.

Times are the trainer's own, so that a run looks the same live, late and again.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from evidence.clock import moment
from evidence.records import EventKind, RunState, Split
from serve.cli import units
from serve.client import Event, Link

NEWEST = 5
"""Events that are kept for showing."""

_RATE_OVER = 50
"""Steps that the speed is measured over."""


@dataclass(slots=True)
class Progress:
    """One run, as its events tell."""

    run_id: str
    name: str
    steps: int
    """Updates in all."""
    state: RunState = RunState.QUEUED
    reason: str = ""
    waits_for: str = ""
    """Why it is still queued, as last heard."""
    device: str | None = None
    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Training losses in nats, in order of steps."""
    test_accuracy: float | None = None
    """Of the newest evaluation, [0, 1]."""
    samples_s: float | None = None
    memory_bytes: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    link: Link = Link.LIVE
    is_over: bool = False
    newest: deque[str] = field(default_factory=lambda: deque(maxlen=NEWEST))
    """Events other than training metrics, as lines with clock times."""
    _times: deque[tuple[int, datetime]] = field(default_factory=lambda: deque(maxlen=_RATE_OVER))

    @classmethod
    def of_view(cls, view: Mapping[str, Any]) -> "Progress":
        """Return what the API's view of a run says before the first event."""
        known = cls(view["run_id"], view["name"], view["steps"])
        known.state, known.reason = RunState(view["status"]), view["reason"]
        known.waits_for = view["pending_reason"] or ""
        return known

    @property
    def told_state(self) -> str:
        """Why it is in its state: what a queued run waits for, if that is known."""
        return (self.state is RunState.QUEUED and self.waits_for) or self.reason

    @property
    def eta_s(self) -> float | None:
        """Seconds that the remaining steps take at the present speed; None if not known."""
        is_moving = self.state is RunState.RUNNING and self.step < self.steps
        if len(self._times) < 2 or not is_moving:  # noqa: PLR2004 - a pair
            return None
        (first, begun), (last, until) = self._times[0], self._times[-1]
        if last <= first:
            return None
        return (until - begun).total_seconds() / (last - first) * (self.steps - self.step)

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from the first start to the end; None while it has not ended."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()

    def take_in(self, event: Event) -> None:
        """Add the next event."""
        told = event.data
        if event.kind == EventKind.METRIC:
            self._take_in_metric(told)
        elif event.kind == EventKind.STATUS:
            self._take_in_status(told)
        elif event.kind == EventKind.END:
            self.is_over = True
        line = describe(event)
        if line is not None:
            self.newest.append(line)

    def _take_in_metric(self, metric: Mapping[str, Any]) -> None:
        self.step = max(self.step, metric["step"])
        self.memory_bytes = metric["memory_bytes"]
        if metric["split"] == Split.TEST:
            self.test_accuracy = metric["accuracy"]
            return
        self._times.append((metric["step"], moment(metric["timestamp"])))
        self.samples_s = metric["samples_s"]
        if metric["loss"] is not None:
            self.losses.append(metric["loss"])

    def _take_in_status(self, status: Mapping[str, Any]) -> None:
        self.state, self.reason = RunState(status["state"]), status["reason"]
        when = moment(status["timestamp"])
        if self.state is RunState.RUNNING:
            self.started = self.started or when
            self.ended = None
            self._times.clear()
        elif self.state is not RunState.QUEUED:
            self.ended = when
        if status.get("placement"):
            self.device = status["placement"]["device"]


def describe(event: Event) -> str | None:
    """Return one line about an event, or None for those that come too often or say nothing."""
    told = event.data
    match event.kind:
        case EventKind.METRIC if told["split"] == Split.TEST and told["accuracy"] is not None:
            text = f"test accuracy {units.percent(told['accuracy'])} after step {told['step']}"
        case EventKind.CHECKPOINT:
            total = sum(file["bytes"] for file in told["files"].values())
            text = f"checkpoint {told['step']} {told['action']}, {units.size(total)}"
        case EventKind.STATUS:
            text = f"{told['state']}: {told['reason']}"
        case EventKind.LOG:
            text = f"{told['name']}: {told['message']}"
        case _:
            return None
    return f"{clock(told['timestamp'])} {text}"


def clock(stamp: str) -> str:
    """Return the time of day of a timestamp, in the zone of this machine."""
    return moment(stamp).astimezone().strftime("%H:%M:%S")
