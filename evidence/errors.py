"""Every error that this project raises on purpose, as one tree.

    ServiceError
      InvalidInput          a value from outside is wrong
        ConfigError         a field of a RunConfig or of the settings is wrong
      Unauthenticated       no token, or one that is not known
      Forbidden             known, but not allowed (or a page from another origin)
        PolicyDenied        the data gate does not let the run through; names the rules
      NotFound              no such run, checkpoint, data set, route
      Conflict              the request does not fit the state (illegal move, reused key)
        ApprovalNeeded      the data gate wants an accepted proposal that the run cites
        StaleTreeHead       a tree head starts from another size than a witness is at
          ForkedLog         a log signed two roots for one size
      TooLarge              a body, queue or stream is over its limit
      RateLimited           too many at once; try again later
      IntegrityError        bytes are not what their digest, chain or signature says
        DigestMismatch
        BrokenChain
        BadSignature
        BadProof            a Merkle proof does not lead to the stated root
        ReplayMismatch      a step done again gave another result
      Unavailable           cannot be done now
        DeviceMissing       the device that the run was placed on does not run kernels
        StorageFull         a write found no space
        SourcesExhausted    no source had the bytes of a data set
        PolicyUnreadable    the data policy cannot be read, so no run is started
      LimitExceeded         a run went over a limit while it ran
      TrainerLost           a trainer died more often than its run allows
      TrainingDiverged      the loss became NaN or infinite
      NotInstalled          an extra is absent; names the command that installs it

`serve/problems.py` alone maps a code to an HTTP status.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class ServiceError(Exception):
    """Root of the tree; never raised itself.

    Args:
        detail: One sentence: the thing, what was expected, what was found.
        field: Dotted name of the input field at fault, if one is.
        expected: What would have been right.
        found: What was there.
        cure: What the reader can do about it.
        rules: Of each rule behind it its name, outcome, detail and cure, where rules are.
    """

    code: ClassVar[str] = "service_error"
    title: ClassVar[str] = "Service error"

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        cure: str | None = None,
        rules: Sequence[Mapping[str, str | None]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.expected = expected
        self.found = found
        self.cure = cure
        self.rules = rules


class InvalidInput(ServiceError):
    """A value from outside is wrong."""

    code = "invalid_input"
    title = "Invalid input"


class ConfigError(InvalidInput):
    """A field of a RunConfig or of the settings is wrong or over a limit."""

    code = "config_error"
    title = "Invalid configuration"


class Unauthenticated(ServiceError):
    """There is no token, or it is not known."""

    code = "unauthenticated"
    title = "Not authenticated"


class Forbidden(ServiceError):
    """The caller is known, or cannot be, and may not do this."""

    code = "forbidden"
    title = "Forbidden"


class PolicyDenied(Forbidden):
    """The data gate does not let the run through."""

    code = "policy_denied"
    title = "Denied by the data policy"


class NotFound(ServiceError):
    """There is no such thing."""

    code = "not_found"
    title = "Not found"


class Conflict(ServiceError):
    """The request does not fit the present state."""

    code = "conflict"
    title = "Conflict"


class ApprovalNeeded(Conflict):
    """The data gate wants an accepted proposal that the run cites."""

    code = "approval_needed"
    title = "A proposal has to be accepted first"


class StaleTreeHead(Conflict):
    """A tree head starts from another size than a witness has seen; `expected` is that size."""

    code = "stale_tree_head"
    title = "Another size was seen"

    @property
    def size(self) -> int:
        """Entries of the log as the witness saw it last; 0 before the first time."""
        return int(self.expected or 0)


class ForkedLog(StaleTreeHead):
    """A log signed two roots for one size: proof that it shows different trees."""

    code = "forked_log"
    title = "The log forked"


class TooLarge(ServiceError):
    """A body, queue or stream is over its limit."""

    code = "too_large"
    title = "Too large"


class RateLimited(ServiceError):
    """Too many at once; a later try may succeed."""

    code = "rate_limited"
    title = "Too many requests"


class IntegrityError(ServiceError):
    """Bytes are not what their record says."""

    code = "integrity_error"
    title = "Integrity error"


class DigestMismatch(IntegrityError):
    """A SHA-256 differs from the recorded one."""

    code = "digest_mismatch"
    title = "Digest mismatch"


class BrokenChain(IntegrityError):
    """A journal line does not follow from the line before it."""

    code = "broken_chain"
    title = "Broken chain"


class BadSignature(IntegrityError):
    """A signature does not verify under the stated key."""

    code = "bad_signature"
    title = "Bad signature"


class BadProof(IntegrityError):
    """A Merkle proof does not lead from what it proves to the stated root."""

    code = "bad_proof"
    title = "Bad proof"


class ReplayMismatch(IntegrityError):
    """A step that was done again gave another loss, accuracy or learning rate."""

    code = "replay_mismatch"
    title = "A repeated step differs"


class Unavailable(ServiceError):
    """It cannot be done now."""

    code = "unavailable"
    title = "Unavailable"


class DeviceMissing(Unavailable):
    """The device that the run asks for does not run a kernel here."""

    code = "device_missing"
    title = "Device missing"


class StorageFull(Unavailable):
    """A write found no space; nothing was half-written."""

    code = "storage_full"
    title = "Storage full"


class SourcesExhausted(Unavailable):
    """No source had the right bytes of a data set."""

    code = "sources_exhausted"
    title = "No source had the data"


class PolicyUnreadable(Unavailable):
    """The data policy cannot be read; a service without one starts no run."""

    code = "policy_unreadable"
    title = "The data policy cannot be read"


class LimitExceeded(ServiceError):
    """A run went over one of its limits while it ran."""

    code = "limit_exceeded"
    title = "Limit exceeded"


class TrainerLost(ServiceError):
    """A trainer died more often than its run allows."""

    code = "trainer_lost"
    title = "Trainer lost"


class TrainingDiverged(ServiceError):
    """The loss became NaN or infinite."""

    code = "training_diverged"
    title = "Training diverged"


class NotInstalled(ServiceError):
    """An extra is absent."""

    code = "not_installed"
    title = "Not installed"


def of_code(code: str, detail: str) -> ServiceError:
    """Return the error of a stable code, as it crossed a process border in writing."""
    known = {kind.code: kind for kind in _descendants(ServiceError)}
    return known.get(code, ServiceError)(detail)


def _descendants(kind: type[ServiceError]) -> list[type[ServiceError]]:
    below = [one for child in kind.__subclasses__() for one in _descendants(child)]
    return [kind, *below]
