"""What a scan of one data set found: counts, and places; never the text that was found."""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from evidence import digest
from evidence.records import Digest, Record, Timestamp
from governance.pii.entities import Entity

MOST_FINDINGS = 1_000
"""Findings that a report lists with their place; it counts them all."""


class Place(Record):
    """Where one finding is."""

    type: Entity
    file: Annotated[str, Field(max_length=200)]
    record: Annotated[int, Field(ge=0)]
    """0-based element or line."""
    start: Annotated[int, Field(ge=0)]
    """0-based code point in the record."""
    end: Annotated[int, Field(ge=1)]
    """Exclusive."""
    score: Annotated[float, Field(ge=0, le=1)]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """HMAC-SHA-256 of the text under the service's key, cut to 128 bits: equal texts have equal
    hashes, and nobody without the key can try texts against it."""


class Report(Record):
    """What a scan found in a data set."""

    v: Literal[1] = 1
    dataset: str
    digests: Annotated[dict[str, Digest], Field(min_length=1)]
    """SHA-256 of each file that was scanned, by name."""
    detectors: Digest
    """`detectors_sha256` of what scanned."""
    scanned_at: Timestamp
    characters: Annotated[int, Field(ge=0)]
    """Code points scanned."""
    records: Annotated[int, Field(ge=0)]
    """Lines or elements scanned."""
    scores: dict[Entity, dict[str, int]]
    """How many findings of each type have which score, the score with two decimals."""
    findings: Annotated[tuple[Place, ...], Field(max_length=MOST_FINDINGS)]
    """The first ones."""

    def counts(self, *, least_score: float) -> Mapping[Entity, int]:
        """Return how many findings of each type have at least this score."""
        counts: Counter[Entity] = Counter()
        for entity, by_score in self.scores.items():
            counts[entity] = sum(
                count for score, count in by_score.items() if float(score) >= least_score
            )
        return {entity: count for entity, count in counts.items() if count}

    @property
    def is_fresh(self) -> bool:
        """Whether the detectors are still those that scanned."""
        return self.detectors == detectors_sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON of the report."""
        return digest.of_record(self.model_dump(mode="json"))


@cache
def detectors_sha256() -> str:
    """Return the SHA-256 over the source of everything that finds: the version of a scan."""
    folder = Path(__file__).parent
    held = {path.name: digest.of_file(path) for path in sorted(folder.glob("*.py"))}
    return digest.of_record(held)
