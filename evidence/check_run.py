"""Checks 6, 7, 8, 11 and 12: the story of the run against its config."""

from itertools import pairwise
from typing import Any

from evidence import canonical, derived, seed
from evidence.errors import InvalidInput, NotInstalled, Unavailable
from evidence.pack import CONFIG, DERIVED, DESCRIPTIONS, MODEL, PROVENANCE, RUN
from evidence.packfiles import Config, EndLine, MetricLine, ModelDescription, Provenance, StatusLine
from evidence.records import MOVES, CheckpointAction, RunState, Split
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
)


def story(subject: Subject) -> Good:
    """(6) Config, provenance, seed, data and states agree, and the run came to an end."""
    config = subject.config
    provenance = _provenance(subject)
    if provenance is not None:
        _require_origin(subject, config, provenance)
    moves = _require_legal_moves(subject)
    _require_ordered_attempts(subject)
    if subject.sealed:
        _require_end(subject, moves[-1], provenance)
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
        if event.attempt < latest:
            raise Differs(
                Difference(
                    "an earlier attempt reports after a later one began",
                    where=f"{event_place(event)}, /attempt",
                    expected=f"at least {latest}",
                    found=str(event.attempt),
                    meaning="words of a dead trainer were taken in",
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


def steps(subject: Subject) -> Good:
    """(7) Steps are consecutive and within the config, each checkpoint with one evaluation."""
    config = subject.config
    last = 0
    for metric in (m for m in subject.metrics if m.split is Split.TRAIN):
        _require_next(config, metric, after=last)
        last = metric.step
    evaluated = [m for m in subject.metrics if m.split is Split.TEST]
    written = [c for c in subject.checkpoints if c.action is CheckpointAction.WRITTEN]
    _require_evaluations(subject, [m.step for m in evaluated], [c.step for c in written])
    _require_checkpoints(subject, config, [c.step for c in written])
    if _succeeded(subject):
        _require_all(config, last, subject)
    return Good(f"{plural(last, 'step')}, {plural(len(written), 'checkpoint')}")


def _succeeded(subject: Subject) -> bool:
    final = subject.events[-1]
    return isinstance(final, EndLine) and final.state == RunState.SUCCEEDED


def _require_next(config: Config, metric: MetricLine, *, after: int) -> None:
    """Training metrics are at every multiple of metric_every, and at the last step."""
    due = (after // config.metric_every + 1) * config.metric_every
    expected = min(due, config.steps)
    if after < config.steps and metric.step == expected:
        return
    raise Differs(
        Difference(
            "the steps of the training metrics are not consecutive",
            where=f"{event_place(metric)}, /step",
            expected=str(expected) if after < config.steps else "no further step",
            found=str(metric.step),
            meaning=f"steps are missing, repeated or beyond the {config.steps} of the config",
        )
    )


def _require_evaluations(subject: Subject, evaluated: list[int], written: list[int]) -> None:
    """One evaluation a checkpoint; a run that was cut off may lack the last of either."""
    common = min(len(evaluated), len(written))
    spare = 0 if _succeeded(subject) else 1
    is_paired = evaluated[:common] == written[:common]
    if is_paired and max(len(evaluated), len(written)) - common <= spare:
        return
    step = next(
        (b for a, b in zip(evaluated, written, strict=False) if a != b),
        (written + evaluated)[common] if len(written) > common else evaluated[-1],
    )
    raise Differs(
        Difference(
            f"checkpoints and evaluations do not pair at step {step}",
            where="events.jsonl",
            expected=f"evaluations at {shown(written)}",
            found=f"evaluations at {shown(evaluated)}",
            meaning="a checkpoint has no evaluation, or more than one, or none of its own",
        )
    )


def _require_checkpoints(subject: Subject, config: Config, written: list[int]) -> None:
    """Checkpoints come in order, within the config, and as often as it promises."""
    reached = config.steps if _succeeded(subject) else max(written, default=0)
    promised = {*range(config.checkpoint_every, reached + 1, config.checkpoint_every)}
    if reached == config.steps:
        promised.add(reached)
    missing = sorted(promised - set(written))
    is_ordered = all(a < b for a, b in pairwise(written))
    if is_ordered and not missing and max(written, default=0) <= config.steps:
        return
    raise Differs(
        Difference(
            f"there is no checkpoint at step {missing[0]}"
            if missing
            else "checkpoints are out of order, twice, or beyond the last step",
            where="events.jsonl",
            expected=f"one each {plural(config.checkpoint_every, 'step')}, up to {reached}",
            found=f"checkpoints at {shown(written)}",
            meaning="records of checkpoints were removed, added or moved",
        )
    )


def _require_all(config: Config, last: int, subject: Subject) -> None:
    """A run that succeeded did every step."""
    final = subject.events[-1]
    assert isinstance(final, EndLine)
    for where, found in (("the last training metric", last), ("the end event", final.step)):
        if found != config.steps:
            raise Differs(
                Difference(
                    f"the run succeeded, but {where} is not at the last step",
                    where=event_place(final),
                    expected=f"step {config.steps}",
                    found=f"step {found}",
                    meaning="fewer steps were done than the config asks for",
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
    if subject.is_vector:
        raise NotCheckable("a test vector, whose model is none of the trainers'")
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
