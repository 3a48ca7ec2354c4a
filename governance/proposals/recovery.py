"""Opening the queue: what its files hold, and where they are damaged, what copies and the log hold.

1  the files, as far as their records follow each other
2  from there on the newest good copy, and others where it does not reach
3  from there on the signed log, which has every record that was acknowledged
4  what a crash left of a record that was not acknowledged is cut

What was damaged is set aside, never deleted, and the queue is written anew as a whole, so that a
crash on the way leads here again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evidence import files
from evidence.errors import BadSignature, BrokenChain, IntegrityError
from evidence.signing import PublicKey
from governance.proposals import backups
from governance.proposals.record import Signed, read_chain

CURRENT = "proposals.jsonl"
"""The file that is appended to."""

_ROTATED = re.compile(r"proposals-[0-9]{8}\.jsonl")

Keys = Mapping[str, PublicKey]


@dataclass(slots=True)
class Recovery:
    """What was found damaged, and where each record came from."""

    cause: str
    """What was wrong first."""
    set_aside: list[str] = field(default_factory=list)
    """Names under which damaged files are kept."""
    from_files: int = 0
    """Records that the files still had."""
    from_backups: int = 0
    from_log: int = 0
    cut_bytes: int = 0
    """Bytes of records that were never acknowledged."""

    def as_json(self) -> dict[str, Any]:
        """Return it for the journal and for readers."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Opened:
    """A queue that was read."""

    records: list[Signed]
    segments: list[tuple[Path, int]]
    """The files in order, each with the number of its first record."""
    recovery: Recovery | None


def rotated_name(first: int) -> str:
    """Return the name of a file that is full, by the number of its first record."""
    return f"proposals-{first:08}.jsonl"


def open_queue(folder: Path, keys: Keys, logged: Sequence[bytes], *, stamp: str) -> Opened:
    """Return the records of a queue, repaired where its files are damaged.

    Args:
        folder: Its folder.
        keys: Keys of the service, by id.
        logged: Records of the queue among the entries of the log, in order.
        stamp: Goes into the names of what is set aside.

    Raises:
        IntegrityError: Records are missing that no file, copy or log has.
        StorageFull: There is no space to repair it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files.sweep(folder)
    segments = _segments(folder)
    records, bounds, cause = _read_files(segments, keys)
    kept = len(records)
    known = {record.envelope for record in records}
    if cause is None and not all(entry in known for entry in logged):
        cause = "records that the log has are missing from the files"
    copied = [] if cause is None else list(_from_backups(folder, keys, records))
    records += copied
    from_log = list(_from_log(logged, keys, records))
    records += from_log
    if cause is None:
        return Opened(records, bounds, None)
    recovery = Recovery(
        cause=cause,
        from_files=kept,
        from_backups=len(copied),
        from_log=len(from_log),
    )
    return Opened(records, _rewrite(folder, segments, bounds, records, recovery, stamp), recovery)


def _segments(folder: Path) -> list[Path]:
    full = sorted(path for path in folder.iterdir() if _ROTATED.fullmatch(path.name))
    current = folder / CURRENT
    return [*full, current] if current.exists() else full


def _read_files(
    segments: Sequence[Path], keys: Keys
) -> tuple[list[Signed], list[tuple[Path, int]], str | None]:
    """Return the records up to the first damage, the files wholly before it, and the damage."""
    records: list[Signed] = []
    bounds: list[tuple[Path, int]] = []
    for path in segments:
        begun = len(records)
        *lines, tail = path.read_bytes().split(b"\n")
        try:
            records.extend(_each(lines, keys, records))
        except _Stopped as stopped:
            records += stopped.good
            return records, bounds, f"{path.name}, line {len(records) - begun + 1}: {stopped.why}"
        if tail:
            return records, bounds, f"{path.name}: the last line has no end"
        bounds.append((path, begun + 1))
    return records, bounds, None


class _Stopped(Exception):
    """Reading came to a record that is damaged."""

    def __init__(self, good: list[Signed], why: str) -> None:
        super().__init__(why)
        self.good = good
        self.why = why


def _each(lines: Iterable[bytes], keys: Keys, before: Sequence[Signed]) -> list[Signed]:
    good: list[Signed] = []
    try:
        for record in read_chain(lines, keys, after=before):
            good.append(record)  # noqa: PERF402 - what was read stays when the next one is damaged
    except (BadSignature, BrokenChain) as error:
        raise _Stopped(good, error.detail) from error
    return good


def _from_backups(folder: Path, keys: Keys, records: Sequence[Signed]) -> Iterator[Signed]:
    """Yield records behind those that are known, from good copies, the newest first."""
    known = list(records)
    copies = backups.listed(folder)
    while True:
        reaching = [one for one in copies if one.first <= len(known) + 1 <= one.last]
        found: list[Signed] = []
        for one in reaching:
            lines = list(backups.lines_of(one))[len(known) + 1 - one.first :]
            try:
                found = _each(lines, keys, known)
            except _Stopped:
                continue  # a copy that is damaged too is no good copy
            break
        if not found:
            return
        yield from found
        known += found


def _from_log(logged: Sequence[bytes], keys: Keys, records: Sequence[Signed]) -> Iterator[Signed]:
    """Yield the records of the log behind those that are known.

    Raises:
        IntegrityError: The log has others than these: one was forged, or is another service's.
    """
    known = {record.envelope for record in records}
    missing = [entry for entry in logged if entry not in known]
    try:
        yield from read_chain(missing, keys, after=records)
    except BrokenChain as error:
        raise IntegrityError(
            f"the queue of proposals is not the one in the signed log, and cannot be restored: "
            f"{error.detail}",
            cure="bring back the folder of the queue that belongs to this log",
        ) from error


def _rewrite(
    folder: Path,
    segments: Sequence[Path],
    bounds: Sequence[tuple[Path, int]],
    records: Sequence[Signed],
    recovery: Recovery,
    stamp: str,
) -> list[tuple[Path, int]]:
    """Write what stands behind the good full files into the current one; set the others aside."""
    current = folder / CURRENT
    good = [bound for bound in bounds if bound[0] != current]
    damaged = [path for path in segments if path not in {path for path, _ in good}]
    first = 1 + sum(path.read_bytes().count(b"\n") for path, _ in good)
    data = b"".join(record.envelope + b"\n" for record in records[first - 1 :])
    for path in damaged:
        before = path.read_bytes()
        if data.startswith(before):
            continue  # nothing of it is wrong: it only lacks what follows
        if before.startswith(data):
            recovery.cut_bytes += len(before) - len(data)
        aside = folder / f"{path.name}.damaged-{stamp}"
        files.write_atomic(aside, before)
        recovery.set_aside.append(aside.name)
    files.write_atomic(current, data)
    for path in damaged:
        if path != current:
            path.unlink()
    files.fsync_folder(folder)
    return [*good, (current, first)]
