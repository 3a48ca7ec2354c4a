"""What operators see on Ray's Prometheus endpoint; names and units in docs/operator-guide.md.

Ray puts `ray_` before each name and `_total` behind a counter's. Every value counts something: the
unit is runs, devices, events or errors. A counter starts again at 0 with a new manager, and a
label value shows up with its first count.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ray.util.metrics import Counter, Gauge

from evidence.records import RunState

GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "zeropoint_runs": ("Runs by state.", ("state",)),
    "zeropoint_queue_length": ("Runs that wait for a place.", ()),
    "zeropoint_devices": ("Devices of all nodes by kind and probed state.", ("device", "state")),
}
"""Name, meaning and labels of each gauge."""

COUNTERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "zeropoint_events": ("Events taken in from trainers, by kind.", ("kind",)),
    "zeropoint_errors": ("Attempts at runs that ended with an error, by code.", ("code",)),
}
"""Name, meaning and label of each counter."""

DEVICE_STATES: Final = ("probing", "usable", "failed")
"""What a probe may say of a device; each has a value for every kind of device that was seen."""


def exported_names() -> frozenset[str]:
    """Return the names as Prometheus reads them."""
    gauges = {f"ray_{name}" for name in GAUGES}
    return frozenset(gauges | {f"ray_{name}_total" for name in COUNTERS})


class Gauges:
    """The service's metrics; made once, in the manager's process."""

    def __init__(self) -> None:
        self._gauges = {
            name: Gauge(name, meaning, tag_keys=labels)
            for name, (meaning, labels) in GAUGES.items()
        }
        self._counters = {
            name: Counter(name, meaning, tag_keys=labels)
            for name, (meaning, labels) in COUNTERS.items()
        }
        self._seen: set[str] = set()

    def show_runs(self, counts: Mapping[RunState, int]) -> None:
        """Set the number of runs in each state."""
        for state in RunState:
            self._gauges["zeropoint_runs"].set(counts.get(state, 0), tags={"state": state})
        self._gauges["zeropoint_queue_length"].set(counts.get(RunState.QUEUED, 0))

    def show_devices(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Set the number of devices of each kind and state; 0 for what is no longer there."""
        found = [
            (device["device"], device["state"]) for node in nodes for device in node["devices"]
        ]
        self._seen |= {device for device, _ in found}
        for device in self._seen:
            for state in DEVICE_STATES:
                tags = {"device": device, "state": state}
                self._gauges["zeropoint_devices"].set(found.count((device, state)), tags=tags)

    def count(self, name: str, label: str) -> None:
        """Count one event of a kind, or one error of a code.

        Args:
            name: `event` or `error`.
            label: The kind or the code.
        """
        if name == "event":
            self._counters["zeropoint_events"].inc(tags={"kind": label})
        else:
            self._counters["zeropoint_errors"].inc(tags={"code": label})
