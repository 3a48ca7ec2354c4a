"""What follows from other files of a run, as bytes: recomputed by verification, byte for byte.

`metrics.jsonl` follows from events.jsonl; `run.json`, `loss_curve.csv` and `tinygrad.jsonl` follow
from config, provenance and journals. Nothing here adds a fact.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from evidence import canonical, journal
from evidence.errors import BrokenChain
from evidence.journal import Journal, Line
from evidence.pack import LOSS_CURVE, RUN, TINYGRAD, VERSION
from evidence.records import CheckpointAction, EventKind, Split

CURVE_COLUMNS = ("seq", "step", "split", "loss", "accuracy", "lr")
"""Columns of loss_curve.csv."""

TREND_RULE = "last below first and least-squares slope below 0; null below 3 values"
"""What `trend` calls decreasing."""

_MIN_TREND_VALUES = 3
_MAX_FLOAT_TERM = 1e100
"""Far beyond any loss in float32, and far below where a sum of such terms could overflow."""

_JOURNAL_FIELDS = frozenset({"v", "prev"})


def metric_line(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record that metrics.jsonl must hold for a metric event, to append there."""
    return {name: value for name, value in event.items() if name not in _JOURNAL_FIELDS}


def complete_metrics(events: Path, metrics: Journal, *, genesis: str) -> int:
    """Append the metric events that metrics.jsonl lacks after a crash; return how many.

    Args:
        events: events.jsonl, whole (`journal.recover` first).
        metrics: The open writer of metrics.jsonl.
        genesis: Genesis digest of events.jsonl.

    Raises:
        BrokenChain: events.jsonl is damaged, or metrics.jsonl holds a line that events.jsonl has
            not (a crash of the machine can lose the newer file first).
        StorageFull: There is no space.
    """
    last = metrics.last_seq
    known = last == 0
    added = 0
    for line in journal.read(events, genesis=genesis):
        if line.record["kind"] != EventKind.METRIC:
            continue
        known = known or line.record["seq"] == last
        if line.record["seq"] > last:
            metrics.append(metric_line(line.record))
            added += 1
    if not known:
        raise BrokenChain(
            f"{metrics.path.name}: its last line has seq {last}, which is no metric of "
            f"{events.name}",
            cure=f"delete {metrics.path.name}; recovery writes it again from {events.name}",
        )
    metrics.sync()
    return added


@dataclass(frozen=True, slots=True)
class Sources:
    """What the derived files are computed from, decoded."""

    run_id: str
    config: Mapping[str, Any]
    provenance: Mapping[str, Any] | None
    """None for a run that was cancelled before its first attempt."""
    events: Sequence[Mapping[str, Any]]
    """The lines of events.jsonl."""

    @property
    def metrics(self) -> Iterable[Mapping[str, Any]]:
        """The metric events, in order."""
        return (event for event in self.events if event["kind"] == EventKind.METRIC)


def files(sources: Sources) -> dict[str, bytes]:
    """Return the bytes of every derived file, by path within the pack."""
    return {
        RUN: run_json(sources),
        LOSS_CURVE: loss_curve_csv(sources),
        TINYGRAD: tinygrad_jsonl(sources),
    }


def run_json(sources: Sources) -> bytes:
    """Return run.json: the run in one object, canonical JSON."""
    provenance = sources.provenance or {}
    dataset = provenance.get("dataset")
    last = sources.events[-1]
    return canonical.encode(
        {
            "v": VERSION,
            "run_id": sources.run_id,
            "state": last.get("state"),
            "steps": last.get("step"),
            "hyperparameters": sources.config,
            "seed": provenance.get("seed"),
            "nonce": provenance.get("nonce"),
            "dataset": dataset and {"name": dataset["name"], "files": dataset["files"]},
            "checkpoints": _checkpoints(sources.events),
            "final": _final(sources.metrics),
            "trend": trend(evaluation_losses(sources.metrics)),
        }
    )


def _checkpoints(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each checkpoint with its digests and whether its bytes were pruned, in step order."""
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["kind"] == EventKind.CHECKPOINT:
            kept = ("step", "files", "model_digest", "optimizer_digest", "state_digest")
            pruned = event["action"] == CheckpointAction.PRUNED
            found[event["step"]] = {**{name: event[name] for name in kept}, "pruned": pruned}
    return [found[step] for step in sorted(found)]


def _final(metrics: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the last metric of each split, or null."""
    last: dict[str, Any] = {Split.TRAIN.value: None, Split.TEST.value: None}
    for metric in metrics:
        last[metric["split"]] = {name: metric[name] for name in ("step", "loss", "accuracy", "lr")}
    return last


def evaluation_losses(metrics: Iterable[Mapping[str, Any]]) -> list[float | None]:
    """Return the loss of each evaluation on the test split, in order."""
    return [metric["loss"] for metric in metrics if metric["split"] == Split.TEST]


def loss_curve_csv(sources: Sources) -> bytes:
    """Return loss_curve.csv: a header and one row a metric; an absent value is empty."""
    rows = [CURVE_COLUMNS, *(_row(metric) for metric in sources.metrics)]
    return "".join(",".join(row) + "\n" for row in rows).encode()


def _row(metric: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_cell(metric[name]) for name in CURVE_COLUMNS)


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical.encode(value).decode()


def tinygrad_jsonl(sources: Sources) -> bytes:
    """Return tinygrad.jsonl: step, step_ms, tokens_s and loss of each training metric."""
    names = ("step", "step_ms", "tokens_s", "loss")
    return b"".join(
        canonical.encode({name: metric[name] for name in names}) + b"\n"
        for metric in sources.metrics
        if metric["split"] == Split.TRAIN
    )


def trend(values: Sequence[float | None]) -> dict[str, Any]:
    """Return whether losses decrease: `{decreasing, rule, values}`.

    Absent values stay in `values` and are left out of the rule; the slope is over their positions.
    """
    points = [(i, value) for i, value in enumerate(values) if value is not None]
    decreasing = None
    if len(points) >= _MIN_TREND_VALUES:
        decreasing = points[-1][1] < points[0][1] and _falls(points)
    return {"decreasing": decreasing, "rule": TREND_RULE, "values": list(values)}


def _falls(points: Sequence[tuple[int, float]]) -> bool:
    """Return whether the least-squares slope is below 0: the sign of n^2 times the covariance.

    Beyond _MAX_FLOAT_TERM a sum of floats could overflow, to infinity or to no number at all, so
    there it is exact.
    """
    total = sum(x for x, _ in points)
    weights = [len(points) * x - total for x, _ in points]
    if all(abs(y) <= _MAX_FLOAT_TERM for _, y in points):
        return math.fsum(w * y for w, (_, y) in zip(weights, points, strict=True)) < 0
    return sum(w * Fraction(y) for w, (_, y) in zip(weights, points, strict=True)) < 0


def read_sources(
    *, run_id: str, config: bytes, provenance: bytes | None, events: Iterable[Line]
) -> Sources:
    """Return the sources of the derived files from the bytes of a run's files.

    Raises:
        InvalidInput: A file is not a JSON object.
        BrokenChain: events.jsonl is damaged.
    """
    return Sources(
        run_id=run_id,
        config=canonical.decode_object(config),
        provenance=None if provenance is None else canonical.decode_object(provenance),
        events=[line.record for line in events],
    )
