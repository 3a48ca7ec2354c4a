"""How far the first phase is: each criterion with its result, every line computed.

Criteria stand in criteria.toml. A result comes from the probe's report for the present commit, or
from the files of benchmarks/results/, which name the commit that they were measured at.
"""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evidence import canonical
from evidence.errors import ConfigError, InvalidInput
from serve.probe import report
from serve.probe.finding import Result
from serve.probe.report import Report

CRITERIA = Path(__file__).with_name("criteria.toml")
"""The project's own."""

PROBE = "zpctl probe URL --token-file FILE"
"""What makes the report that criteria ask for."""

_MOST_SHOWN = 5


class Standing(StrEnum):
    """How a criterion stands."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "cannot tell"
    NOT_RUN = "not run"


class Criterion(BaseModel):
    """One thing that the phase must show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    checks: tuple[str, ...] = ()
    """Ids of the probe's checks, all of which must pass."""
    results: str | None = None
    """File of benchmarks/results/, all goals of which must be met."""
    command: Annotated[str, Field(min_length=1)]
    """What gives the result again."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if bool(self.checks) == bool(self.results):
            raise ValueError(f"{self.name}: expected checks or results, and not both")
        return self


class Line(BaseModel):
    """A criterion and how it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    criterion: str
    check: str
    """What proves it: ids of checks, or a file of results."""
    command: str
    result: Standing
    detail: str
    """What passed or did not, or why it was not run."""
    evidence: str | None
    """Path of what the result was read from; null where it was not run."""
    commit: str | None
    """What was measured; null where it was not run or cannot be known."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where results are read from."""

    probe: Path
    """Report of a probe for the present commit; may be absent."""
    results: Path
    """Folder of benchmark results; may be absent."""
    commit: str | None
    """The present one."""


def read_criteria(file: Path = CRITERIA) -> tuple[Criterion, ...]:
    """Return the criteria of a file.

    Raises:
        ConfigError: It is no such file.
        OSError: It cannot be read.
    """
    try:
        listed = tomllib.loads(file.read_text(encoding="utf-8")).get("criterion", [])
        return tuple(Criterion.model_validate(one) for one in listed)
    except ValueError as error:  # also of TOML and pydantic
        raise ConfigError(f"{file.name}: {error}"[:300]) from error


def lines(criteria: Sequence[Criterion], sources: Sources) -> list[Line]:
    """Return how each criterion stands.

    Raises:
        OSError: A file cannot be read.
    """
    probed = _read_report(sources)
    return [
        _of_probe(one, probed, sources) if one.checks else _of_results(one, sources)
        for one in criteria
    ]


def progress_json(made: Sequence[Line], *, commit: str | None) -> bytes:
    """Return progress.json, canonical."""
    told = [line.model_dump(mode="json") for line in made]
    return canonical.encode({"v": 1, "commit": commit, "criteria": told})


def status_markdown(made: Sequence[Line], *, commit: str | None) -> str:
    """Return STATUS.md: the same as a table."""
    counts = [f"{sum(line.result is one for line in made)} {one}" for one in Standing]
    head = [
        "# Status of phase 1",
        "",
        f"Commit {commit or 'unknown'}: {', '.join(counts)}. Written by `zpctl report`.",
        "",
        "| criterion | check | command | result | evidence | commit |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *map(_row, made)]) + "\n"


def _row(line: Line) -> str:
    result = f"{line.result}: {line.detail}".replace("|", "/").replace("`", "'")
    checks = ", ".join(f"`{one}`" for one in line.check.split(", "))
    evidence = f"`{line.evidence}`" if line.evidence else "-"
    cells = (line.criterion, checks, f"`{line.command}`", result, evidence, line.commit or "-")
    return f"| {' | '.join(cells)} |"


def _read_report(sources: Sources) -> Report | str:
    """Return the report of the present commit, or why there is none."""
    if not sources.probe.is_file():
        return f"there is no report of a probe for commit {sources.commit or 'unknown'}"
    try:
        found = Report.model_validate_json(sources.probe.read_bytes())
    except ValidationError as error:
        return f"{report.JSON_FILE} is no report of a probe: {error.errors()[0]['msg']}"
    if found.facts.commit != sources.commit:
        return f"{report.JSON_FILE} is of commit {found.facts.commit}"
    return found


def _of_probe(criterion: Criterion, probed: Report | str, sources: Sources) -> Line:
    if isinstance(probed, str):
        return _line(criterion, Standing.NOT_RUN, probed)
    held = {check.id: check for check in probed.checks}
    absent = [name for name in criterion.checks if name not in held]
    if absent:
        return _line(criterion, Standing.NOT_RUN, f"the report has no check {absent[0]}")
    wanted = [held[name] for name in criterion.checks]
    failed = [one.id for one in wanted if one.result is Result.FAILED]
    untold = [f"{one.id}: {one.looked_at}" for one in wanted if one.result is Result.CANNOT_TELL]
    evidence = str(sources.probe)
    if failed:
        told, standing = f"{', '.join(failed)} found discrepancies", Standing.FAILED
    elif untold:
        told, standing = "; ".join(untold), Standing.CANNOT_TELL
    else:
        told, standing = f"{len(wanted)} checks passed", Standing.PASSED
    return _line(criterion, standing, told, evidence=evidence, commit=probed.facts.commit)


def _of_results(criterion: Criterion, sources: Sources) -> Line:
    assert criterion.results is not None
    path = sources.results / criterion.results
    if not path.is_file():
        return _line(criterion, Standing.NOT_RUN, f"there is no {criterion.results}")
    try:
        held = canonical.decode_object(path.read_bytes())
        goals = list(_goals(held))
        commit = held.get("commit")
    except (InvalidInput, KeyError, TypeError) as error:
        return _line(criterion, Standing.NOT_RUN, f"{criterion.results} holds no results: {error}")
    missed = [text for text, met in goals if met is False]
    unmeasured = [text for text, met in goals if met is None]
    if missed:
        told, standing = f"missed: {'; '.join(missed[:_MOST_SHOWN])}", Standing.FAILED
    elif unmeasured or not goals:
        told, standing = "; ".join(unmeasured[:_MOST_SHOWN]) or "no goal", Standing.CANNOT_TELL
    else:
        told, standing = f"{len(goals)} goals met", Standing.PASSED
    return _line(criterion, standing, told, evidence=str(path), commit=commit)


def _goals(held: dict[str, Any]) -> Iterator[tuple[str, bool | None]]:
    """Yield each goal of a file of results in words, and whether it was met."""
    for row in held["rows"]:
        if row["goal"] is not None:
            told = "not measured" if row["ratio"] is None else f"{row['ratio']:.3g}"
            yield f"{row['workload']}, {row['goal']}, found {told}", row["met"]


def _line(
    criterion: Criterion,
    standing: Standing,
    detail: str,
    *,
    evidence: str | None = None,
    commit: str | None = None,
) -> Line:
    return Line(
        criterion=criterion.name,
        check=", ".join(criterion.checks) or f"benchmarks/results/{criterion.results}",
        command=criterion.command,
        result=standing,
        detail=detail,
        evidence=evidence,
        commit=commit,
    )
