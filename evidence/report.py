"""What verification says: checks, a report of them, and the report as text.

Text and JSON hold the same numbers, words and results.
"""

import textwrap
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator

from evidence.printable import printable
from evidence.records import Record

Words = Annotated[str, BeforeValidator(printable)]
"""Text that may hold a stranger's; see `evidence.printable`."""

WIDTH = 80
"""Columns of the text."""


class Result(StrEnum):
    """What became of a check."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"


class Verdict(StrEnum):
    """What became of a pack."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "cannot_tell"


EXIT_CODES = {Verdict.PASSED: 0, Verdict.FAILED: 1, Verdict.CANNOT_TELL: 4}
"""Exit status of a command that verifies."""


class Check(Record):
    """One numbered check. Empty text where there is nothing to say."""

    number: int
    """From 1, in the order in which checks run."""
    id: str
    """Stable name, e.g. files.digests."""
    title: str
    """What holds if it passes."""
    result: Result = Result.PENDING
    detail: Words = ""
    """What was found, or why it was not checked."""
    where: Words = ""
    """The first difference: file and line, JSON pointer or byte offset."""
    expected: Words = ""
    found: Words = ""
    meaning: Words = ""
    """What the difference means, in one sentence."""
    see_too: Words = ""
    """Another record that tells what stood there."""
    count: str = ""
    """How much was checked."""
    seconds: float = 0.0
    """How long it took, in seconds."""


class Report(Record):
    """All checks of one pack."""

    v: int = 1
    pack: Words
    """Name of the folder or zip."""
    run_id: str | None
    """From the manifest; null where there is none."""
    sealed: bool
    key_id: str | None
    """SHA-256 of the raw public key that signed, if check 3 passed."""
    verdict: Verdict
    summary: str
    """The verdict in one line."""
    checks: list[Check]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 4 cannot tell."""
        return EXIT_CODES[self.verdict]


_GLYPHS = {
    Result.PENDING: "\N{WHITE CIRCLE}",
    Result.PASSED: "\N{CHECK MARK}",
    Result.FAILED: "\N{BALLOT X}",
    Result.NOT_CHECKED: "\N{EN DASH}",
}
_COLOURS = {
    Result.PENDING: "2", Result.PASSED: "32", Result.FAILED: "31", Result.NOT_CHECKED: "2",
}  # fmt: skip


def as_text(report: Report, *, colour: bool = False) -> str:
    """Return the report for people, in at most 80 columns; colour means ANSI escapes."""
    title = f"Evidence of {report.pack}"
    lines = [*_sides(title, report.summary, hang=1)]
    for check in report.checks:
        lines += check_lines(check, colour=colour)
    if report.key_id is not None:
        lines += ["", "Signed by key " + report.key_id]
    return "\n".join(lines) + "\n"


def check_lines(check: Check, *, colour: bool = False) -> list[str]:
    """Return the lines of one check, for showing checks as they come."""
    glyph = _GLYPHS[check.result]
    mark = f"\x1b[{_COLOURS[check.result]}m{glyph}\x1b[0m" if colour else glyph
    lines = _sides(f" {glyph} {check.number:<2} {check.title}", _right(check), hang=6)
    lines[0] = lines[0].replace(glyph, mark, 1)
    if check.result is Result.FAILED or (check.result is Result.NOT_CHECKED and check.detail):
        lines += _paragraph("", check.detail)
    for label, text in (
        ("expected", check.expected),
        ("found", check.found),
        ("meaning", check.meaning),
        ("see too", check.see_too),
    ):
        if text:
            lines += _paragraph(label, text)
    return lines


def _right(check: Check) -> str:
    match check.result:
        case Result.PASSED:
            return f"{check.count}  {check.seconds:.2f} s".strip()
        case Result.FAILED:
            return f"{check.where}  {check.seconds:.2f} s".strip()
        case Result.NOT_CHECKED:
            return "not checked"
        case Result.PENDING:
            return ""


def _sides(left: str, right: str, *, hang: int) -> list[str]:
    """Return `left` and `right` on one line if they fit, else `right` on lines of its own."""
    room = WIDTH - len(left) - len(right)
    if room >= 2:  # noqa: PLR2004 - two blanks between the sides
        return [(left + " " * room + right).rstrip()]
    indent = " " * hang
    return [
        *textwrap.wrap(left, WIDTH, subsequent_indent=indent, drop_whitespace=True),
        *(line.rjust(WIDTH) for line in textwrap.wrap(right, WIDTH - hang)),
    ]


def _paragraph(label: str, text: str) -> list[str]:
    head = f"      {label:<9}" if label else "      "
    return textwrap.wrap(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )


def report_of(
    checks: Iterable[Check],
    *,
    pack: str,
    run_id: str | None,
    sealed: bool,
    key_id: str | None,
    required: Collection[str] = (),
) -> Report:
    """Return the report with the verdict that follows from the checks.

    A pack passes when it is sealed, no check failed and each that is required was made; any other
    that was not made is listed as such and takes nothing from the verdict.
    """
    done = list(checks)
    passed = sum(check.result is Result.PASSED for check in done)
    first = next((check for check in done if check.result is Result.FAILED), None)
    unmade = next((c for c in done if c.id in required and c.result is not Result.PASSED), None)
    if first is not None:
        verdict, summary = Verdict.FAILED, f"FAILED at check {first.number} of {len(done)}"
    elif unmade is not None and sealed:
        verdict = Verdict.CANNOT_TELL
        summary = f"CANNOT TELL, check {unmade.number} is required and was not made"
    elif not sealed:
        verdict, summary = Verdict.CANNOT_TELL, f"NOT SEALED, {passed} of {len(done)} checks passed"
    else:
        verdict, summary = Verdict.PASSED, f"PASSED, {passed} of {len(done)} checks"
    return Report(
        pack=pack,
        run_id=run_id,
        sealed=sealed,
        key_id=key_id,
        verdict=verdict,
        summary=summary,
        checks=done,
        seconds=sum(check.seconds for check in done),
    )
