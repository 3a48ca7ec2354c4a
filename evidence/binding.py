"""The signed records of a run: what binds it before its first step, at each checkpoint, at its end.

    records.jsonl   line 1 the run commitment, then one record for each checkpoint that was written
    seal            the statement over the manifest, which names the last of these lines

A line is a DSSE envelope, as canonical JSON. Each record names the SHA-256 of the one before it.
None holds a time or a random number: a record follows from the journals and can be made again.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from evidence.errors import IntegrityError
from evidence.pack import CONFIG, RunId, checkpoint_path
from evidence.records import CheckpointRecord, Digest, Record, Step
from evidence.signing import statement

COMMITMENT: str = "urn:zeropoint:run-commitment:v2"
"""`predicateType` of the commitment."""

CHECKPOINT: str = "urn:zeropoint:checkpoint:v2"
"""`predicateType` of the record of a checkpoint."""

SEAL: str = "urn:zeropoint:pack-seal:v2"
"""`predicateType` of the seal."""

MAX_RECORD_BYTES = 65_535
"""Longest envelope: what an entry of a C2SP tlog-tiles log can hold."""

Predicate = TypeVar("Predicate", bound=Record)


class Place(Record):
    """Where a journal stood: its last line, and so all before it."""

    seq: Annotated[int, Field(ge=0)]
    """Of that line; 0 before the first."""
    sha256: Digest
    """Of its bytes without the newline; before the first the journal's genesis."""


class Code(Record):
    """The code that trains; null where it cannot be known."""

    commit: str | None
    clean: bool | None
    digest: Digest | None
    lock_sha256: Digest | None


class Commitment(Record):
    """What a service binds itself to before step 0."""

    v: Literal[2] = 2
    run_id: RunId
    config_sha256: Digest
    """Of config.json, which has every field of the run, its kernel set among them."""
    data: Annotated[dict[str, Digest], Field(min_length=1)]
    """SHA-256 of each raw data file, by file name."""
    seed: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    nonce: Annotated[str, Field(max_length=1000)] | None
    order_digest: Digest
    """SHA-256 over the samples of all steps, in order, as little-endian int64."""
    initial_model_digest: Digest
    initial_optimizer_digest: Digest
    code: Code
    kernels: dict[str, Any] | None
    """What the kernel set resolved to, as the trainer told it."""
    limits: dict[str, Any]
    """The limits of the service, by name."""
    events: Place
    """Where events.jsonl stood; no metric stands before it."""
    log: Annotated[str, Field(min_length=1, max_length=300)]
    """Verifier key of the log that gets the records of this run (C2SP signed-note)."""
    previous: Digest | None = None
    """SHA-256 of the line of verdicts.jsonl that let the run through; null in format 2."""


class CheckpointBinding(Record):
    """What a service says when it has written a checkpoint."""

    v: Literal[2] = 2
    run_id: RunId
    step: Step
    model_digest: Digest
    optimizer_digest: Digest
    state_digest: Digest
    """RNG, data cursor, step."""
    events: Place
    """The checkpoint's own line of events.jsonl."""
    metrics: Place
    """Where metrics.jsonl stood."""
    previous: Digest
    """SHA-256 of the record before, without its newline."""


class SealBinding(Record):
    """What a service says when a run has ended: the last record."""

    v: Literal[2] = 2
    run_id: RunId
    manifest_sha256: Digest
    manifest_bytes: Annotated[int, Field(ge=0)]
    model_key: Digest
    """SHA-256 of seal/model.pub."""
    log: Annotated[str, Field(min_length=1, max_length=300)]
    previous: Digest
    """SHA-256 of the last line of records.jsonl, without its newline."""


def commitment_statement(commitment: Commitment) -> dict[str, Any]:
    """Return the statement about the config and the data of a run."""
    data = {f"data/{name}": sha256 for name, sha256 in commitment.data.items()}
    return statement(
        {CONFIG: commitment.config_sha256, **data},
        predicate_type=COMMITMENT,
        predicate=commitment.model_dump(mode="json"),
    )


def checkpoint_statement(
    record: CheckpointRecord, *, run_id: str, events: Place, metrics: Place, previous: str
) -> dict[str, Any]:
    """Return the statement about the files of a checkpoint.

    Args:
        record: As events.jsonl has it.
        run_id: The run.
        events: Its own line there.
        metrics: Where metrics.jsonl stood.
        previous: SHA-256 of the record before.
    """
    binding = CheckpointBinding(
        run_id=run_id,
        step=record.step,
        model_digest=record.model_digest,
        optimizer_digest=record.optimizer_digest,
        state_digest=record.state_digest,
        events=events,
        metrics=metrics,
        previous=previous,
    )
    return statement(
        {checkpoint_path(record.step, name): file.sha256 for name, file in record.files.items()},
        predicate_type=CHECKPOINT,
        predicate=binding.model_dump(mode="json"),
    )


def predicate_of(
    statement: Mapping[str, Any], kind: type[Predicate], predicate_type: str
) -> Predicate:
    """Return what a statement says, as its strict type.

    Raises:
        IntegrityError: It is of another type, or does not fit; names the field.
    """
    found = statement.get("predicateType")
    if found != predicate_type:
        raise IntegrityError(
            f"/predicateType: expected {predicate_type}, found {str(found)[:100]}",
            field="/predicateType",
            expected=predicate_type,
            found=str(found)[:100],
        )
    try:
        return kind.model_validate(statement["predicate"], strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "/predicate" + "".join(f"/{part}" for part in first["loc"])
        raise IntegrityError(
            f"{place}: {first['msg']}", field=place, expected=first["msg"],
            found=repr(first["input"])[:200],
        ) from error  # fmt: skip
