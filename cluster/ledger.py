"""What each key has used: runs, steps, device seconds, bytes; folded from the service journal.

The journal tells who submitted a run (`run.status` without a previous state), when it came to run
on how many devices, and, when it stopped, how many steps it had done and how many bytes its folder
has. So usage outlives the folder, and a restart gives the same sums.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from evidence.clock import moment
from evidence.errors import RateLimited
from evidence.records import RunState
from governance.accounts import Quota

DAY = timedelta(days=1)
STATUS, DELETED = "run.status", "run.deleted"

_LIVE = frozenset({RunState.QUEUED, RunState.RUNNING})


@dataclass(slots=True)
class _Run:
    owner: "Owner"
    state: RunState
    steps: int = 0
    bytes: int = 0
    devices: int = 1
    running_since: datetime | None = None


@dataclass(slots=True)
class _Used:
    """Sums of one key."""

    runs: int = 0
    steps: int = 0
    device_s: float = 0.0
    submitted: deque[tuple[datetime, int]] = field(default_factory=deque)
    """When, and how many steps were asked for; within a day."""
    ran: deque[tuple[datetime, float]] = field(default_factory=deque)
    """Until when, and for how many device seconds; within a day."""


Owner = tuple[str, str | None]
"""Account (or who else a journal names) and key id."""


class Ledger:
    """The sums of every key; give it each line of the service journal, oldest first."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._used: dict[Owner, _Used] = {}

    def take(self, line: Mapping[str, Any]) -> None:
        """Take in one line of the journal."""
        if line["action"] == DELETED:
            self._runs.pop(line["run_id"], None)
        if line["action"] == STATUS:
            at = moment(line["timestamp"])
            if line["previous"] is None:
                self._submitted(line, at)
            if line["run_id"] in self._runs:
                self._moved(self._runs[line["run_id"]], line, at)

    def _submitted(self, line: Mapping[str, Any], at: datetime) -> None:
        owner = (str(line["who"]), line.get("key"))
        used = self._used.setdefault(owner, _Used())
        used.runs += 1
        used.submitted.append((at, int(line.get("steps_asked") or 0)))
        self._runs[line["run_id"]] = _Run(owner, RunState.QUEUED)

    def _moved(self, run: _Run, line: Mapping[str, Any], at: datetime) -> None:
        used = self._used[run.owner]
        if run.running_since is not None:
            until = moment(line["until"]) if line.get("until") else at
            spent = max((until - run.running_since).total_seconds(), 0.0) * run.devices
            used.device_s += spent
            used.ran.append((at, spent))
        run.state = RunState(line["state"])
        is_running = run.state is RunState.RUNNING
        run.running_since = at if is_running else None
        run.devices = int(line.get("devices") or 1) if is_running else run.devices
        steps = int(line.get("steps") or run.steps)
        used.steps += steps - run.steps
        run.steps = steps
        run.bytes = int(line.get("bytes") or run.bytes)

    def slots_held(self, slots: Mapping[str, int]) -> dict[str, int]:
        """Return the slots that each account holds, from those of each running run."""
        held: dict[str, int] = {}
        for run_id, count in slots.items():
            if run_id in self._runs:
                name = self._runs[run_id].owner[0]
                held[name] = held.get(name, 0) + count
        return held

    def owner_of(self, run_id: str) -> str:
        """Return the account that submitted a run; empty where the journal does not know it."""
        return self._runs[run_id].owner[0] if run_id in self._runs else ""

    def usage(self, *, now: datetime) -> list[dict[str, Any]]:
        """Return the sums of every key, running runs up to now, by account and key."""
        return [
            {"account": name, "key_id": key_id, **self._sums((name, key_id), now)}
            for name, key_id in sorted(self._used, key=lambda owner: (owner[0], owner[1] or ""))
        ]

    def _sums(self, owner: Owner, now: datetime) -> dict[str, Any]:
        used = self._used.get(owner, _Used())
        runs = [run for run in self._runs.values() if run.owner == owner]
        going = sum(
            max((now - run.running_since).total_seconds(), 0.0) * run.devices
            for run in runs
            if run.running_since is not None
        )
        for line in (used.submitted, used.ran):
            while line and now - line[0][0] >= DAY:
                line.popleft()
        return {
            "runs": used.runs,
            "steps": used.steps,
            "device_s": round(used.device_s + going, 3),
            "bytes": sum(run.bytes for run in runs),
            "live_runs": sum(run.state in _LIVE for run in runs),
            "runs_per_day": len(used.submitted),
            "steps_per_day": sum(steps for _, steps in used.submitted),
            "device_s_per_day": round(sum(spent for _, spent in used.ran) + going, 3),
        }

    def require_within(self, quota: Quota, owner: Owner, *, steps: int, now: datetime) -> None:
        """Raise if one more run of so many steps would take a key over its quota.

        Raises:
            RateLimited: It would; the part of the quota is named, with what is used of it.
        """
        has = self._sums(owner, now)
        rules = (
            ("live_runs", quota.live_runs, has["live_runs"] + 1),
            ("runs_per_day", quota.runs_per_day, has["runs_per_day"] + 1),
            ("steps_per_day", quota.steps_per_day, has["steps_per_day"] + steps),
            ("device_s_per_day", quota.device_s_per_day, has["device_s_per_day"] + 1e-9),
            ("stored_bytes", quota.stored_bytes, has["bytes"] + 1),
        )
        for name, most, wanted in rules:
            if most is not None and wanted > most:
                raise RateLimited(
                    f"the key's quota {name} is {most}; with this run it would be {wanted:g}",
                    field=f"quota.{name}",
                    expected=f"at most {most}",
                    found=f"{wanted:g}",
                    cure="wait, delete runs, or ask an admin for a key with another quota",
                )
