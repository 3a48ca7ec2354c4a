"""A witness: cosigns what goes on from what it saw, and nothing else. Source: C2SP tlog-witness.

`read_submission` and `judge` decide and know no disk; `Witness` remembers. What it cosigned is on
the disk before the cosignature leaves it, so that no crash makes it forget what it said.
"""

import hashlib
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evidence.errors import (
    BadSignature,
    ConfigError,
    ForkedLog,
    IntegrityError,
    InvalidInput,
    NotFound,
    StaleTreeHead,
)  # fmt: skip
from evidence.files import write_atomic
from evidence.log import merkle, note, tree_head
from evidence.log.cosignature import cosign
from evidence.log.merkle import HASH_BYTES, MAX_PROOF_HASHES
from evidence.log.note import KeyType, Signer, Verifier
from evidence.log.tree_head import SignedTreeHead

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 16
"""Longest submission; 63 hashes and 16 signatures are below 5 KiB."""

HEADS = "heads"
"""Folder of the last tree head that was cosigned of each log."""

FORK_SUFFIX = ".fork"
"""Suffix of the file with a tree head that the log signed beside the one that was cosigned."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What a log asks a witness to cosign."""

    old_size: int
    """Where the proof starts: what the witness is thought to be at."""
    proof: tuple[bytes, ...]
    """Consistency of that with the tree head."""
    signed: SignedTreeHead


@dataclass(frozen=True, slots=True)
class Seen:
    """Size and root of a log as a witness saw it last."""

    size: int = 0
    root: bytes = merkle.EMPTY_ROOT


def write_submission(old_size: int, proof: Iterable[bytes], signed: bytes) -> bytes:
    """Return the body of a request: `old N`, a hash a line, an empty line, the signed tree head."""
    lines = [f"old {old_size}", *map(note.to_base64, proof), ""]
    return "".join(f"{line}\n" for line in lines).encode() + signed


def read_submission(body: bytes) -> Submission:
    """Return what a body asks for.

    Raises:
        InvalidInput: It is malformed.
    """
    head, is_there, signed = body.partition(b"\n\n")
    try:
        first, *hashes = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInput("submission: expected ASCII before the tree head") from error
    old, is_spaced, size = first.partition(" ")
    if not is_there or not is_spaced or old != "old":
        raise InvalidInput("submission: expected `old N`, hashes, an empty line and a tree head")
    if len(hashes) > MAX_PROOF_HASHES:
        raise InvalidInput(f"proof: expected at most {MAX_PROOF_HASHES}, found {len(hashes)}")
    return Submission(
        tree_head.parse_size(size, what="old size"),
        tuple(map(_read_hash, hashes)),
        SignedTreeHead.parse(signed),
    )


def judge(submission: Submission, log: Verifier, seen: Seen) -> None:
    """Raise unless the tree head is by this log and goes on from what was seen of it.

    Raises:
        BadSignature: It is not signed by the log.
        InvalidInput: It says that it starts beyond its own size.
        StaleTreeHead: It starts from another size than what was seen.
        ForkedLog: It is of the size that was seen, with another root.
        BadProof: The proof does not lead from the one to the other.
    """
    head = submission.signed.head
    note.require_signed(submission.signed.note, log)
    if submission.old_size > head.size:
        raise InvalidInput(f"old size: expected up to {head.size}, found {submission.old_size}")
    if submission.old_size != seen.size:
        raise StaleTreeHead(
            f"{head.origin}: starts from {submission.old_size}, seen was {seen.size}",
            expected=str(seen.size),
        )
    if head.size == seen.size and head.root != seen.root:
        raise ForkedLog(
            f"{head.origin}: the log signed two roots for size {head.size}: "
            f"{seen.root.hex()} and {head.root.hex()}",
            expected=str(seen.size),
        )
    merkle.require_consistent(
        old_size=seen.size,
        old_root=seen.root,
        size=head.size,
        root=head.root,
        proof=submission.proof,
    )


