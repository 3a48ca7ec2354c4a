"""What a replay found against what was recorded, and the result of one window. Light, and pure.

What is compared, in the order in which a run makes it: order of the samples and initial weights, as
they were committed to; of each recorded step loss, accuracy and
learning rate; of each evaluation loss and accuracy; of each checkpoint the digests of model,
optimiser and state. All must be equal, to the last bit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator

from evidence.printable import printable
from evidence.records import (
    REPEATABLE,
    Beginning,
    Checkpoint,
    CheckpointRecord,
    Log,
    Metric,
    Record,
    Split,
    TrainingEvent,
)
from trainers.claims import Claims
from trainers.deviation import TensorDifference
from trainers.windows import Window

MAX_DIFFERENCES = 20
"""Most differences that a result lists; all are counted."""

Value = str | float | None
Words = Annotated[str, BeforeValidator(printable)]

_DIGESTS = ("model_digest", "optimizer_digest", "state_digest")
_BEGUN, _TRAINED, _EVALUATED, _SAVED = range(4)
_BEGINNING = tuple(Beginning.model_fields)


class Outcome(StrEnum):
    """What became of a window."""

    EQUAL = "equal"
    MISMATCH = "mismatch"
    CANNOT_TELL = "cannot_tell"


class Fact(Record):
    """One value on both sides."""

    step: int
    """Updates done when it was taken."""
    name: str
    """`train loss`, `test accuracy`, `model_digest`, ..."""
    expected: Value
    """As recorded; null where the pack has none."""
    found: Value
    """As found by the replay; null where it gave none."""

    @property
    def is_equal(self) -> bool:
        """Whether both sides have the same."""
        return self.expected == self.found


class First(Record):
    """Where a replay and a record part."""

    step: int
    """The first step of which something recorded differs."""
    earliest: int
    """The first step that can have caused it; behind it everything recorded was equal."""
    meaning: str
    """What that means, in one sentence."""


class Tensors(Record):
    """How the state at the end of a window differs from the recorded one."""

    first: TensorDifference | None
    """The first one, in the order of files and names; null with a reason."""
    largest: TensorDifference | None
    """The one with the largest deviation."""
    differing: int
    """How many differ."""
    reason: str | None = None
    """Why none is named."""


class WindowResult(Record):
    """One window, done again."""

    window: Window
    outcome: Outcome
    compared: int
    """How many values were held against each other."""
    differing: int
    """How many of them differ."""
    digests: tuple[Fact, ...]
    """Model, optimiser and state at the end of the window."""
    differences: tuple[Fact, ...] = ()
    """The first MAX_DIFFERENCES values that differ."""
    first: First | None = None
    """Where the first difference is; null where there is none."""
    tensors: Tensors | None = None
    """How the states differ; null where they do not."""
    refused: Words | None = None
    """Why no step was done: the window's start is no state of this run."""
    ended: Words | None = None
    """Why the replay ended before the window does."""
    seconds: float
    """What the replay took, from reading the start to the comparison."""
    trained_seconds: float | None
    """What training took, by the pack's metrics: its steps and evaluations."""
    trained_reason: str | None = None
    """Why that is null."""

    @property
    def ratio(self) -> float | None:
        """Seconds of the replay for each second of training."""
        return self.seconds / self.trained_seconds if self.trained_seconds else None


