"""Checks 9 and 10: the bytes of checkpoints against their records and model.json."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from evidence import seed as seeds
from evidence import tensor_file, tensors
from evidence.check_files import HASHERS, hash_file
from evidence.errors import ServiceError
from evidence.pack import (
    CHECKPOINTS,
    MAX_DOCUMENT_BYTES,
    MODEL,
    checkpoint_name,
    checkpoint_path,
)
from evidence.packfiles import CheckpointLine, TensorSpec
from evidence.records import CHECKPOINT_FILES, CheckpointAction, FileDigest
from evidence.subject import (
    Difference,
    Differs,
    Good,
    Shape,
    Subject,
    event_place,
    first_difference,
    plural,
    too_large,
)
from evidence.tensor_file import Extent
from evidence.tensors import RawTensor

_MODEL_FILE = "model.safetensors"
_STATE_FILE = "state.safetensors"
_DIGEST_OF = {
    _MODEL_FILE: "model_digest",
    "optimizer.safetensors": "optimizer_digest",
    _STATE_FILE: "state_digest",
}


def recorded(subject: Subject) -> Good:
    """(9) Each checkpoint's files and states have the digests of its record."""
    written: dict[int, CheckpointLine] = {}
    pruned: set[int] = set()
    for record in subject.checkpoints:
        if record.action is CheckpointAction.WRITTEN:
            written[record.step] = record
        else:
            _require_same_record(written.get(record.step), record)
            pruned.add(record.step)
    _refuse_unrecorded(subject, written)
    kept = [
        record
        for step, record in sorted(written.items())
        if step not in pruned or _is_there(subject, step)
    ]
    for record in kept:
        _require_places(subject, record)
    with ThreadPoolExecutor(HASHERS) as pool:
        files = [(record, name) for record in kept for name in CHECKPOINT_FILES]
        for (record, name), held in zip(
            files, pool.map(lambda one: _held(subject, *one), files), strict=True
        ):
            _require_file(subject, record, name, held)
    return Good(plural(len(kept), "checkpoint"), f"{len(written) - len(kept)} pruned")


def _is_there(subject: Subject, step: int) -> bool:
    return any(subject.has(checkpoint_path(step, name)) for name in CHECKPOINT_FILES)


def _require_same_record(written: CheckpointLine | None, pruned: CheckpointLine) -> None:
    """A pruned record repeats the one of the checkpoint."""
    fields = ("files", *_DIGEST_OF.values())
    if written is not None and all(getattr(written, f) == getattr(pruned, f) for f in fields):
        return
    raise Differs(
        Difference(
            f"checkpoint {pruned.step} was pruned, but its record is another or not there",
            where=event_place(pruned),
            expected="the record of the checkpoint" if written is None else event_place(written),
            found="no earlier record" if written is None else "other digests",
            meaning="a checkpoint was hidden behind a record of its deletion",
        )
    )


def _refuse_unrecorded(subject: Subject, written: dict[int, CheckpointLine]) -> None:
    names = {checkpoint_name(step) for step in written}
    for path in sorted(subject.pack.files):
        if path.startswith(f"{CHECKPOINTS}/") and path.split("/")[1] not in names:
            raise Differs(
                Difference(
                    f"{path} belongs to no checkpoint of events.jsonl",
                    where=path,
                    expected="a record of it",
                    found="none",
                    meaning="a checkpoint was added, or its record removed",
                )
            )


def _require_places(subject: Subject, record: CheckpointLine) -> None:
    """The files of a checkpoint are there, and none is far larger than recorded."""
    if set(record.files) != set(CHECKPOINT_FILES):
        raise Differs(
            Difference(
                f"the record of checkpoint {record.step} names other files than the format",
                where=f"{event_place(record)}, /files",
                expected=", ".join(CHECKPOINT_FILES),
                found=", ".join(sorted(record.files))[:200],
            )
        )
    for name in CHECKPOINT_FILES:
        path, expected_size = checkpoint_path(record.step, name), record.files[name].bytes
        size = subject.require_file(path)
        if size > expected_size + MAX_DOCUMENT_BYTES:
            raise too_large(path, expected=f"{expected_size} bytes, as recorded", size=size)


