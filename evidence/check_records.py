"""Checks 13 to 15 and 19: the signed records of a run against its files, and one another."""

from collections.abc import Iterator
from typing import Any

from evidence import binding, canonical, digest
from evidence.binding import CheckpointBinding, Commitment, Place
from evidence.errors import BadSignature, IntegrityError, InvalidInput
from evidence.keyring import read_history
from evidence.model_signature import ModelPublicKey, require_signed
from evidence.pack import (
    CONFIG,
    MODEL_SIGNATURE,
    RECORDS,
    SEAL_ENVELOPE,
    SEAL_KEY,
    SEAL_KEYS,
    SEAL_MODEL_KEY,
    VERDICTS,
    checkpoint_path,
)
from evidence.packfiles import CheckpointLine, EventLine, Provenance
from evidence.records import CHECKPOINT_FILES, CheckpointAction
from evidence.signing import PublicKey, key_id_of, verify_envelope
from evidence.subject import (
    Difference,
    Differs,
    Good,
    SignedLine,
    Subject,
    as_difference,
    event_place,
    first_difference,
    line_place,
    plural,
)


def chain(subject: Subject) -> Good:
    """(13) records.jsonl is a chain of statements by keys of seal/keys.jsonl, up to the seal."""
    subject.require_bound()
    subject.require_sealed()
    keys = keys_of(subject)
    numbers = {key.key_id: number for number, key in enumerate(keys, 1)}
    newest, previous = 1, None
    for number, line in enumerate(lines_of(subject, RECORDS), 1):
        place = line_place(RECORDS, number)
        key_number, statement = verified(line, keys, numbers, place=place)
        if key_number < newest:
            raise Differs(
                Difference(
                    "a retired key signed a record",
                    where=place,
                    expected=f"key {newest} of {SEAL_KEYS} or a later one",
                    found=f"key {key_number}",
                    meaning="the record was made after the fact, with a key that was put away",
                )
            )
        newest = key_number
        said = _predicate(statement, place, is_first=number == 1)
        if number == 1 and subject.has(VERDICTS):
            previous = said.previous  # a line of another file: check 21
        if said.previous != previous:
            raise Differs(
                Difference(
                    "a record does not follow the one before it",
                    where=f"{place}, /payload/predicate/previous",
                    expected=previous or "null",
                    found=said.previous or "null",
                    meaning="a record was changed, removed, added or moved",
                )
            )
        previous = digest.of_bytes(line)
        subject.records.append(SignedLine(number, line, statement, said))
    if not subject.records:
        raise Differs(Difference(f"{RECORDS} is empty", where=RECORDS, expected="a line"))
    return Good(plural(len(subject.records), "record"), plural(len(keys), "key"))


def keys_of(subject: Subject) -> list[PublicKey]:
    """Return the keys of seal/keys.jsonl, the first one first; the check fails if one is not."""
    try:
        keys = read_history(subject.read(SEAL_KEYS))
    except BadSignature as error:
        raise Differs(
            Difference(
                f"{SEAL_KEYS}: {error.detail}",
                where=SEAL_KEYS,
                meaning="a key was put into the history that the one before it did not introduce",
            )
        ) from error
    if keys[-1].pem != subject.read(SEAL_KEY):
        raise Differs(
            Difference(
                f"{SEAL_KEY} is not the last key of {SEAL_KEYS}",
                where=SEAL_KEY,
                expected=keys[-1].key_id,
                found="another key",
                meaning="the key was replaced",
            )
        )
    return keys


def lines_of(subject: Subject, path: str) -> Iterator[bytes]:
    """Yield the lines of a file of signed statements without their newlines."""
    size = subject.require_file(path)
    with subject.pack.open(path) as file:
        for number in range(1, size + 1):
            data = file.readline(binding.MAX_RECORD_BYTES + 2)
            if not data:
                return
            if not data.endswith(b"\n"):
                raise Differs(
                    Difference(
                        f"the line has no end within {binding.MAX_RECORD_BYTES} bytes",
                        where=line_place(path, number),
                        meaning="the file was cut, or is no file of records",
                    )
                )
            yield data[:-1]


