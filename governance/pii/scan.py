"""A scan of files, in several processes, with what is told of each finding.

A finding that goes over the end of a line, in plain text, is told as one for each line. What was
found is never kept: a report has its place, its type, and a hash of it under a key of the service.
"""

import contextlib
import hmac
import multiprocessing
import os
import secrets
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from evidence import digest
from evidence.errors import ConfigError, DigestMismatch
from governance.pii.detect import ALL, LEAST_SCORE, detect
from governance.pii.entities import Entity
from governance.pii.records import Part, Piece, pieces
from governance.pii.report import MOST_FINDINGS, Place, Report, detectors_sha256

KEY_BYTES = 32
_HASH_DIGITS = 32
_FEW_BYTES = 1 << 20
"""A file up to this size is scanned in this process: starting others takes longer."""

Progress = Callable[[int, int], None]
"""Called with bytes read and bytes in all."""


class Found(NamedTuple):
    """One finding."""

    type: Entity
    record: int
    """0-based element or line."""
    start: int
    """0-based code point in the record."""
    end: int
    """Exclusive."""
    score: float
    hash: str | None
    """HMAC-SHA-256 of what was found, cut to 128 bits; None without a key."""


class Wanted(NamedTuple):
    """What a scan is to tell."""

    least_score: float
    types: frozenset[Entity]
    key: bytes | None


class Scanned(NamedTuple):
    """What was found in one piece."""

    found: list[Found]
    characters: int
    records: int
    bytes: int
    """How much of the file is read by now."""


def _silent(_done: int, _total: int) -> None:
    """Tell nobody."""


def scan(
    path: Path,
    *,
    least_score: float = LEAST_SCORE,
    types: Collection[Entity] = ALL,
    key: bytes | None = None,
    processes: int | None = None,
    progress: Progress = _silent,
) -> Iterator[Scanned]:
    """Yield what is found in a file, piece by piece, in order.

    Args:
        path: The file; see `records` for what it may be.
        least_score: Findings with a lower score are left out, [0, 1].
        types: What is looked for.
        key: For the hashes; None makes none.
        processes: How many at once; None takes one for each CPU, and one alone for a small file.
        progress: Told how far it is.

    Raises:
        InvalidInput: The file is not what its name says.
        OSError: It cannot be read.
    """
    total = path.stat().st_size
    if processes is None:
        processes = 1 if total <= _FEW_BYTES else len(os.sched_getaffinity(0))
    work = _alone if processes == 1 else _together
    wanted = Wanted(least_score, frozenset(types), key)
    for scanned in work(path, wanted, processes):
        progress(scanned.bytes, total)
        yield scanned


def _alone(path: Path, wanted: Wanted, _processes: int) -> Iterator[Scanned]:
    for piece in pieces(path):
        yield scan_piece(piece, wanted)


def _together(path: Path, wanted: Wanted, processes: int) -> Iterator[Scanned]:
    """Scan in processes that hold two pieces each at most, so that memory stays bounded."""
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    waiting: list[Future[Scanned]] = []
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            for piece in pieces(path):
                waiting.append(pool.submit(scan_piece, piece, wanted))
                if len(waiting) > 2 * processes:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for one in waiting:
                one.cancel()


def scan_piece(piece: Piece, wanted: Wanted) -> Scanned:
    """Return what is found in one piece, by record."""
    starts = [part.start for part in piece.parts]
    found = []
    for span in detect(piece.text, least_score=wanted.least_score, types=wanted.types):
        for start, end, part in _by_part(piece, starts, span.start, span.end):
            hashed = _hash(piece.text[start:end], wanted.key) if wanted.key else None
            place = (start - part.start + part.offset, end - part.start + part.offset)
            found.append(Found(span.entity, part.record, *place, span.score, hashed))
    characters = len(piece.text) - (len(piece.parts) - 1)
    return Scanned(found, characters, len(piece.parts), piece.bytes)


def _by_part(
    piece: Piece, starts: list[int], start: int, end: int
) -> Iterator[tuple[int, int, Part]]:
    """Yield the pieces of a span that are in one record each, without the ends of lines."""
    while start < end:
        index = bisect_right(starts, start) - 1
        until = starts[index + 1] if index + 1 < len(starts) else len(piece.text)
        last = min(end, until)
        text = piece.text[start:last]
        begin = start + len(text) - len(text.lstrip()) if last < end or start in starts else start
        stop = start + len(text.rstrip("\r\n\x00")) if last == until else last
        if begin < stop:
            yield begin, stop, piece.parts[index]
        start = last


def _hash(text: str, key: bytes) -> str:
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:_HASH_DIGITS]


def report_on(
    name: str,
    paths: Mapping[str, Path],
    *,
    key: bytes,
    now: str,
    processes: int | None = None,
    progress: Progress = _silent,
) -> Report:
    """Scan the files of a data set and return the report on exactly their bytes.

    Args:
        name: Of the data set.
        paths: Its files, by name.
        key: For the hashes.
        now: The moment, a timestamp.
        processes: As for `scan`.
        progress: Told how far it is in a file.

    Raises:
        InvalidInput: A file is not what its name says.
        DigestMismatch: A file was changed while it was scanned.
        OSError: A file cannot be read.
    """
    scores: dict[Entity, Counter[str]] = {}
    places: list[Place] = []
    characters = records = 0
    before = {file: digest.of_file(path) for file, path in paths.items()}
    for file, path in paths.items():
        for part in scan(path, key=key, processes=processes, progress=progress):
            characters += part.characters
            records += part.records
            for one in part.found:
                scores.setdefault(one.type, Counter())[f"{one.score:.2f}"] += 1
                if len(places) < MOST_FINDINGS:
                    places.append(Place(file=file, **one._asdict()))
    for file, path in paths.items():
        after = digest.of_file(path)
        if after != before[file]:
            raise DigestMismatch(
                f"{file} was changed while it was scanned", expected=before[file], found=after
            )
    return Report(
        dataset=name,
        digests=before,
        detectors=detectors_sha256(),
        scanned_at=now,
        characters=characters,
        records=records,
        scores={entity: dict(counts) for entity, counts in sorted(scores.items())},
        findings=tuple(places),
    )


def read_or_make_key(path: Path) -> bytes:
    """Return the key of the hashes, made in a file that only its owner reads if there is none.

    Raises:
        ConfigError: The file holds no such key.
        StorageFull: There is no space.
        OSError: It cannot be read or made.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_key(path)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path.name}: expected {KEY_BYTES} bytes, found {len(key)}")
    return key


def _make_key(path: Path) -> None:
    """Write a new key, of several processes that do so at once the first."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(KEY_BYTES))
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.close(descriptor)
        temporary.unlink()
