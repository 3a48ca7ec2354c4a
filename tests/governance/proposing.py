"""Proposals, votes and queues for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evidence import digest
from evidence.signing import SigningKey, sign_statement
from governance.proposals.backups import Keeping
from governance.proposals.queue import Queue
from governance.proposals.schema import Harm, Proposal, Side, Verdict, Vote
from tests.cluster.small import Watch

HARMS = {harm.value: {"answer": "none"} for harm in Harm}
ETHICS: dict[str, Any] = {
    "compliance_score": 0.9,
    "bias_assessment": "Digits of many writers; no group is named in the data.",
    "harms": HARMS,
}
SPARE = Keeping(backup_every_s=10**9)
"""Makes a copy of the first record and of none after it."""


def proposal_id(number: int) -> str:
    return f"prop-{number:026d}"


def proposal(number: int = 1, **changes: Any) -> Proposal:
    return Proposal.model_validate(
        {
            "proposal_id": proposal_id(number),
            "created": "2026-01-31T12:00:00.000Z",
            "author": "alice",
            "title": "A longer run",
            "summary": "Train the small model for longer.",
            "change_type": "upgrade",
            "training": {
                "model": "mlp",
                "model_digest": "1" * 64,
                "steps": 300,
                "dataset": "mnist",
                "dataset_digests": {"a": "2" * 64},
                "device": None,
            },
            "runs": [],
            "ethics": ETHICS,
            "phase": None,
            "supersedes": None,
            "idempotency_key_sha256": None,
            **changes,
        }
    )


def vote(
    side: Side = Side.HUMAN, verdict: Verdict = Verdict.PASS, *, number: int = 1, by: str = "bob"
) -> Vote:
    return Vote(
        proposal_id=proposal_id(number),
        side=side,
        verdict=verdict,
        reasons=("it is so",),
        by=by,
        at="2026-01-31T12:00:01.000Z",
        replaces=None,
    )


class Logged:
    """A log that is a list."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def enter(self, envelopes: Sequence[bytes]) -> list[int]:
        """Append what is new; return the places."""
        self.entries += [one for one in envelopes if one not in self.entries]
        return [self.entries.index(one) for one in envelopes]


def queue(
    home: Path, log: Logged, *, keeping: Keeping = SPARE, clock: Watch | None = None
) -> Queue:
    """Open the queue of a home; its key is made if there is none."""
    home.mkdir(exist_ok=True)
    key = SigningKey.open_or_create(home / "service.key")
    return Queue(
        home / "proposals",
        keys=[key.public],
        logged=list(log.entries),
        sign=lambda said: sign_statement(key, said),
        enter=log.enter,
        keeping=keeping,
        clock=clock or Watch(),
    )


def sums(made: Queue) -> list[str]:
    """Return the digest of every record."""
    return [digest.of_bytes(one.envelope) for one in made.records]