def verified(
    line: bytes, keys: list[PublicKey], numbers: dict[str, int], *, place: str
) -> tuple[int, dict[str, Any]]:
    """Return the number of the key that signed, and the statement; the check fails else."""
    try:
        number = numbers.get(key_id_of(line), len(keys))  # a stranger's does not verify
        return number, verify_envelope(line, keys[number - 1])
    except BadSignature as error:
        raise Differs(
            Difference(
                error.detail,
                where=place,
                expected=error.expected or "",
                found=error.found or "",
                meaning="the record was changed, or not signed by this service",
            )
        ) from error


def _predicate(
    statement: dict[str, Any], place: str, *, is_first: bool
) -> Commitment | CheckpointBinding:
    try:
        if is_first:
            return binding.predicate_of(statement, Commitment, binding.COMMITMENT)
        return binding.predicate_of(statement, CheckpointBinding, binding.CHECKPOINT)
    except (IntegrityError, InvalidInput) as error:
        raise Differs(
            Difference(
                f"not a record of the format: {error.detail}",
                where=f"{place}, /payload{error.field or ''}",
                expected=error.expected or "",
                found=error.found or "",
                meaning="the first record is the commitment, each further one a checkpoint's",
            )
        ) from error


def commitment(subject: Subject) -> Good:
    """(14) What was committed to before step 0 is what config, data and journal tell."""
    subject.require_bound()
    first = subject.records[0]
    said = first.said
    assert isinstance(said, Commitment), "check 13 saw to it"
    place = line_place(RECORDS, 1)
    provenance = subject.provenance
    expected = said.model_copy(
        update={
            "run_id": subject.manifest.run_id,
            "config_sha256": digest.of_bytes(subject.read(CONFIG)),
            "data": provenance.dataset.files,
            "seed": provenance.seed,
            "nonce": provenance.nonce,
            "events": _events_at(subject, said.events.seq),
            **_of_the_only_attempt(provenance),
        }
    )
    _require_same(place, expected=binding.commitment_statement(expected), found=first.statement)
    begun: list[EventLine] = [*subject.metrics[:1], *subject.checkpoints[:1]]
    for event in begun:
        if event.seq <= said.events.seq:
            raise Differs(
                Difference(
                    "the run was committed to after it had begun",
                    where=event_place(event),
                    expected=f"a seq above {said.events.seq}, where the commitment stands",
                    found=str(event.seq),
                    meaning="what was committed to could be chosen by what came out",
                )
            )
    if subject.log != said.log:
        raise Differs(
            Difference(
                "commitment and seal name different logs",
                where=f"{SEAL_ENVELOPE}, /payload/predicate/log",
                expected=said.log,
                found=subject.log,
                meaning="the run was moved to a log that others do not watch",
            )
        )
    return Good("1 commitment", f"at event {said.events.seq}, before step 1")


def _of_the_only_attempt(provenance: Provenance) -> dict[str, Any]:
    """Return what provenance.json still tells of the attempt that committed."""
    if [attempt.attempt for attempt in provenance.attempts] != [1]:
        return {}
    code = {**provenance.code.model_dump(), "lock_sha256": provenance.lock_sha256}
    return {
        "code": binding.Code.model_validate(code),
        "kernels": provenance.runtime.get("kernels"),
    }


def _require_same(place: str, *, expected: dict[str, Any], found: dict[str, Any]) -> None:
    if expected == found:
        return
    pointer, wanted, actual = first_difference(expected, found)
    raise Differs(
        Difference(
            "a signed record says something else than the rest of the pack",
            where=f"{place}, /payload{pointer}",
            expected=wanted,
            found=actual,
            meaning="the record is of another run, or the pack was changed after it was signed",
        )
    )


