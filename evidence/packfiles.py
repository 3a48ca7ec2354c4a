"""What verification reads of a pack's JSON files and journal lines, as strict types.

Not the whole of them: config.json is RunConfig's (`trainers.config`), of which only the fields
that decide what the journals must hold are named here.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from evidence.errors import IntegrityError
from evidence.pack import RunId
from evidence.records import (
    CheckpointRecord,
    Digest,
    End,
    Log,
    Metric,
    Record,
    RunState,
    Status,
    Timestamp,
)
from evidence.schedule import Schedule
from evidence.tensors import DTYPES

Model = TypeVar("Model", bound=BaseModel)
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    """A part of config.json; the fields that are not named here are not read."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OptimizerPart(_Part):
    """What config.json says of the optimiser."""

    lr: Annotated[float, Field(gt=0, le=1e6)]
    """Peak learning rate."""


class Config(_Part):
    """config.json."""

    v: Literal[1]
    dataset: str
    """Name of the data set."""
    steps: Count
    """Updates in the run."""
    optimizer: OptimizerPart
    schedule: Schedule
    checkpoint_every: Count
    """Steps between checkpoints."""
    keep_last: Count | None = None
    """Checkpoints whose bytes are kept, the newest; null keeps all."""
    metric_every: Count
    """Steps between training metrics."""
    nonce: str | None = None
    """Text of the client's that enters the seed."""


class TensorSpec(Record):
    """One tensor of the model."""

    name: Annotated[str, Field(min_length=1, max_length=500)]
    shape: list[Annotated[int, Field(ge=0)]]
    dtype: Annotated[str, Field(pattern=rf"^(?:{'|'.join(DTYPES)})$")]
    """Spelled as in safetensors."""
    trainable: bool
    """Whether the optimiser moves it."""


class ModelDescription(Record):
    """model.json."""

    v: Literal[1]
    architecture: str
    tensors: Annotated[list[TensorSpec], Field(min_length=1)]


class DatasetPart(Record):
    """The data set that was trained on."""

    name: str
    source: Any = None
    """Where the files came from, as reported; not verified."""
    files: Annotated[dict[str, Digest], Field(min_length=1)]
    """SHA-256 of each raw file, by file name."""


class CodePart(Record):
    """The code that trained; null where it cannot be known."""

    commit: str | None
    clean: bool | None
    """Whether the tree had no uncommitted change."""
    digest: Digest | None


class Attempt(BaseModel):
    """One placement of the run; may hold further fields, which are not verified."""

    model_config = ConfigDict(frozen=True, extra="allow")

    attempt: Count


class Provenance(Record):
    """provenance.json."""

    v: Literal[1]
    run_id: RunId
    dataset: DatasetPart
    code: CodePart
    lock_sha256: Digest | None
    runtime: dict[str, Any]
    """Device, compiler, kernel settings, ...: as the trainer reported them, not verified."""
    seed: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    nonce: Annotated[str, Field(max_length=1000)] | None
    started: Timestamp
    ended: Timestamp | None
    state: RunState
    attempts: Annotated[list[Attempt], Field(min_length=1)]


class _LineFields(Record):
    """What the journal and its writer add to an event."""

    v: Literal[1]
    seq: Count
    prev: Digest
    attempt: Annotated[int, Field(ge=0)]
    """Epoch of the trainer; 0 before the first."""
    n: Annotated[int, Field(ge=0)] | None = None
    """Number of the event within its attempt, if it came from the trainer."""


class MetricLine(_LineFields, Metric):
    """A metric in a journal."""


class CheckpointLine(_LineFields, CheckpointRecord):
    """A checkpoint in events.jsonl."""


class LogLine(_LineFields, Log):
    """A log line in events.jsonl."""


class StatusLine(_LineFields, Status):
    """A move to another state in events.jsonl."""


class EndLine(_LineFields, End):
    """The last line of events.jsonl."""


EventLine = MetricLine | CheckpointLine | LogLine | StatusLine | EndLine
"""One line of events.jsonl."""

_EVENT: TypeAdapter[EventLine] = TypeAdapter(Annotated[EventLine, Field(discriminator="kind")])


def parse_event(data: bytes) -> EventLine:
    """Return the event in one journal line.

    Raises:
        IntegrityError: It is none; names the field at fault.
    """
    try:
        return _EVENT.validate_json(data, strict=True)
    except ValidationError as error:
        raise _as_integrity_error(error) from error


def parse(kind: type[Model], data: bytes) -> Model:
    """Return the JSON file `data` as its strict type.

    Raises:
        IntegrityError: It does not fit; names the field at fault.
    """
    try:
        return kind.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise _as_integrity_error(error) from error


def _as_integrity_error(error: ValidationError) -> IntegrityError:
    first = error.errors(include_url=False)[0]
    place = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in first["loc"])
    return IntegrityError(
        f"{place}: {first['msg']}",
        field=place,
        expected=first["msg"],
        found=repr(first["input"])[:200],
    )
