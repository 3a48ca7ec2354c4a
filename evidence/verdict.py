"""What the data gate says of a run before it is placed, as a signed statement.

    verdicts.jsonl   a line for each time that the run came to the gate, oldest first

A line is a DSSE envelope, as in records.jsonl, and names the SHA-256 of the line before it; the
run's commitment names the line that it follows from. Unlike those records a verdict holds a time:
what it rests on (a policy, an approval that expires) is of a moment.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from evidence import canonical
from evidence.errors import IntegrityError
from evidence.pack import CONFIG, RunId
from evidence.packfiles import parse
from evidence.records import Digest, Record, Timestamp
from evidence.signing import statement

VERDICT: str = "urn:zeropoint:verdict:v1"
"""`predicateType` of a verdict."""

Text = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class Outcome(StrEnum):
    """What a rule, or the gate as a whole, says; from the mildest to the strictest."""

    ALLOW = "allow"
    NEEDS_PROPOSAL = "needs_proposal"
    DENY = "deny"


class RuleOutcome(Record):
    """What one rule of the gate found."""

    rule: Name
    """Its stable name."""
    outcome: Outcome
    detail: Text
    """What was expected, what was found."""
    cure: Text | None = None
    """What would let the run pass; null where nothing is in its way."""


class CitedApproval(Record):
    """An accepted proposal that a verdict rests on."""

    proposal_id: Name
    record_digest: Digest
    """SHA-256 of the signed record by which it was accepted."""


class Verdict(Record):
    """What the gate decided, and everything that it rests on."""

    v: Literal[1] = 1
    run_id: RunId | None
    """The run; null for one that was refused when it was submitted, which has no id."""
    attempt: Annotated[int, Field(ge=0)]
    """The attempt that it is about; 0 for a run that was refused when it was submitted."""
    verdict: Outcome
    """The strictest outcome of all rules."""
    config_sha256: Digest
    """Of config.json."""
    dataset: Name
    data: Annotated[dict[str, Digest], Field(max_length=200)]
    """SHA-256 of each raw data file, as found on the disk; empty where they were not looked at."""
    manifest_sha256: Digest | None
    """Of the canonical JSON of the data set's entry in the manifest; null where it has none."""
    policy_sha256: Digest
    """Of the policy's bytes."""
    pii_report_sha256: Digest | None
    """Of the report on personal data in exactly these bytes; null where there is none."""
    rules: Annotated[list[RuleOutcome], Field(min_length=1, max_length=40)]
    """Every rule that was applied."""
    approvals: Annotated[list[CitedApproval], Field(max_length=10)]
    """What was approved before, and let a rule pass that wanted that."""
    decided_at: Timestamp
    previous: Digest | None = None
    """SHA-256 of the run's verdict before this one; null in its first."""


def verdict_statement(verdict: Verdict) -> dict[str, Any]:
    """Return the statement about the config and the data that were let through, or not."""
    data = {f"data/{name}": sha256 for name, sha256 in verdict.data.items()}
    return statement(
        {CONFIG: verdict.config_sha256, **data},
        predicate_type=VERDICT,
        predicate=verdict.model_dump(mode="json"),
    )


def of_statement(said: Mapping[str, Any]) -> Verdict:
    """Return the verdict that a statement is.

    Raises:
        IntegrityError: It is another statement, or does not fit; names the field.
    """
    found = str(said.get("predicateType"))[:100]
    if found != VERDICT:
        raise IntegrityError(
            f"/predicateType: expected {VERDICT}, found {found}",
            field="/predicateType",
            expected=VERDICT,
            found=found,
        )
    return parse(Verdict, canonical.encode(said.get("predicate")))
