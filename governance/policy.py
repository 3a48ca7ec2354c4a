"""The policy of a service: a TOML file for people, versioned by the SHA-256 of its bytes."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from evidence import digest
from evidence.errors import InvalidInput, PolicyUnreadable
from evidence.verdict import Outcome
from governance import licences
from governance.manifest import Use
from governance.pii.entities import Entity

SHIPPED = Path(__file__).with_name("policy.toml")
"""The policy of a service whose operator set none."""

MAX_BYTES = 1 << 20
"""Largest policy file."""

Patterns = tuple[Annotated[str, Field(min_length=1, max_length=500)], ...]


class _Part(BaseModel):
    """A frozen table of the file that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LicenceRules(_Part):
    """Which licences of data are let through."""

    allowed: Patterns
    """SPDX ids that are."""
    denied: Patterns = ()
    """SPDX ids that are not, even where another part of the expression is allowed."""
    unknown: Outcome = Outcome.NEEDS_PROPOSAL
    """What becomes of NOASSERTION and LicenseRef-...: `allow`, `needs_proposal` or `deny`."""
    unlisted: Outcome = Outcome.NEEDS_PROPOSAL
    """What becomes of an id in neither list."""

    @field_validator("allowed", "denied")
    @classmethod
    def _are_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            try:
                licences.require(name)
            except InvalidInput as error:
                raise ValueError(error.detail) from error
        return value


class SourceRules(_Part):
    """Which sources of data are let through."""

    allowed: Patterns
    """Patterns, of which each source of a data set must match one; `*` stands for any text."""
    denied: Patterns = ()
    """Patterns, of which none may match."""


class DatasetRules(_Part):
    """Which data sets are let through."""

    allowed: Patterns
    """Patterns of names, of which one must match."""
    denied: Patterns = ()
    """Patterns of names, of which none may match."""
    unapproved: Outcome = Outcome.DENY
    """What becomes of data that nobody approved, or approved with other bytes."""
    most_bytes: Annotated[int, Field(ge=1)]
    """Largest data set, all its files together, in bytes."""


class UseRules(_Part):
    """What this service uses data for."""

    allowed: tuple[Use, ...]
    """Uses, of which a data set must be meant for one."""


class PersonalDataRules(_Part):
    """What becomes of data by what its manifest says of people in it."""

    contained: Outcome = Outcome.NEEDS_PROPOSAL
    """Of data that is known to be about people."""
    unknown: Outcome = Outcome.NEEDS_PROPOSAL
    """Of data of which nobody knows."""


class PiiRules(_Part):
    """What a scan of a text for personal data may find."""

    least_score: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Findings with a lower score decide nothing, [0, 1]."""
    over: Outcome = Outcome.NEEDS_PROPOSAL
    """What becomes of a text with more findings than `most` says."""
    most: dict[Entity, Annotated[int, Field(ge=0)]] = {}
    """Most findings of each type; a type that is not listed decides nothing."""


class ProposalRules(_Part):
    """What needs an accepted proposal that the run cites, whatever the other rules say."""

    datasets: Patterns = ()
    """Patterns of data sets."""
    models: Patterns = ()
    """Patterns of architectures."""
    devices: Patterns = ()
    """Patterns of devices, as they are placed (CPU, CUDA, NV, AMD, METAL)."""
    above_steps: Annotated[int, Field(ge=0)] | None = None
    """Number of steps above which a run does; none does if it is left out."""


class Rules(_Part):
    """The whole file."""

    v: Literal[1]
    """Version of this format."""
    licences: LicenceRules
    """Which licences of data are let through."""
    sources: SourceRules
    """Which sources of data are let through."""
    datasets: DatasetRules
    """Which data sets are let through."""
    uses: UseRules
    """What this service uses data for."""
    personal_data: PersonalDataRules = PersonalDataRules()
    """What becomes of data by what its manifest says of people in it."""
    pii: PiiRules = PiiRules()
    """What a scan of a text for personal data may find."""
    proposals: ProposalRules = ProposalRules()
    """What needs an accepted proposal that the run cites, whatever the other rules say."""


class Policy(_Part):
    """The rules, and which version of them this is."""

    sha256: str
    """Of the file's bytes."""
    rules: Rules


def read(path: Path) -> Policy:
    """Read a policy.

    Raises:
        PolicyUnreadable: There is no such file, or it is no policy; names the field.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyUnreadable(
            f"the policy {path.name} cannot be read: {error.strerror or error}; no run is started",
            cure="restore the file that ZEROPOINT_POLICY names",
        ) from error
    return parse(data, name=path.name)


def parse(data: bytes, *, name: str) -> Policy:
    """Return the policy in `data`.

    Raises:
        PolicyUnreadable: It is none; names the field.
    """
    if len(data) > MAX_BYTES:
        raise _unreadable(name, f"expected at most {MAX_BYTES} bytes")
    try:
        rules = Rules.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise _unreadable(name, f"{field}: {message}", field=field) from error
    except ValueError as error:  # TOML's errors and those of UTF-8
        raise _unreadable(name, str(error)[:200]) from error
    return Policy(sha256=digest.of_bytes(data), rules=rules)


def _unreadable(name: str, why: str, *, field: str | None = None) -> PolicyUnreadable:
    return PolicyUnreadable(
        f"the policy {name} cannot be read: {why}; no run is started",
        field=field,
        cure="mend the file; docs/policy.md has every field",
    )
