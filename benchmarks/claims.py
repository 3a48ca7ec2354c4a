"""Derive the figures of README and docs again: `python -m benchmarks.claims [--all] [--uncovered]`.

The list is claims.toml. Cheap claims are run, expensive ones with --all; what was not run is shown
with its command. Exit status 1 if a figure differs, or does not stand in its document.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.table import Table

from trainers.provenance import REPOSITORY

LIST = Path(__file__).with_name("claims.toml")

_TIMEOUT_S = 3600
_FIGURE = re.compile(r"(?<![\w.])\d[\d.,]* ?(?:s|ms|%|kB|MB|GB|MiB|GiB|steps/s)(?![\w/])")


class Cost(StrEnum):
    """What it takes to derive a figure."""

    CHEAP = "cheap"
    EXPENSIVE = "expensive"
    HISTORY = "history"


class Verdict(StrEnum):
    """What came of it."""

    PASS = "pass"  # noqa: S105 - no password
    DIFFERS = "differs"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure in a document, and what derives it."""

    document: str
    """Path from the root of the repository."""
    quote: str
    """What stands there, word for word, on one line."""
    cost: Cost
    command: tuple[str, ...] = ()
    pattern: str | None = None
    """Its last match's group is the figure; None where ending well is enough."""
    least: float = float("-inf")
    most: float = float("inf")
    why: str = ""
    """Why a claim of history cannot be run."""

    def stands(self) -> bool:
        """Return whether the document has the quote."""
        path = REPOSITORY / self.document
        return path.exists() and self.quote in path.read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim and what came of it."""

    claim: Claim
    verdict: Verdict
    detail: str


def load(path: Path = LIST) -> list[Claim]:
    """Return the claims of the list."""
    with path.open("rb") as file:
        listed = tomllib.load(file)["claim"]
    return [
        Claim(**{**entry, "cost": Cost(entry["cost"]), "command": tuple(entry.get("command", ()))})
        for entry in listed
    ]


def examine(claim: Claim, costs: Iterable[Cost]) -> Finding:
    """Return what comes of a claim; only commands of these costs are run."""
    if not claim.stands():
        return Finding(claim, Verdict.DIFFERS, f"{claim.document} does not say it")
    if claim.cost is Cost.HISTORY:
        return Finding(claim, Verdict.NOT_RUN, claim.why)
    shown = shlex.join(part.replace("{python}", "python") for part in claim.command)
    if claim.cost not in costs:
        return Finding(claim, Verdict.NOT_RUN, f"{claim.cost}: {shown}")
    command = [part.replace("{python}", sys.executable) for part in claim.command]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    verdict, found = judge(claim, status=done.returncode, output=done.stdout + done.stderr)
    return Finding(claim, verdict, f"{found}  {shown}")


def judge(claim: Claim, *, status: int, output: str) -> tuple[Verdict, str]:
    """Return whether what a command gave fits the claim, and what it was."""
    if status != 0:
        return Verdict.DIFFERS, f"exit status {status}: {output.strip()[-200:]}"
    if claim.pattern is None:
        return Verdict.PASS, "exit status 0"
    found = re.findall(claim.pattern, output)
    if not found:
        return Verdict.DIFFERS, "no figure in the output"
    figure = float(found[-1])
    fits = claim.least <= figure <= claim.most
    return (Verdict.PASS if fits else Verdict.DIFFERS), f"found {figure:g}"


def uncovered(claims: Sequence[Claim]) -> Iterator[str]:
    """Yield the lines of README and docs that have a figure with a unit and no claim."""
    by_results = REPOSITORY / "docs" / "benchmarks.md"  # its table is one claim
    pages = {REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")} - {by_results}
    for path in sorted(pages):
        name = str(path.relative_to(REPOSITORY))
        quotes = [claim.quote for claim in claims if claim.document == name]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if _FIGURE.search(line) and not any(quote in line for quote in quotes):
                yield f"{name}:{number}: {line.strip()[:120]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine the claims and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims", description=__doc__)
    parser.add_argument("--all", action="store_true", help="run the expensive ones too")
    parser.add_argument("--uncovered", action="store_true", help="list figures without a claim")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    claims = load()
    if options.uncovered:
        console.print("\n".join(uncovered(claims)), markup=False)
        return 0
    costs = tuple(Cost) if options.all else (Cost.CHEAP,)
    table = Table("verdict", "document", "claim", "found, or what derives it")
    findings = [examine(claim, costs) for claim in claims]
    for finding in findings:
        claim = finding.claim
        table.add_row(
            finding.verdict, claim.document, claim.quote, finding.detail.replace("[", r"\[")
        )
    console.print(table)
    counts = {verdict: sum(f.verdict is verdict for f in findings) for verdict in Verdict}
    console.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    console.print(
        f"{sum(1 for _ in uncovered(claims))} lines have a figure and no claim (--uncovered)"
    )
    return 1 if counts[Verdict.DIFFERS] else 0


if __name__ == "__main__":
    sys.exit(main())
