"""Checks 4 and 5: the two journals, line by line."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO

from evidence import digest, journal
from evidence.derived import metric_line
from evidence.errors import BrokenChain, IntegrityError
from evidence.journal import Line
from evidence.pack import CONFIG, EVENTS, METRICS
from evidence.packfiles import parse_event
from evidence.records import EventKind
from evidence.subject import (
    Difference,
    Differs,
    Good,
    Subject,
    as_difference,
    first_difference,
    line_place,
    plural,
    shown,
)

_CHUNK_BYTES = 1 << 20


def events(subject: Subject) -> Good:
    """(4) events.jsonl is an unbroken chain from config.json on, of events of the format."""
    parsed, records = [], []
    for line in _lines(subject, EVENTS):
        place = line_place(EVENTS, line.number)
        if line.record["seq"] != line.number:
            raise Differs(
                Difference(
                    "the sequence numbers have a gap",
                    where=f"{place}, /seq",
                    expected=str(line.number),
                    found=str(line.record["seq"]),
                    meaning="an event was left out when the journal was written",
                )
            )
        with as_difference(place):
            parsed.append(parse_event(line.data))
        records.append(line.record)
    if not parsed:
        raise Differs(
            Difference("events.jsonl is empty", where=EVENTS, expected="a line", found="none")
        )
    subject.events, subject.event_records = parsed, records
    return Good(plural(len(parsed), "line"))


def metrics(subject: Subject) -> Good:
    """(5) metrics.jsonl is an unbroken chain and holds exactly the metric events."""
    expected = {
        record["seq"]: record
        for record in subject.event_records
        if record["kind"] == EventKind.METRIC
    }
    try:
        lines = list(_lines(subject, METRICS))
    except Differs as error:
        raise Differs(_with_witness(subject, error.difference, expected)) from error
    remaining = iter(expected.values())
    for line in lines:
        _require_event(line, next(remaining, None))
    subject.metric_heads = [(line.record["seq"], line.sha256) for line in lines]
    left = next(remaining, None)
    if left is not None and subject.sealed:
        raise Differs(
            Difference(
                "a metric event is missing from metrics.jsonl",
                where=line_place(METRICS, len(lines) + 1),
                expected=f"the metric of events.jsonl, seq {left['seq']}",
                found="the end of the file",
                meaning="lines were cut from the end of metrics.jsonl",
            )
        )
    return Good(plural(len(lines), "line"))


def _require_event(line: Line, event: dict[str, Any] | None) -> None:
    place = line_place(METRICS, line.number)
    if event is None:
        raise Differs(
            Difference(
                "metrics.jsonl has a line that is no metric event",
                where=place,
                expected="the end of the file",
                found=f"a line with seq {line.record['seq']}",
                meaning="a metric was added that the run did not report",
            )
        )
    wanted, found = metric_line(event), metric_line(line.record)
    if wanted != found:
        pointer, expected, actual = first_difference(wanted, found)
        raise Differs(
            Difference(
                "the line differs from the metric event",
                where=f"{place}, {pointer}",
                expected=expected,
                found=actual,
                meaning="metrics.jsonl and events.jsonl tell different metrics; one was rewritten",
                see_too=f"events.jsonl, seq {event['seq']}",
            )
        )


def _with_witness(
    subject: Subject, difference: Difference, events: dict[int, dict[str, Any]]
) -> Difference:
    """Add what events.jsonl tells about the line at fault, where it tells something else."""
    number = _line_number(difference.where)
    if number < 1:
        return difference
    try:
        data = _line_at(subject, number)
        record = journal.parse_line(data, number, name=METRICS).record
    except (BrokenChain, IntegrityError):
        return difference
    event = events.get(record.get("seq", 0))
    if event is None or metric_line(event) == metric_line(record):
        return difference
    pointer, expected, found = first_difference(metric_line(event), metric_line(record))
    told = f"events.jsonl, seq {event['seq']} has {pointer[1:]} {expected}; this line has {found}"
    return replace(difference, see_too=told)


def _line_number(where: str) -> int:
    digits = where.partition(", line ")[2].partition("/")[0].partition(",")[0]
    return int(digits) if digits.isdecimal() else 0


def _line_at(subject: Subject, number: int) -> bytes:
    """Return a line of metrics.jsonl, or nothing where there is none of that number."""
    with subject.pack.open(METRICS) as file:
        lines = iter(lambda: file.readline(journal.MAX_LINE_BYTES + 2), b"")
        return next(islice(lines, number - 1, None), b"").removesuffix(b"\n")


def _lines(subject: Subject, path: str) -> Iterator[Line]:
    """Yield the lines of a journal; the check fails at the first that does not follow.

    It is read as a stream, so that a journal that is no journal costs no memory.
    """
    size = subject.require_file(path)
    genesis = digest.of_bytes(subject.read(CONFIG))
    total, end = _measure(subject, path)
    if not subject.sealed:  # it may grow just now: what has no end yet is no line
        size = end
    number = 0
    try:
        with subject.pack.open(path) as file:
            for line in journal.read_stream(_Head(file, size), name=path, genesis=genesis):
                number = line.number
                yield line
    except BrokenChain as error:
        raise Differs(_broken(error, path, number + 1, total)) from error


def _measure(subject: Subject, path: str) -> tuple[int, int]:
    """Return how many lines a journal has, and where the last of them ends, in bytes."""
    total = end = offset = 0
    left = subject.pack.files[path]
    with subject.pack.open(path) as file:
        while left and (data := file.read(min(left, _CHUNK_BYTES))):
            total += data.count(b"\n")
            last = data.rfind(b"\n")
            end = end if last < 0 else offset + last + 1
            offset += len(data)
            left -= len(data)
    return total, end


class _Head:
    """The lines of a file up to a byte."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def readline(self, limit: int) -> bytes:
        data = self._file.readline(min(limit, self._left))
        self._left -= len(data)
        return data


def _broken(error: BrokenChain, path: str, number: int, total: int) -> Difference:
    """Return where a chain breaks: line `number` is the first that cannot be accepted."""
    if error.expected is None:
        return Difference(
            error.detail,
            where=line_place(path, number, total),
            meaning="the line was not written by this service, or was changed",
        )
    stored, actual = error.found or "", error.expected
    if number == 1:
        return Difference(
            "line 1 does not follow from config.json",
            where=line_place(path, 1, total),
            expected=f"{actual}, the SHA-256 of config.json",
            found=shown(stored),
            meaning="the journal belongs to another config, or its first lines were removed",
        )
    return Difference(
        f"SHA-256 of line {number - 1}: line {number} stores another",
        where=line_place(path, number - 1, total),
        expected=stored,
        found=actual,
        meaning=f"line {number - 1} was changed after line {number} was written, or a line "
        "between them was removed, added or moved",
    )
