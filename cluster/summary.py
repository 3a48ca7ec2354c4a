"""What is known of a run, folded from the lines of its events.jsonl.

The fold is the only way a run's state comes to be, live and after a restart alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cluster.course import Course
from cluster.states import LIVE
from evidence.records import (
    CheckpointAction,
    CheckpointRecord,
    EventKind,
    Fault,
    Placement,
    RunState,
    Split,
)

TRAINER_LOST: Final = "trainer_lost"
"""Name of the log line that tells a trainer's death."""

_JOURNAL_FIELDS = frozenset({"v", "seq", "prev", "attempt", "n"})


def body_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a journal line without the fields that the journal and the writer add."""
    return {name: value for name, value in line.items() if name not in _JOURNAL_FIELDS}


@dataclass(slots=True)
class RunSummary:
    """State, counts, last metrics and checkpoints of one run."""

    state: RunState = RunState.QUEUED
    reason: str = ""
    """Why it is in this state."""
    attempt: int = 0
    """Epoch of the trainer that may report; 0 before the first."""
    last_n: int = -1
    """Number of the last event of this attempt that was written."""
    last_seq: int = 0
    status_seq: int = 0
    """Sequence number of the last change of state."""
    created: str | None = None
    started: str | None = None
    """When the first attempt began."""
    running_since: str | None = None
    """When it was placed last."""
    losses: int = 0
    """Trainers lost since it was placed last."""
    ended: str | None = None
    """When it came to its present state, if nothing is going to happen by itself."""
    placement: Placement | None = None
    error: Fault | None = None
    idempotency_key_sha256: str | None = None
    metric_count: int = 0
    last_metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By split, the newest metric line."""
    test_losses: list[float] = field(default_factory=list)
    course: Course = field(default_factory=Course)
    """Of the training loss."""
    checkpoints: dict[int, CheckpointRecord] = field(default_factory=dict)
    """By step; without those that were pruned."""
    pruned: dict[int, CheckpointRecord] = field(default_factory=dict)
    has_ended: bool = False
    """Whether the `end` event is written."""

    @property
    def step(self) -> int:
        """Updates done so far, as the metrics say."""
        train = self.last_metrics.get(Split.TRAIN)
        at_checkpoint = max([*self.checkpoints, *self.pruned], default=0)
        return max(int(train["step"]) if train else 0, at_checkpoint)

    def fold(self, line: Mapping[str, Any]) -> None:
        """Take in the next line of events.jsonl."""
        self.last_seq = int(line["seq"])
        attempt = int(line["attempt"])
        if attempt != self.attempt:
            self.attempt, self.last_n = attempt, -1
        if line.get("n") is not None:
            self.last_n = int(line["n"])
        match EventKind(line["kind"]):
            case EventKind.STATUS:
                self._fold_status(line)
            case EventKind.METRIC:
                self._fold_metric(line)
            case EventKind.CHECKPOINT:
                self._fold_checkpoint(line)
            case EventKind.END:
                self.has_ended = True
            case EventKind.LOG:
                self.losses += line["name"] == TRAINER_LOST

    def _fold_status(self, line: Mapping[str, Any]) -> None:
        self.state = RunState(line["state"])
        self.status_seq = self.last_seq
        self.reason = line["reason"]
        self.created = self.created or line["timestamp"]
        if self.state is RunState.RUNNING:
            self.started = self.started or line["timestamp"]
            self.running_since, self.losses = line["timestamp"], 0
            self.placement = Placement.model_validate(line["placement"])
        self.error = Fault.model_validate(line["error"]) if line.get("error") else None
        self.ended = None if self.state in LIVE else line["timestamp"]
        key = line.get("idempotency_key_sha256")
        self.idempotency_key_sha256 = self.idempotency_key_sha256 or key

    def _fold_metric(self, line: Mapping[str, Any]) -> None:
        self.metric_count += 1
        self.last_metrics[line["split"]] = dict(line)
        if line["loss"] is None:
            return
        if line["split"] == Split.TEST:
            self.test_losses.append(line["loss"])
        else:
            self.course.add(line["loss"])

    def _fold_checkpoint(self, line: Mapping[str, Any]) -> None:
        record = CheckpointRecord.model_validate(body_of(line))
        if record.action is CheckpointAction.PRUNED:
            self.checkpoints.pop(record.step, None)
            self.pruned[record.step] = record
        else:
            self.checkpoints[record.step] = record