class Witness:
    """Cosigns tree heads of known logs; several threads may call it.

    Args:
        root: Folder of what it has seen, made if it is not there. It must survive: a witness that
            forgot takes any tree head for a log's first one.
        signer: Its key, of type 0x04.
        logs: The keys of the logs that it watches; a log's origin is the name of its key.

    Raises:
        ConfigError: Two keys have one name, or a key is of the wrong type.
        IntegrityError: What was seen of a log is damaged, or not signed by it.
        OSError: A file cannot be read or made.
    """

    def __init__(self, root: Path, signer: Signer, logs: Iterable[Verifier]) -> None:
        self._signer = signer
        self._logs = _by_origin(logs)
        self._root = root / HEADS
        self._root.mkdir(parents=True, exist_ok=True)
        self._seen = {origin: self._load(log) for origin, log in self._logs.items()}
        self._lock = threading.Lock()

    def seen(self, origin: str) -> Seen:
        """Return what was seen of a log.

        Raises:
            NotFound: It is not one of those that are watched.
        """
        self._log(origin)
        return self._seen[origin]

    def add_checkpoint(self, body: bytes, *, time_s: int) -> bytes:
        """Return the cosignature line of a submission; what was seen is on the disk before.

        Args:
            body: As `write_submission` makes it.
            time_s: Now, in whole seconds since 1970.

        Raises:
            InvalidInput: It is malformed.
            NotFound: The log is not one of those that are watched.
            BadSignature: The tree head is not signed by it.
            StaleTreeHead: It starts from another size than what was seen.
            ForkedLog: It is of the size that was seen, with another root; it is kept as evidence.
            BadProof: It does not go on from what was seen.
            StorageFull: There is no space; nothing was cosigned.
            OSError: What was seen cannot be written; nothing was cosigned.
        """
        submission = read_submission(body)
        head = submission.signed.head
        log = self._log(head.origin)
        with self._lock:
            try:
                judge(submission, log, self._seen[head.origin])
            except ForkedLog as fork:
                self._keep_fork(submission.signed, fork)
                raise
            self._remember(submission.signed)
        return cosign(submission.signed.note.text, self._signer, time_s=time_s).text.encode()

    def _log(self, origin: str) -> Verifier:
        if origin not in self._logs:
            raise NotFound(f"origin: the log {origin[:100]!r} is not watched here", field="origin")
        return self._logs[origin]

    def _remember(self, signed: SignedTreeHead) -> None:
        seen = Seen(signed.head.size, signed.head.root)
        if self._seen[signed.head.origin] != seen or not self._path(signed.head.origin).exists():
            write_atomic(self._path(signed.head.origin), signed.note.data)
        self._seen[signed.head.origin] = seen

    def _keep_fork(self, signed: SignedTreeHead, fork: ForkedLog) -> None:
        log.error("fork: %s", fork.detail)
        path = self._path(signed.head.origin).with_suffix(FORK_SUFFIX)
        if not path.exists():
            write_atomic(path, signed.note.data)

    def _load(self, log: Verifier) -> Seen:
        path = self._path(log.name)
        if not path.exists():
            return Seen()
        try:
            head = tree_head.verify(path.read_bytes(), log).head
        except (InvalidInput, BadSignature) as error:
            raise IntegrityError(
                f"{path}: what was seen of {log.name} is damaged: {error.detail}",
                cure="bring the file back from a copy; without it the log could go back unseen",
            ) from error
        return Seen(head.size, head.root)

    def _path(self, origin: str) -> Path:
        return self._root / hashlib.sha256(origin.encode()).hexdigest()


def _by_origin(logs: Iterable[Verifier]) -> Mapping[str, Verifier]:
    known: dict[str, Verifier] = {}
    for one in logs:
        if one.kind is not KeyType.ED25519:
            raise ConfigError(f"{one.text}: expected the key of a log, type 0x01")
        if known.setdefault(one.name, one) != one:
            raise ConfigError(f"{one.name}: expected one key of each log, found two")
    return known


def _read_hash(line: str) -> bytes:
    found = note.from_base64(line, what="proof")
    if len(found) != HASH_BYTES:
        raise InvalidInput(f"proof: expected hashes of 32 bytes, found {len(found)}")
    return found
