"""Checks 6, 8, 11 and 12: the story of the run against its config."""

from datetime import timedelta
from typing import Any

from evidence import canonical, derived, seed
from evidence.clock import moment
from evidence.errors import InvalidInput, NotInstalled, Unavailable
from evidence.pack import (
    CONFIG,
    DERIVED,
    DESCRIPTIONS,
    MAX_DOCUMENT_BYTES,
    MODEL,
    PROVENANCE,
    RUN,
)
from evidence.packfiles import Config, EndLine, MetricLine, ModelDescription, Provenance, StatusLine
from evidence.records import MOVES, RunState, Split
from evidence.schedule import learning_rate
from evidence.subject import (
    Difference,
    Differs,
    Good,
    NotCheckable,
    Subject,
    event_place,
    first_difference,
    line_place,
    plural,
    shown,
    too_large,
)


def story(subject: Subject) -> Good:
    """(6) Config, provenance, seed, data and states agree, and the run came to an end."""
    config = subject.config
    provenance = _provenance(subject)
    if provenance is not None:
        _require_origin(subject, config, provenance)
        subject.seed = provenance.seed
    moves = _require_legal_moves(subject)
    _require_ordered_attempts(subject)
    if subject.sealed:
        _require_end(subject, moves[-1], provenance)
        if provenance is not None:
            _require_attempts(subject, provenance)
            _require_times(moves, provenance)
    return Good(plural(len(moves), "state"))


def _provenance(subject: Subject) -> Provenance | None:
    """Return provenance.json, or None where the run was cancelled before it had one."""
    if any(subject.has(path) for path in DESCRIPTIONS):
        subject.read_as(MODEL, ModelDescription)
        return subject.provenance
    if subject.metrics or subject.checkpoints:
        raise Differs(
            Difference(
                "there are metrics or checkpoints, but neither model.json nor provenance.json",
                where=PROVENANCE,
                expected="a file",
                found="none",
                meaning="nobody can say what trained here, on which data",
            )
        )
    return None


def _require_origin(subject: Subject, config: Config, provenance: Provenance) -> None:
    """Name, data set and seed are one run's."""
    if subject.sealed:
        _require_equal(
            f"{PROVENANCE}, /run_id",
            expected=subject.manifest.run_id,
            found=provenance.run_id,
            meaning="the files are of two runs",
        )
    _require_equal(
        f"{PROVENANCE}, /dataset/name",
        expected=config.dataset,
        found=provenance.dataset.name,
        meaning="the run used another data set than its config asks for",
    )
    _require_equal(
        f"{PROVENANCE}, /nonce",
        expected=str(config.nonce),
        found=str(provenance.nonce),
        meaning="the nonce is not the one that the client asked for",
    )
    _require_equal(
        f"{PROVENANCE}, /seed",
        expected=seed.derive(
            subject.read_object(CONFIG), provenance.dataset.files, provenance.nonce
        ),
        found=provenance.seed,
        meaning="the seed does not follow from config and data: one of the three was changed",
    )


def _require_equal(where: str, *, expected: str, found: str, meaning: str) -> None:
    if expected != found:
        raise Differs(
            Difference(
                f"{where.partition(', ')[0]} does not agree with the rest of the pack",
                where=where,
                expected=expected,
                found=found,
                meaning=meaning,
            )
        )


def _require_legal_moves(subject: Subject) -> list[StatusLine]:
    moves = [event for event in subject.events if isinstance(event, StatusLine)]
    if not moves or subject.events[0] is not moves[0]:
        raise Differs(
            Difference(
                "the run does not begin with a state",
                where=line_place("events.jsonl", 1),
                expected="status queued",
                found=subject.events[0].kind.value,
                meaning="the first events of the run are not there",
            )
        )
    state: str | None = None
    for move in moves:
        allowed = _allowed_after(state)
        if move.previous != state or move.state not in allowed:
            raise Differs(
                Difference(
                    f"a run that is {state or 'new'} cannot become {move.state}",
                    where=event_place(move),
                    expected=f"from {state or 'nothing'} to {' or '.join(allowed) or 'nothing'}",
                    found=f"from {move.previous or 'nothing'} to {move.state}",
                    meaning="the states of the run were not written by its manager",
                )
            )
        state = move.state
    return moves


