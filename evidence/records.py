"""What a run reports: metrics, checkpoints, log lines, changes of state.

These are the events of `events.jsonl` without the fields that the journal adds (`v`, `seq`,
`prev`). The names and meanings here are the wire format: the event stream sends the same objects.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from evidence.clock import require_moment

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Timestamp = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"),
    AfterValidator(require_moment),
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Step = Annotated[int, Field(ge=0, le=2**53 - 1)]

MEASURES = (
    "loss", "accuracy", "lr", "step_ms", "samples_s", "tokens_s", "memory_bytes", "energy_j",
)  # fmt: skip
"""The fields of a Metric that may be null with a reason."""

REPEATABLE = ("loss", "accuracy", "lr")
"""The measures that a step done again must reproduce exactly."""

CHECKPOINT_FILES = ("model.safetensors", "optimizer.safetensors", "state.safetensors")
"""The files of one checkpoint folder."""


class EventKind(StrEnum):
    """Kinds of lines in events.jsonl; equal to the SSE event names."""

    STATUS = "status"
    METRIC = "metric"
    CHECKPOINT = "checkpoint"
    LOG = "log"
    END = "end"


class Split(StrEnum):
    """Which part of a data set a metric was measured on."""

    TRAIN = "train"
    TEST = "test"


class RunState(StrEnum):
    """Where a run stands; the values are the wire spelling."""

    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the run is sealed: nothing can be added to it any more."""
        return not MOVES[self]


MOVES: Mapping[RunState, frozenset[RunState]] = MappingProxyType(
    {
        RunState.QUEUED: frozenset({RunState.RUNNING, RunState.CANCELLED, RunState.FAILED}),
        RunState.RUNNING: frozenset(
            {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.INTERRUPTED}
        ),
        RunState.INTERRUPTED: frozenset({RunState.QUEUED, RunState.CANCELLED}),
        RunState.FAILED: frozenset({RunState.QUEUED}),
        RunState.SUCCEEDED: frozenset(),
        RunState.CANCELLED: frozenset(),
    }
)
"""The states that each state may move to; a run begins as queued."""


class Record(BaseModel):
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(Record):
    """What one step (train) or one evaluation (test) measured."""

    kind: Literal[EventKind.METRIC] = EventKind.METRIC
    timestamp: Timestamp
    """When it was measured, by the trainer's clock."""
    step: Step
    """Updates done so far: 1 after the first."""
    split: Split
    """Part of the data set measured on."""
    loss: Finite | None
    """Mean cross-entropy in nats over the batch (train) or the whole split (test)."""
    accuracy: Annotated[float, Field(ge=0, le=1)] | None
    """Fraction classified right, [0, 1], over the same samples."""
    lr: Annotated[float, Field(ge=0)] | None
    """Learning rate of this update (train), as float32."""
    step_ms: Annotated[float, Field(ge=0)] | None
    """Wall time of the update, or of the whole evaluation, in milliseconds."""
    samples_s: Annotated[float, Field(ge=0)] | None
    """Samples per second of that time."""
    tokens_s: Annotated[float, Field(ge=0)] | None
    """Tokens per second of that time, for models that read tokens."""
    memory_bytes: Annotated[int, Field(ge=0)] | None
    """Resident set size of the trainer's process, in bytes."""
    energy_j: Annotated[float, Field(ge=0)] | None
    """Energy since the metric before, in joules, where the node has a meter."""
    reasons: dict[str, Annotated[str, Field(min_length=1, max_length=200)]] = {}
    """For each measure that is null, why."""

    @model_validator(mode="after")
    def _null_has_a_reason(self) -> Self:
        absent = {name for name in MEASURES if getattr(self, name) is None}
        if absent != set(self.reasons):
            raise ValueError(f"null measures {sorted(absent)} need reasons, and only they")
        return self


