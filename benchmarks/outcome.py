"""What a benchmark gives: rows of ours against a peer, and the file and tables made from them."""

import json
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evidence import clock
from evidence.errors import InvalidInput
from evidence.files import write_atomic
from trainers.provenance import REPOSITORY, describe_code
from trainers.runtime import cpu_model

RESULTS = REPOSITORY / "benchmarks" / "results"
"""Results of whole runs, as committed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside the same figure of a peer, both medians of the same session."""

    workload: str
    unit: str
    ours: float | None = None
    peer_name: str | None = None
    peer: float | None = None
    goal: str | None = None
    """What was to be reached, in words; None where nothing was promised."""
    met: bool | None = None
    """Whether it was; None without a goal, or where it was not measured."""
    note: str = ""
    """How to read it."""
    not_run: str | None = None
    """Why a side was not measured."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    """Every single measurement behind the medians, by side."""

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's."""
        return self.ours / self.peer if self.ours is not None and self.peer else None


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on the ratio ours / peer."""

    text: str
    least: float = 0.0
    most: float = float("inf")

    def is_met(self, ratio: float) -> bool:
        """Return whether the ratio is within the bound."""
        return self.least <= ratio <= self.most


def compare(
    workload: str,
    unit: str,
    *,
    ours: Sequence[float],
    peer: tuple[str, Sequence[float]],
    goal: Goal | None = None,
    note: str = "",
) -> Row:
    """Return the row of two sides that were measured in turns; each figure is a median."""
    name, theirs = peer
    row = Row(
        workload=workload,
        unit=unit,
        ours=statistics.median(ours),
        peer_name=name,
        peer=statistics.median(theirs),
        goal=goal.text if goal else None,
        note=note,
        samples={"ours": list(ours), "peer": list(theirs)},
    )
    met = goal.is_met(row.ratio) if goal and row.ratio is not None else None
    return Row(**{**asdict(row), "met": met})


def machine() -> dict[str, Any]:
    """Return processor, cores and the load averages of this moment, which is before a benchmark."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": list(os.getloadavg()),
    }


def document(name: str, rows: Iterable[Row], before: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a benchmark as it is written."""
    return {
        "name": name,
        **code_and_date(),
        "machine": before,
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
    }


def write(path: Path, document: object) -> None:
    """Write a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())


def merged(path: Path, made: Any, only: Sequence[str]) -> Any:
    """Return a list of rows with those of other workloads that a file holds already.

    Args:
        path: The file of an earlier run.
        made: What was measured now.
        only: The workloads that were.

    Raises:
        InvalidInput: The result is no list of rows, so that it cannot be made in parts.
    """
    if not isinstance(made, list):
        raise InvalidInput(f"--workload: {path.stem} is measured as a whole")
    held = json.loads(path.read_bytes()) if path.exists() else []
    kept = [row for row in held if row["workload"] not in only]
    order = {name: at for at, name in enumerate(dict.fromkeys(row["workload"] for row in held))}
    return sorted([*kept, *made], key=lambda row: order.get(row["workload"], len(order)))


def code_and_date() -> dict[str, Any]:
    """Return which code was measured, and when."""
    code = describe_code()
    date = clock.timestamp(clock.utc_now())
    return {"commit": code["commit"], "clean": code["clean"], "date": date}


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the results of a folder, in order of their names."""
    found = ((path.stem, json.loads(path.read_bytes())) for path in sorted(folder.glob("*.json")))
    return [
        {"name": name, "rows": [_of_training(row) for row in document]}
        if isinstance(document, list)
        else document
        for name, document in found
    ]


def _of_training(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of `benchmarks.training` as a row of the table."""
    threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    if row.get("workers", 1) > 1:
        threads = f"{row['workers']} workers of {threads}"
    return {
        **row,
        "workload": f"{row['workload']}, {row['kernel_set']}, {threads}",
        "unit": "ms a step",
        "ours": row["ours_ms"],
        "peer": row["peer_ms"],
        "peer_name": row["peer"],
    }


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row as the table shows it."""
    if row["not_run"]:
        return [row["workload"], "-", "-", "-", row["unit"], f"not run: {row['not_run']}"]
    peer = "-" if row["peer"] is None else f"{figure(row['peer'])} ({row['peer_name']})"
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3g}"
    verdict = {None: "-", True: "met", False: "NOT met"}[row["met"]]
    goal = f"{row['goal']}: {verdict}" if row["goal"] else "-"
    return [row["workload"], figure(row["ours"]), peer, ratio, row["unit"], goal]


def figure(value: float | None) -> str:
    """Return a number with four significant digits and no exponent."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004 - digits


HEADINGS = ("workload", "ours", "peer", "ours / peer", "unit", "goal")
"""Titles of `cells`."""


def as_markdown(results: Iterable[dict[str, Any]]) -> str:
    """Return the table of docs/benchmarks.md."""
    lines = ["| benchmark | " + " | ".join(HEADINGS) + " |", "|---" * (len(HEADINGS) + 1) + "|"]
    for result in results:
        lines += [f"| `{result['name']}` | {' | '.join(cells(row))} |" for row in result["rows"]]
    return "\n".join(lines) + "\n"
