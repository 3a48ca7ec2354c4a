"""What whoever verifies a pack knows from elsewhere, as they give it on a command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evidence.errors import InvalidInput
from evidence.log import tree_head
from evidence.log.merkle import HASH_BYTES, MAX_PROOF_HASHES
from evidence.log.note import Verifier, from_base64
from evidence.signing import PublicKey
from evidence.subject import NOTHING_KNOWN, KnownLog

MAX_FILE_BYTES = 1 << 16
"""Longest file that is read."""


@dataclass(frozen=True, slots=True)
class Given:
    """The options of a command that verifies."""

    public_key: Path | None = None
    """PEM of the key that must have signed, or have led to the one that did."""
    log_key: str | None = None
    """Verifier key of the log, or a file with it."""
    tree_head: Path | None = None
    """A tree head of that log."""
    consistency: Path | None = None
    """The proof of its consistency with the pack's: a line of base64 for each hash."""
    witness_keys: Sequence[str] = ()
    """Verifier keys of witnesses, or files with them."""
    require: Sequence[str] = ()
    """Ids of further checks without which a pack does not pass."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """Keys and tree heads that a verifier brings along."""

    public_key: PublicKey | None = None
    known_log: KnownLog = NOTHING_KNOWN
    required: frozenset[str] = frozenset()
    """Ids of the checks without which the pack does not pass."""


def read(given: Given, *, checks: Sequence[str]) -> Trusted:
    """Return what the options name; what is given is required.

    Args:
        given: The options.
        checks: The id of every check that there is.

    Raises:
        InvalidInput: A value is malformed, or names no check.
        BadSignature: The tree head is not signed by the log.
        OSError: A file cannot be read.
    """
    unknown = sorted(set(given.require) - set(checks))
    if unknown:
        raise InvalidInput(
            f"--require: expected one of {', '.join(checks)}; found {unknown[0]!r}",
            field="--require",
        )
    if given.tree_head is not None and given.log_key is None:
        raise InvalidInput("--tree-head: needs --log-key, the key that signed it")
    if given.consistency is not None and given.tree_head is None:
        raise InvalidInput("--consistency: needs --tree-head, whose consistency it proves")
    verifier = read_verifier(given.log_key) if given.log_key is not None else None
    head = given.tree_head
    known = KnownLog(
        verifier=verifier,
        head=tree_head.verify(_bytes(head), verifier) if head and verifier else None,
        proof=_hashes(_bytes(given.consistency)) if given.consistency else None,
        witnesses=tuple(map(read_verifier, given.witness_keys)),
    )
    implied = {
        "seal.signature": given.public_key is not None,
        "log.inclusion": given.log_key is not None,
        "log.consistency": given.tree_head is not None,
        "log.witnesses": bool(given.witness_keys),
    }
    return Trusted(
        public_key=PublicKey.from_pem(_bytes(given.public_key)) if given.public_key else None,
        known_log=known,
        required=frozenset({*given.require, *(name for name, is_it in implied.items() if is_it)}),
    )


def read_verifier(given: str) -> Verifier:
    """Return the verifier key that an option gives: itself, or a file with it.

    Raises:
        InvalidInput: It is no key.
        OSError: The file cannot be read.
    """
    if "+" in given and not Path(given).exists():
        return Verifier.parse(given)
    return Verifier.parse(_bytes(Path(given)).decode("utf-8", "replace").removesuffix("\n"))


def _hashes(data: bytes) -> list[bytes]:
    lines = data.decode("utf-8", "replace").splitlines()
    if len(lines) > MAX_PROOF_HASHES:
        raise InvalidInput(f"--consistency: expected at most {MAX_PROOF_HASHES} lines")
    hashes = [from_base64(line, what="--consistency") for line in lines]
    if any(len(one) != HASH_BYTES for one in hashes):
        raise InvalidInput(f"--consistency: expected hashes of {HASH_BYTES} bytes")
    return hashes


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInput(f"{path}: expected at most {MAX_FILE_BYTES} bytes")
    return data
