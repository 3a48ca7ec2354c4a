"""An accepted proposal as the gate sees it: what was approved, for which bytes, until when.

Pure data. Whoever keeps proposals makes these of the accepted ones and hands them to the gate; the
gate never looks into a proposal.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from evidence import digest
from evidence.clock import moment
from evidence.records import Digest, Record, Timestamp

PROPOSAL_ID = r"^prop-[0-9A-HJKMNP-TV-Z]{26}$"
"""What the id of a proposal matches: `prop-` and a ULID (Crockford's base 32)."""

ProposalId = Annotated[str, Field(pattern=PROPOSAL_ID)]


class Approval(Record):
    """What one accepted proposal allows.

    A field that is null approves nothing of its kind: an approval of a data set alone does not
    cover a policy that wants the number of steps approved, too.
    """

    proposal_id: ProposalId
    """The proposal; a run cites it."""
    dataset: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Name of the data set that may be used."""
    dataset_digests: Annotated[dict[str, Digest], Field(min_length=1)] | None = None
    """SHA-256 of each of its files, by file name: these bytes and no others."""
    model: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Architecture that may be trained."""
    model_digest: Digest | None = None
    """`digest_of_model` of that model's part of the run config."""
    most_steps: Annotated[int, Field(ge=1)] | None = None
    """Most updates of the weights."""
    device: Annotated[str, Field(min_length=1, max_length=16)] | None = None
    """Device that may be used, as a run config names it."""
    accepted_at: Timestamp
    """When both sides had passed it."""
    expires_at: Timestamp
    """From when on it allows nothing."""
    record_digest: Digest
    """SHA-256 of the signed record, an entry of the log, by which it was accepted."""

    @model_validator(mode="after")
    def _is_bound_to_digests(self) -> Self:
        if (self.dataset is None) != (self.dataset_digests is None):
            raise ValueError("dataset and dataset_digests: expected both or neither")
        if (self.model is None) != (self.model_digest is None):
            raise ValueError("model and model_digest: expected both or neither")
        if moment(self.expires_at) <= moment(self.accepted_at):
            raise ValueError("expires_at: expected a moment after accepted_at")
        return self

    def is_current(self, now: str) -> bool:
        """Return whether it allows anything at the moment `now`, a timestamp."""
        return moment(self.accepted_at) <= moment(now) < moment(self.expires_at)


def digest_of_model(model: object) -> str:
    """Return the SHA-256 of the canonical JSON of `model`, the field of that name of a RunConfig.

    Raises:
        InvalidInput: It cannot be written as canonical JSON.
    """
    return digest.of_record(model)