def checkpoints(subject: Subject) -> Good:
    """(15) Each checkpoint has its record, which binds its digests and both journals up to it."""
    subject.require_bound()
    written = [c for c in subject.checkpoints if c.action is CheckpointAction.WRITTEN]
    signed = subject.records[1:]
    if len(written) != len(signed):
        raise Differs(
            Difference(
                "checkpoints and signed records do not pair",
                where=RECORDS,
                expected=plural(len(written), "record"),
                found=plural(len(signed), "record"),
                meaning="a record was left out, or signed for a checkpoint that the run has not",
            )
        )
    metrics = _MetricPlaces(subject)
    previous = digest.of_bytes(subject.records[0].data)
    for line, record in zip(written, signed, strict=True):
        expected = binding.checkpoint_statement(
            line,
            run_id=subject.manifest.run_id,
            events=_events_at(subject, line.seq),
            metrics=metrics.before(line),
            previous=previous,
        )
        _require_same(line_place(RECORDS, record.number), expected=expected, found=record.statement)
        previous = digest.of_bytes(record.data)
    return Good(plural(len(signed), "checkpoint"))


def _events_at(subject: Subject, seq: int) -> Place:
    """Return the place of an event; a journal without it has no such place, which differs."""
    if not 1 <= seq <= len(subject.event_records):
        return Place(seq=0, sha256=digest.ZERO)
    line = canonical.encode(subject.event_records[seq - 1])
    return Place(seq=seq, sha256=digest.of_bytes(line))


class _MetricPlaces:
    """Where metrics.jsonl stood when a checkpoint was written."""

    def __init__(self, subject: Subject) -> None:
        self._genesis = digest.of_bytes(subject.read(CONFIG))
        self._heads = iter(subject.metric_heads)
        self._next = next(self._heads, None)
        self._last = Place(seq=0, sha256=self._genesis)

    def before(self, line: CheckpointLine) -> Place:
        """Return it; lines are asked for in order."""
        while self._next is not None and self._next[0] < line.seq:
            self._last = Place(seq=self._next[0], sha256=self._next[1])
            self._next = next(self._heads, None)
        return self._last


def model_signatures(subject: Subject) -> Good:
    """(19) Each checkpoint's folder is signed as OpenSSF Model Signing does, by the sealed key."""
    subject.require_bound()
    key = _model_key(subject)
    signed = 0
    for record in subject.checkpoints:
        path = checkpoint_path(record.step, MODEL_SIGNATURE)
        is_there = subject.has(checkpoint_path(record.step, CHECKPOINT_FILES[0]))
        if record.action is not CheckpointAction.WRITTEN or not is_there:
            continue
        name = path.split("/")[1]
        digests = {file: held.sha256 for file, held in record.files.items()}
        try:
            require_signed(subject.read(path), key, name=name, files=digests)
        except BadSignature as error:
            raise Differs(
                Difference(
                    f"{path}: {error.detail}",
                    where=path,
                    expected=error.expected or "",
                    found=error.found or "",
                    meaning="the model signature was made for another checkpoint, or changed",
                )
            ) from error
        signed += 1
    return Good(plural(signed, "checkpoint"), f"ECDSA P-256, key {key.sha256[:16]}")


def _model_key(subject: Subject) -> ModelPublicKey:
    told = str(subject.seal_statement.get("predicate", {}).get("model_key"))
    with as_difference(SEAL_MODEL_KEY):
        key = ModelPublicKey.from_pem(subject.read(SEAL_MODEL_KEY))
    if key.sha256 != told:
        raise Differs(
            Difference(
                f"{SEAL_MODEL_KEY} is not the key that the seal names",
                where=SEAL_MODEL_KEY,
                expected=told,
                found=key.sha256,
                meaning="the key that should check the model signatures was replaced",
            )
        )
    return key