def _allowed_after(state: str | None) -> list[str]:
    if state is None:
        return [RunState.QUEUED.value]
    return sorted(after.value for after in MOVES[RunState(state)])


def _require_ordered_attempts(subject: Subject) -> None:
    latest = 0
    for event in subject.events:
        if event.attempt not in (latest, latest + 1):
            raise Differs(
                Difference(
                    "the attempts do not follow one another",
                    where=f"{event_place(event)}, /attempt",
                    expected=f"{latest} or {latest + 1}",
                    found=str(event.attempt),
                    meaning="words of a dead trainer were taken in, or events were removed",
                )
            )
        latest = event.attempt


def _require_end(subject: Subject, last: StatusLine, provenance: Provenance | None) -> None:
    """The last event is the one `end`, and everyone agrees on the final state."""
    ends = [event for event in subject.events if isinstance(event, EndLine)]
    final = subject.events[-1]
    if not isinstance(final, EndLine) or len(ends) != 1:
        raise Differs(
            Difference(
                "the journal does not end with one end event",
                where=event_place(final),
                expected="end, once",
                found=f"{final.kind.value}; {plural(len(ends), 'end event')} in all",
                meaning="the journal was cut, or events were added after the end",
            )
        )
    meaning = "the records disagree on how the run ended"
    _require_equal(
        f"{event_place(final)}, /state", expected=last.state, found=final.state, meaning=meaning
    )
    if not RunState(last.state).is_final:
        raise Differs(
            Difference(
                f"the run is {last.state}, which is not final",
                where=event_place(last),
                expected="succeeded or cancelled",
                found=last.state,
                meaning="a run that may go on was sealed",
            )
        )
    if provenance is not None:
        _require_equal(
            f"{PROVENANCE}, /state", expected=last.state, found=provenance.state, meaning=meaning
        )
        _require_equal(
            f"{PROVENANCE}, /ended",
            expected="a timestamp",
            found="null" if provenance.ended is None else "a timestamp",
            meaning=meaning,
        )


def _require_attempts(subject: Subject, provenance: Provenance) -> None:
    """Provenance tells attempts of the journal, in order, and each one that measured something.

    Not each one of the journal: a trainer that died before it described itself told nothing.
    """
    told = [attempt.attempt for attempt in provenance.attempts]
    known = {event.attempt for event in subject.events}
    reported = {event.attempt for event in (*subject.metrics, *subject.checkpoints)}
    if told == sorted(set(told)) and reported <= set(told) <= known - {0}:
        return
    raise Differs(
        Difference(
            f"{PROVENANCE} tells other attempts than the journal",
            where=f"{PROVENANCE}, /attempts",
            expected=f"of the attempts up to {max(known)}, in order, "
            f"at least {shown(sorted(reported))}",
            found=shown(told),
            meaning="an attempt was added to the provenance, or taken out of it",
        )
    )


_TIMES_APART = timedelta(minutes=1)
"""Most that `started` may be before, and `ended` behind, the move that it tells of."""


def _require_times(moves: list[StatusLine], provenance: Provenance) -> None:
    """`started` is when the run first ran, `ended` when it came to its last state.

    A service writes the very timestamps of those moves. So `ended` is not before `started`, unless
    the clock of the journal went back, on which nothing rests.
    """
    first = next((move for move in moves if move.state == RunState.RUNNING), None)
    if first is None:
        raise Differs(
            Difference(
                "a run that never ran has a provenance",
                where=PROVENANCE,
                expected="no file",
                found="a file",
                meaning="the provenance is of another run, or the moves of this one were removed",
            )
        )
    assert provenance.ended is not None, "the story has an end"
    _require_beside("started", provenance.started, first, ahead=-_TIMES_APART)
    _require_beside("ended", provenance.ended, moves[-1], ahead=_TIMES_APART)


def _require_beside(name: str, stamp: str, move: StatusLine, *, ahead: timedelta) -> None:
    """Raise unless a time of the provenance is that of a move, or off by at most `ahead`."""
    off = moment(stamp) - moment(move.timestamp)
    if min(timedelta(0), ahead) <= off <= max(timedelta(0), ahead):
        return
    raise Differs(
        Difference(
            f"`{name}` of {PROVENANCE} does not agree with the moves of the run",
            where=f"{PROVENANCE}, /{name}",
            expected=f"{move.timestamp}, when it was {move.state}",
            found=stamp,
            meaning="the provenance tells another time than the journal",
            see_too=event_place(move),
        )
    )


