"""The scan: every Python file of the shipped packages, every rule, less the exceptions."""

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evidence import digest
from serve.honesty import exceptions
from serve.honesty.catalogue import RULES
from serve.honesty.claims import records_of
from serve.honesty.exceptions import Allowed
from serve.honesty.source import Source, parse

SHIPPED = ("cluster", "evidence", "governance", "serve", "trainers")
"""Packages that must be there."""

EXTRAS = ("governance", "petals_bridge")
"""Packages that are scanned where they are installed."""

UNREADABLE = "unreadable-source"
"""A shipped package is not there, or one of its files cannot be parsed."""

STALE = "stale-exception"
"""An exception matches nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that breaks a rule."""

    rule: str
    """Id of the rule, UNREADABLE or STALE."""
    file: str
    """Path relative to the root of the packages."""
    line: int
    """Counted from 1; 0 where no line is at fault."""
    symbol: str
    """Dotted name of the definition around it; empty at module level."""
    text: str
    """The line, without the white space around it."""
    detail: str
    """What is wrong there."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found."""

    rules: int
    """Number of rules."""
    files: int
    """Number of Python files read."""
    sha256: str
    """Digest of the canonical JSON {path: SHA-256} of those files and of the exceptions."""
    exceptions: int
    """Number of findings that were allowed."""
    findings: tuple[Finding, ...]
    """By file and line."""

    def as_json(self) -> dict[str, Any]:
        """Return the scan as JSON values."""
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings]}


def scan(root: Path, *, allowed_in: Path = exceptions.FILE) -> Scan:
    """Read the shipped packages below `root` and hold them against every rule.

    Args:
        root: Folder of the packages.
        allowed_in: TOML file of the exceptions.

    Raises:
        OSError: A file cannot be read.
        ValueError: The exceptions cannot be read.
    """
    texts = {path.relative_to(root).as_posix(): path.read_bytes() for path in _files(root)}
    allowed = exceptions.read(allowed_in)
    sources, unreadable = _parsed(texts)
    absent = [_absent(name) for name in SHIPPED if not (root / name).is_dir()]
    found = list(find(sources))
    kept = [finding for finding in found if not _is_allowed(finding, allowed)]
    findings = [*absent, *unreadable, *kept, *_stale(found, allowed)]
    digests = {path: digest.of_bytes(data) for path, data in texts.items()}
    return Scan(
        rules=len(RULES),
        files=len(texts),
        sha256=digest.of_record({**digests, allowed_in.name: digest.of_file(allowed_in)}),
        exceptions=len(found) - len(kept),
        findings=tuple(sorted(findings, key=lambda finding: (finding.file, finding.line))),
    )


def find(sources: Sequence[Source]) -> Iterator[Finding]:
    """Yield what the rules find in parsed files, exceptions included."""
    records = records_of(sources)
    for source in sources:
        for rule in RULES:
            for node, detail in rule.detect(source, records):
                yield _finding(source, rule.id, node, detail)


def _files(root: Path) -> list[Path]:
    """Return the Python files of the packages, sorted."""
    packages = (root / name for name in (*SHIPPED, *EXTRAS))
    return sorted(path for package in packages for path in package.rglob("*.py"))


def _parsed(texts: dict[str, bytes]) -> tuple[list[Source], list[Finding]]:
    sources, unreadable = [], []
    for path, data in texts.items():
        try:
            sources.append(parse(path, data.decode("utf-8")))
        except (SyntaxError, ValueError) as error:
            unreadable.append(Finding(UNREADABLE, path, 0, "", "", f"expected Python: {error}"))
    return sources, unreadable


def _absent(package: str) -> Finding:
    return Finding(UNREADABLE, package, 0, "", "", "expected a shipped package, found none")


def _finding(source: Source, rule: str, node: ast.AST, detail: str) -> Finding:
    line = getattr(node, "lineno", 0)
    return Finding(
        rule=rule,
        file=source.path,
        line=line,
        symbol=source.places[node].symbol,
        text=source.line(line),
        detail=detail,
    )


def _is_allowed(finding: Finding, allowed: Iterable[Allowed]) -> bool:
    return any(_matches(finding, one) for one in allowed)


def _matches(finding: Finding, one: Allowed) -> bool:
    found = (finding.rule, finding.file, finding.symbol, finding.text)
    return found == (one.rule, one.file, one.symbol, one.text)


def _stale(found: Sequence[Finding], allowed: Iterable[Allowed]) -> list[Finding]:
    return [
        Finding(STALE, one.file, 0, one.symbol, one.text, f"the exception to {one.rule} is unused")
        for one in allowed
        if not any(_matches(finding, one) for finding in found)
    ]
