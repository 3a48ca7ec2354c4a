"""What a probe found, as canonical JSON for machines and as Markdown for a review comment."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evidence import canonical
from serve.probe.finding import Discrepancy, Outcome, Result
from serve.probe.owners import Owners
from serve.probe.rules import Rule

JSON_FILE = "report.json"
MARKDOWN_FILE = "report.md"


class Verdict(StrEnum):
    """What became of a service."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "cannot_tell"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(_Part):
    """A discrepancy and whose it is."""

    owner: str
    place: str
    """Route as `METHOD /path`, or `pack/PATH`."""
    field: str
    """JSON pointer, header or tensor within it; empty for the whole."""
    expected: str
    found: str
    file: str
    """The capture, relative to the report."""
    detail: str


class Check(_Part):
    """One check and what became of it."""

    number: int
    id: str
    title: str
    result: Result
    looked_at: str
    """What was looked at, or why it cannot be told."""
    discrepancies: tuple[Named, ...]
    more: int
    """Discrepancies that were left out."""
    seconds: float


class Facts(_Part):
    """What was probed, from where and when."""

    url: str
    commit: str | None
    """Of this checkout, whose API is the measure."""
    service_commit: str | None
    """That the service states."""
    service_version: str | None
    runs: tuple[str, ...]
    """Ids of the runs that the probe asked for."""
    begun: str
    ended: str
    seconds: float
    exchanges: int
    """How many were captured."""


class Report(_Part):
    """All checks of one probe."""

    v: Literal[1] = 1
    verdict: Verdict
    facts: Facts
    checks: tuple[Check, ...]

    @property
    def data(self) -> bytes:
        """The canonical JSON."""
        return canonical.encode(self.model_dump(mode="json"))

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that found something."""
        return tuple(check for check in self.checks if check.result is Result.FAILED)

    @property
    def untold(self) -> tuple[Check, ...]:
        """The checks that could not be made."""
        return tuple(check for check in self.checks if check.result is Result.CANNOT_TELL)

    @property
    def summary(self) -> str:
        """The verdict in one line."""
        passed = len(self.checks) - len(self.failed) - len(self.untold)
        words = {
            Verdict.PASSED: "nothing found",
            Verdict.FAILED: f"{len(self.failed)} checks found discrepancies",
            Verdict.CANNOT_TELL: f"{len(self.untold)} checks could not be made",
        }
        return f"{words[self.verdict]}, {passed} of {len(self.checks)} checks passed"


def check_of(rule: Rule, outcome: Outcome, *, owners: Owners, seconds: float) -> Check:
    """Return a check as it stands in the report."""
    return Check(
        number=rule.number,
        id=rule.id,
        title=rule.title,
        result=outcome.result,
        looked_at=outcome.looked_at,
        discrepancies=tuple(_named(one, owners) for one in outcome.discrepancies),
        more=outcome.more,
        seconds=round(seconds, 3),
    )


def _named(one: Discrepancy, owners: Owners) -> Named:
    return Named(
        owner=owners.of(one),
        place=one.place,
        field=one.field,
        expected=one.expected,
        found=one.found,
        file=one.file,
        detail=one.detail,
    )


def verdict_of(checks: Iterable[Check]) -> Verdict:
    """Return the verdict: a discrepancy fails, else a check that was not made leaves it open."""
    results = {check.result for check in checks}
    if Result.FAILED in results:
        return Verdict.FAILED
    return Verdict.CANNOT_TELL if Result.CANNOT_TELL in results else Verdict.PASSED


def as_markdown(report: Report) -> str:
    """Return the report as Markdown; a stranger's words stand in code spans, and stay there."""
    facts = report.facts
    theirs, version = facts.service_commit or "unknown", facts.service_version or "unknown"
    runs = ", ".join(map(_code, facts.runs)) or "none"
    lines = [
        f"# Probe of {_code(facts.url)}",
        "",
        f"**{report.verdict.value.replace('_', ' ')}**: {report.summary}.",
        "",
        f"- contract of commit {_code(facts.commit or 'unknown')}",
        f"- the service states commit {_code(theirs)}, version {_code(version)}",
        f"- {facts.begun} to {facts.ended}, {facts.exchanges} exchanges, runs {runs}",
        "",
        *_discrepancies(report),
        *_untold(report),
        "## Checks",
        "",
        "| number | check | holds if it passes | result | looked at |",
        "|---|---|---|---|---|",
    ]
    for check in report.checks:
        cells = (check.number, f"`{check.id}`", check.title, check.result, _code(check.looked_at))
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _discrepancies(report: Report) -> Iterator[str]:
    if not report.failed:
        return
    yield "## Discrepancies"
    yield ""
    yield "| check | owner | file or field | path | expected | found | capture |"
    yield "|---|---|---|---|---|---|---|"
    for check in report.failed:
        for one in check.discrepancies:
            named = _code(one.field or "the whole")
            values = (_code(one.place), _code(one.expected), _code(one.found), _code(one.file))
            yield _row((f"`{check.id}`", one.owner, named, *values))
        if check.more:
            yield _row((f"`{check.id}`", "", f"{check.more} more", "", "", "", ""))
    yield ""


def _untold(report: Report) -> Iterator[str]:
    if not report.untold:
        return
    yield "## Not told"
    yield ""
    for check in report.untold:
        yield f"- `{check.id}`: {_code(check.looked_at)}"
    yield ""


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _code(text: str) -> str:
    """Return a code span; what could end it or the cell around it is replaced."""
    return f"`{text.replace('`', chr(39)).replace('|', '/') or ' '}`"