@dataclass(frozen=True, slots=True)
class _Held:
    """What a file of a checkpoint is."""

    file: FileDigest
    extents: Sequence[Extent] | ServiceError
    """Its tensors, or why they cannot be read."""
    state: str
    """Their state digest."""


def _held(subject: Subject, record: CheckpointLine, name: str) -> _Held:
    """Read one file: the digest of its bytes, if check 2 has not, then its tensors and theirs."""
    path = checkpoint_path(record.step, name)
    file = subject.digests.get(path) or hash_file(subject, path)
    try:
        with subject.pack.open(path) as opened:
            extents = tensor_file.read_layout(opened, size=subject.pack.files[path], name=path)
            state = tensor_file.state_digest(opened, extents, name=path)
    except ServiceError as error:
        return _Held(file, error, "")
    return _Held(file, extents, state)


def _require_file(subject: Subject, record: CheckpointLine, name: str, held: _Held) -> None:
    """Digest of the bytes first; only then is what they hold believed."""
    path, place = checkpoint_path(record.step, name), event_place(record)
    meaning = "the checkpoint is not the one that the run reported"
    if held.file != record.files[name]:
        raise Differs(
            Difference(
                f"{path} is another file than {place} records",
                where=path,
                expected=f"{record.files[name].sha256}, {record.files[name].bytes} bytes",
                found=f"{held.file.sha256}, {held.file.bytes} bytes",
                meaning=meaning,
            )
        )
    if isinstance(held.extents, ServiceError):
        raise held.extents
    expected = getattr(record, _DIGEST_OF[name])
    if expected != held.state:
        raise Differs(
            Difference(
                f"the tensors of {path} have another state digest than {place} records",
                where=path,
                expected=expected,
                found=held.state,
                meaning=meaning,
            )
        )
    if name == _STATE_FILE:
        _require_state(subject, record, tensors.decode(subject.read(path), name=path))
    if name == _MODEL_FILE:
        subject.tensors[record.step] = {one.name: (one.dtype, one.shape) for one in held.extents}


def _require_state(
    subject: Subject, record: CheckpointLine, state: Mapping[str, RawTensor]
) -> None:
    """The state was taken at the step of its record, in a run of this seed.

    The seed is compared where the state tells one; the step must be there.
    """
    expected = {"step": np.asarray(np.int64(record.step))}
    if "seed" in state and subject.seed is not None:
        expected["seed"] = np.asarray(np.uint64(seeds.as_integer(subject.seed)))
    for name, value in expected.items():
        if state.get(name) != tensors.from_numpy(value):
            raise Differs(
                Difference(
                    f"checkpoint {record.step} holds the state of another {name}",
                    where=f"{checkpoint_path(record.step, _STATE_FILE)}, tensor {name}",
                    expected=f"{value.dtype} {value}",
                    found=_scalar(state.get(name)),
                    meaning="the checkpoint is another one's, put in its place with its record",
                )
            )


def _scalar(tensor: RawTensor | None) -> str:
    if tensor is None:
        return "no such tensor"
    if tensor.shape or tensor.dtype not in ("I64", "U64"):
        return f"{tensor.dtype} {list(tensor.shape)}"
    return f"{tensor.dtype} {tensors.to_numpy(tensor)}"


def shapes(subject: Subject) -> Good:
    """(10) Each checkpoint's model has the tensors of model.json: names, shapes, dtypes."""
    if not subject.tensors:
        return Good("no checkpoint")
    specs = subject.model.tensors
    expected = {spec.name: _as_json(_shape_of(spec)) for spec in specs}
    for step, held in sorted(subject.tensors.items()):
        found = {name: _as_json(shape) for name, shape in held.items()}
        if found != expected:
            pointer, wanted, actual = first_difference(expected, found)
            raise Differs(
                Difference(
                    f"checkpoint {step} has other tensors than {MODEL}",
                    where=f"{checkpoint_path(step, _MODEL_FILE)}, tensor {pointer[1:]}",
                    expected=wanted,
                    found=actual,
                    meaning="the checkpoint is of another model than the run describes",
                )
            )
    return Good(plural(len(subject.tensors), "checkpoint"), plural(len(specs), "tensor"))


def _shape_of(spec: TensorSpec) -> Shape:
    return spec.dtype, tuple(spec.shape)


def _as_json(shape: Shape) -> str:
    return f"{shape[0]} {list(shape[1])}"