@dataclass
class Found:
    """What a replay reports; the sink of its loop."""

    beginning: Beginning | None = None
    metrics: list[Metric] = field(default_factory=list)
    checkpoints: list[CheckpointRecord] = field(default_factory=list)
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Of the newest checkpoint."""

    def __call__(self, event: TrainingEvent) -> None:
        """Take one event."""
        match event:
            case Beginning():
                self.beginning = event
            case Metric():
                self.metrics.append(event)
            case Checkpoint():
                self.checkpoints.append(event.record)
                self.files = event.files
            case Log():
                return


class _Place(NamedTuple):
    """Where in a run a value is made; sorts in that order."""

    step: int
    kind: int
    order: int
    name: str


def compare(claims: Claims, window: Window, found: Found) -> list[Fact]:
    """Return every value that either side has of a window, in the order of the run."""
    expected = dict(_values(*claims.within(window)))
    actual = dict(_values(found.metrics, found.checkpoints))
    if claims.beginning is not None:
        expected |= _begun(claims.beginning)
        actual |= _begun(found.beginning)
    return [
        Fact(step=at.step, name=at.name, expected=expected.get(at), found=actual.get(at))
        for at in sorted({*expected, *actual})
    ]


def _begun(beginning: Beginning | None) -> dict[_Place, Value]:
    """Return what a run begins with; it is made before the first step of every attempt."""
    return {
        _Place(0, _BEGUN, index, name): getattr(beginning, name, None)
        for index, name in enumerate(_BEGINNING)
    }


def _values(
    metrics: Iterable[Metric], checkpoints: Iterable[CheckpointRecord]
) -> Iterator[tuple[_Place, Value]]:
    for metric in metrics:
        kind = _TRAINED if metric.split is Split.TRAIN else _EVALUATED
        for index, name in enumerate(REPEATABLE):
            place = _Place(metric.step, kind, index, f"{metric.split} {name}")
            if getattr(metric, name) is not None or kind == _TRAINED:
                yield place, getattr(metric, name)
    for record in checkpoints:
        for index, name in enumerate(_DIGESTS):
            yield _Place(record.step, _SAVED, index, name), getattr(record, name)


_OTHER_BEGINNING = (
    "the run was committed to with another order of samples, or other initial weights, than its "
    "seed gives"
)


def first_difference(
    window: Window, facts: Sequence[Fact], *, has_same_kernels: bool
) -> First | None:
    """Return where the two sides part, as narrowly as the records tell it.

    The measures of a step are taken before the step moves the weights. So where they are equal all
    updates before it were; where they differ, the update before it was another, or its samples.
    """
    earliest = window.begin + 1
    for (step, is_digest, is_test), group in groupby(facts, key=_kind):
        part = list(group)
        if step == 0:
            if not all(fact.is_equal for fact in part):
                return First(step=0, earliest=0, meaning=_OTHER_BEGINNING)
            continue
        if not all(fact.is_equal for fact in part):
            begins = step == window.begin + 1 and not is_digest
            meaning = _meaning(facts, is_digest=is_digest, is_test=is_test, window=window)
            if not has_same_kernels:
                meaning = "other kernels round otherwise; whether more than that differs is open"
            return First(step=step, earliest=step if begins else earliest, meaning=meaning)
        if is_digest:
            earliest = step + 1
        elif not is_test:
            earliest = max(earliest, step)
    return None


def _kind(fact: Fact) -> tuple[int, bool, bool]:
    return fact.step, fact.name in _DIGESTS, fact.name.startswith(Split.TEST)


def _meaning(facts: Sequence[Fact], *, is_digest: bool, is_test: bool, window: Window) -> str:
    step = next(fact.step for fact in facts if not fact.is_equal)
    if all(fact.is_equal for fact in facts if fact.name in _DIGESTS):
        return "the states are those that were recorded; what was reported of them is not"
    if is_digest:
        return f"what was saved after step {step} is not what the steps before it lead to"
    if is_test:
        return f"what was evaluated after step {step} is not what the steps before it lead to"
    if step > window.begin + 1:
        return "the step before it moved the weights otherwise, or it read other samples"
    if window.begin == 0:
        return "the run did not begin with the weights of its seed, or it read other samples"
    return "it read other samples than the seed gives, or reported something else"


def end_digests(window: Window, facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Return the digests at the end of a window."""
    return tuple(fact for fact in facts if fact.step == window.end and fact.name in _DIGESTS)


def trained_seconds(claims: Claims, window: Window) -> tuple[float | None, str | None]:
    """Return what training a window took by its metrics, or None and why they cannot say."""
    metrics, _ = claims.within(window)
    told = sum(one.split is Split.TRAIN for one in metrics)
    if told < window.steps:
        return None, f"{told} of {window.steps} steps have a metric"
    times = [one.step_ms for one in metrics]
    if None in times:
        return None, "a metric has no step_ms"
    return sum(time for time in times if time is not None) / 1000, None