class FileDigest(Record):
    """Size and SHA-256 of one file."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Digest


class CheckpointAction(StrEnum):
    """What happened to a checkpoint."""

    WRITTEN = "written"
    PRUNED = "pruned"


class CheckpointRecord(Record):
    """One checkpoint: which files, and the state digests of what they hold."""

    kind: Literal[EventKind.CHECKPOINT] = EventKind.CHECKPOINT
    timestamp: Timestamp
    action: CheckpointAction = CheckpointAction.WRITTEN
    """`pruned`: the bytes were deleted, this record stays."""
    step: Step
    """Updates done when it was taken."""
    files: dict[str, FileDigest]
    """By file name; see CHECKPOINT_FILES."""
    model_digest: Digest
    """State digest (`digest.of_tensors`) of model.safetensors."""
    optimizer_digest: Digest
    """State digest of optimizer.safetensors."""
    state_digest: Digest
    """State digest of state.safetensors: RNG, data cursor, step."""


class LogLevel(StrEnum):
    """Weight of a log line."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Log(Record):
    """Something that a reader of the run should know."""

    kind: Literal[EventKind.LOG] = EventKind.LOG
    timestamp: Timestamp
    level: LogLevel = LogLevel.INFO
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]{0,63}$")]
    """Constant event name, past tense: `resumed`, `kernels_compiled`."""
    message: Annotated[str, Field(max_length=2000)]
    """One sentence for people."""
    step: Step | None = None
    """The step it belongs to, if one."""


class Fault(Record):
    """Why a run failed or was interrupted: a code of the error tree and a sentence."""

    code: Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")]
    detail: Annotated[str, Field(max_length=4000)]


class Placement(Record):
    """Where an attempt was placed, and why."""

    node: Annotated[str, Field(max_length=128)]
    """Node id of the cluster; of a group of workers, the one that it is watched from."""
    nodes: Annotated[tuple[str, ...], Field(min_length=2, max_length=64)] | None = Field(
        default=None, exclude_if=lambda nodes: nodes is None
    )
    """Of a group, the node id of each worker; absent for a plain trainer."""
    device: Annotated[str, Field(max_length=64)]
    """Device that the trainer uses, as tinygrad spells it."""
    why: Annotated[str, Field(max_length=500)]
    """The rule that chose it."""


class Status(Record):
    """The run moved to another state."""

    kind: Literal[EventKind.STATUS] = EventKind.STATUS
    timestamp: Timestamp
    state: Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]
    """A RunState; the move must be one of MOVES."""
    previous: Annotated[str, Field(pattern=r"^[a-z]{1,32}$")] | None
    """The state before; null for the first."""
    reason: Annotated[str, Field(max_length=2000)]
    """One sentence: why it moved."""
    placement: Placement | None = None
    """With `running`."""
    error: Fault | None = None
    """With `failed`, and with `interrupted` where an error caused it."""
    idempotency_key_sha256: Digest | None = None
    """With the first `queued`, when the client sent a key."""


class End(Record):
    """The last event of a sealed run."""

    kind: Literal[EventKind.END] = EventKind.END
    timestamp: Timestamp
    state: Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]
    """succeeded or cancelled."""
    step: Step
    """Updates done in all."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on its way to the one writer: its record and the bytes it describes."""

    record: CheckpointRecord
    files: dict[str, bytes]
    """By file name; digests as in the record."""


class Beginning(Record):
    """What a run begins with; a trainer's first event, before step 1 of every attempt."""

    order_digest: Digest
    """SHA-256 over the samples of all steps, in order, as little-endian int64."""
    initial_model_digest: Digest
    """State digest of the model before the first step, as seed and config give it."""
    initial_optimizer_digest: Digest
    """The same of the optimiser's state."""


TrainingEvent = Beginning | Metric | Checkpoint | Log
"""What a trainer hands to its sink."""

EventSink = Callable[[TrainingEvent], None]
"""Takes each event of a trainer, in order; blocks while the writer is behind."""
