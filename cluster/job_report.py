"""What a job prints of a run: one plain line a phase, metrics at a modest rate."""

from collections.abc import Callable, Mapping
from typing import Any

from evidence.records import CheckpointAction, EventKind, RunState, Split

METRIC_EVERY_S = 2.0
"""Seconds between two lines with training metrics."""


class Narrator:
    """Turns events into lines.

    Args:
        steps: Updates of the run in all.
        monotonic: Seconds from any start; what the rate of metrics goes by.
    """

    def __init__(self, *, steps: int, monotonic: Callable[[], float]) -> None:
        self._steps = steps
        self._monotonic = monotonic
        self._metric_at: float | None = None

    def line_of(self, event: Mapping[str, Any]) -> str | None:
        """Return the line of an event, or None if it is not told.

        Args:
            event: A line of events.jsonl, decoded.
        """
        line = self._told(event)
        return plain(line) if line else None

    def _told(self, event: Mapping[str, Any]) -> str | None:
        match EventKind(event["kind"]):
            case EventKind.STATUS:
                return _status(event)
            case EventKind.METRIC:
                return self._metric(event)
            case EventKind.CHECKPOINT:
                return _checkpoint(event)
            case EventKind.LOG:
                return f"{event['level']:<11} {event['name']}: {event['message']}"
            case EventKind.END:
                return f"sealed      the evidence pack, at step {event['step']}"

    def _metric(self, event: Mapping[str, Any]) -> str | None:
        is_last = event["step"] == self._steps
        if event["split"] == Split.TRAIN and not is_last and not self._is_due():
            return None
        at = f"step {event['step']}/{self._steps}"
        parts = [at, *(text for name in _MEASURES if (text := _measure(event, name)))]
        return f"{event['split']:<11} " + "  ".join(parts)

    def _is_due(self) -> bool:
        now = self._monotonic()
        if self._metric_at is not None and now - self._metric_at < METRIC_EVERY_S:
            return False
        self._metric_at = now
        return True


_MEASURES: Mapping[str, str] = {
    "loss": "loss {:.4f}",
    "accuracy": "accuracy {:.4f}",
    "lr": "lr {:.3g}",
    "samples_s": "{:,.0f} samples/s",
}


def _measure(event: Mapping[str, Any], name: str) -> str | None:
    value = event[name]
    return None if value is None else _MEASURES[name].format(value)


def _status(event: Mapping[str, Any]) -> str:
    reason = event["reason"]
    if event["state"] == RunState.RUNNING:
        placement = event["placement"]
        reason = f"on {placement['device']}: {placement['why']}"
    if fault := event.get("error"):
        reason = f"{fault['code']}: {fault['detail']}"
    return f"{event['state']:<11} {reason}"


def _checkpoint(event: Mapping[str, Any]) -> str | None:
    if event["action"] != CheckpointAction.WRITTEN:
        return None
    return f"checkpoint  step {event['step']}  model {event['model_digest']}"


def plain(text: str) -> str:
    """Return text on one line without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)