def learning_rates(subject: Subject) -> Good:
    """(8) Each learning rate is exactly the schedule's."""
    config = subject.config
    count = 0
    for metric in subject.metrics:
        if metric.split is Split.TEST and metric.lr is None:
            continue
        _require_rate(config, metric)
        count += 1
    return Good(plural(count, "step"))


def _require_rate(config: Config, metric: MetricLine) -> None:
    expected = None
    if 1 <= metric.step <= config.steps:
        expected = learning_rate(
            config.schedule, peak=config.optimizer.lr, step=metric.step, steps=config.steps
        )
    if expected is None or metric.lr != expected:
        raise Differs(
            Difference(
                f"the learning rate of step {metric.step} is not the schedule's",
                where=f"{event_place(metric)}, /lr",
                expected="no such step" if expected is None else shown(expected),
                found=shown(metric.lr),
                meaning="the run did not train with the learning rate of its config",
            )
        )


def derived_files(subject: Subject) -> Good:
    """(11) run.json, loss_curve.csv and tinygrad.jsonl are what the journals give."""
    subject.require_sealed()
    sources = derived.Sources(
        run_id=subject.manifest.run_id,
        config=subject.read_object(CONFIG),
        provenance=subject.read_object(PROVENANCE) if subject.has(PROVENANCE) else None,
        events=subject.event_records,
    )
    for path, expected in derived.files(sources).items():
        size = subject.require_file(path)
        if size > len(expected) + MAX_DOCUMENT_BYTES:
            raise too_large(path, expected=f"{len(expected)} bytes", size=size)
        found = subject.read(path)
        if found != expected:
            raise Differs(_derived_difference(subject, path, expected, found))
    return Good(plural(len(DERIVED), "file"))


def _derived_difference(subject: Subject, path: str, expected: bytes, found: bytes) -> Difference:
    detail = f"{path} is not what config, provenance and journals give"
    meaning = "the summary tells something that the records do not"
    if path == RUN:
        recomputed = canonical.decode(expected)
        pointer, wanted, actual = first_difference(recomputed, subject.read_object(path))
        return Difference(detail, f"{path}, {pointer}", wanted, actual, meaning)
    wanted_lines, found_lines = expected.split(b"\n"), found.split(b"\n")
    pairs = zip(wanted_lines, found_lines, strict=False)
    common = min(len(wanted_lines), len(found_lines))
    i = next((i for i, (a, b) in enumerate(pairs) if a != b), common)
    return Difference(
        detail, line_place(path, i + 1), _text(wanted_lines, i), _text(found_lines, i), meaning
    )


def _text(lines: list[bytes], i: int) -> str:
    return lines[i][:200].decode(errors="backslashreplace") if i < len(lines) else "no such line"


NEEDS_TRAINERS = "needs python -m trainers; zpctl verify runs it"
"""Why `python -m evidence` does not make check 12."""


def rebuilt_model(subject: Subject) -> Good:
    """(12) model.json is the model that config.json describes."""
    if subject.describe_model is None:
        raise NotCheckable(NEEDS_TRAINERS)
    if not subject.has(MODEL):
        raise NotCheckable("the run was cancelled before it had a model")
    try:
        expected: dict[str, Any] = subject.describe_model(subject.read_object(CONFIG))
    except (NotInstalled, Unavailable) as error:
        raise NotCheckable(error.detail) from error
    except InvalidInput as error:
        raise Differs(_refused_config(error)) from error
    found = subject.read_object(MODEL)
    if expected != found:
        pointer, wanted, actual = first_difference(expected, found)
        raise Differs(
            Difference(
                "model.json is not the model of config.json",
                where=f"{MODEL}, {pointer}",
                expected=wanted,
                found=actual,
                meaning="another model was trained than the config describes",
            )
        )
    return Good(plural(len(subject.model.tensors), "tensor"))


def _refused_config(error: InvalidInput) -> Difference:
    return Difference(
        f"the trainers take no such config: {error.detail}",
        where=f"{CONFIG}, {error.field}" if error.field else CONFIG,
        expected=error.expected or "",
        found=error.found or "",
        meaning="no run of this service had this config, so its model cannot be the one described",
    )
