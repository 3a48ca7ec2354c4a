"""The table of all runs: a few values of each, searched and sorted, a page at a time.

A row of a sealed run cannot change any more, and reading one means reading a journal. Such rows are
kept in a file of the service's home, from which a restart takes them up again. That file is a
cache: it can be deleted at any time, and what it lacks is read from the runs.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import structlog

from cluster.registry import Registry
from cluster.verdicts import Verdicts
from evidence.errors import IntegrityError, NotFound
from evidence.records import RunState, Split

log = structlog.get_logger()

VERSION = 1
"""Of the rows in the file; rows of another version are read again."""

SortKey = Literal["created", "name", "status", "progress", "loss", "accuracy", "device"]
"""Columns that a table can be sorted by."""

Row = dict[str, Any]
"""One run: see `row_of`."""

_SEARCHED = ("run_id", "name", "recipe", "dataset", "architecture", "status", "device", "node")
_BREATH = 20
"""Runs read before other work of the loop gets its turn."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows, in which order."""

    words: str = ""
    """Each must stand in a name, an id, a recipe, a data set, a status or a place."""
    state: RunState | None = None
    sort: SortKey = "created"
    is_ascending: bool = False
    offset: int = 0
    limit: int = 100


class RunTable:
    """Rows of all runs of a registry.

    Args:
        registry: The runs.
        view: The view of a run, as the API shows it.
        verdicts: What verification found.
        cache: File of the rows of sealed runs; made if it is not there.
    """

    def __init__(
        self,
        registry: Registry,
        view: Callable[[str], Mapping[str, Any]],
        verdicts: Verdicts,
        cache: Path,
    ) -> None:
        self._registry = registry
        self._view = view
        self._verdicts = verdicts
        self._cache = cache
        self._kept: dict[str, Row] = _read(cache)

    async def page(self, query: Query) -> dict[str, Any]:
        """Return `rows`, `total` that match, and `counts` of all runs by state."""
        rows = await self._rows()
        found = [row for row in rows if _matches(row, query)]
        ordered = _ordered(found, query)
        shown = ordered[query.offset : query.offset + query.limit]
        return {
            "rows": [row | {"verification": self._verdicts.of(row["run_id"])} for row in shown],
            "total": len(found),
            "counts": _counts(rows),
        }

    async def _rows(self) -> list[Row]:
        """Return every row, newest first."""
        rows: list[Row] = []
        fresh: list[Row] = []
        for run_id in self._registry.newest_first():
            row = self._kept.get(run_id)
            if row is None:
                row = self._row(run_id)
                if len(fresh) % _BREATH == _BREATH - 1:
                    await asyncio.sleep(0)
                if row is not None and row["sealed"]:
                    fresh.append(row)
            if row is not None:
                rows.append(row)
        self._keep(fresh)
        return rows

    def _row(self, run_id: str) -> Row | None:
        try:
            view = self._view(run_id)
            return row_of(view, self._registry.folder(run_id).summary.course.values)
        except (IntegrityError, NotFound) as error:  # set aside or deleted meanwhile
            log.warning("run_left_out", cause=error.detail)
            return None

    def _keep(self, rows: Iterable[Row]) -> None:
        lines = []
        for row in rows:
            self._kept[row["run_id"]] = row
            lines.append(json.dumps({"v": VERSION, **row}, separators=(",", ":")) + "\n")
        if not lines:
            return
        try:
            with self._cache.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
        except OSError as error:  # a full disk costs time at the next start, no more
            log.warning("row_not_kept", cause=str(error))


def row_of(view: Mapping[str, Any], course: Sequence[float]) -> Row:
    """Return the row of a run: values of its view, and the course of its training loss."""
    train = view["last_metrics"].get(Split.TRAIN) or {}
    test = view["last_metrics"].get(Split.TEST) or {}
    config, placement = view["config"], view["placement"] or {}
    return {
        "run_id": view["run_id"],
        "name": view["name"],
        "recipe": view["recipe"],
        "dataset": config["dataset"],
        "architecture": config["model"]["architecture"],
        "status": str(view["status"]),
        "reason": view["pending_reason"] or view["reason"],
        "step": view["step"],
        "steps": view["steps"],
        "loss": train.get("loss"),
        "accuracy": test.get("accuracy"),
        "samples_s": train.get("samples_s"),
        "course": [float(f"{value:.4g}") for value in course],
        "device": placement.get("device"),
        "node": placement.get("node"),
        **view["timings"],
        "sealed": view["sealed"],
    }


def _matches(row: Row, query: Query) -> bool:
    if query.state is not None and row["status"] != query.state:
        return False
    if not query.words:
        return True
    text = " ".join(str(row[name]) for name in _SEARCHED if row[name] is not None).lower()
    return all(word in text for word in query.words.lower().split())


def _ordered(rows: list[Row], query: Query) -> list[Row]:
    """Return rows in order; those without a value stand last in both directions."""
    if query.sort == "created":
        return rows[::-1] if query.is_ascending else rows
    keyed = [(_key(row, query.sort), row) for row in rows]
    valued = [(key, row) for key, row in keyed if key is not None]
    valued.sort(key=lambda pair: cast("Any", pair[0]), reverse=not query.is_ascending)
    return [row for _, row in valued] + [row for key, row in keyed if key is None]


def _key(row: Row, sort: SortKey) -> float | str | None:
    if sort == "progress":
        return float(row["step"] / row["steps"])
    value: float | str | None = row[sort]
    return value


def _counts(rows: Iterable[Row]) -> dict[str, int]:
    counts = {state.value: 0 for state in RunState}
    for row in rows:
        counts[row["status"]] += 1
    return counts


def _read(cache: Path) -> dict[str, Row]:
    """Return the rows of a file by run; lines that are no rows are passed over."""
    kept: dict[str, Row] = {}
    if not cache.exists():
        return kept
    for line in cache.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.pop("v", None) == VERSION and "run_id" in row:
            kept[row["run_id"]] = row
    return kept
