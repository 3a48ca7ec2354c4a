"""Who signs for a service, and the one writer of its log.

keys/     service.key and its history; log.key, which is the log's identity and never changes
log/      every commitment, record of a checkpoint, seal, verdict and audit, in order
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import structlog

from cluster.settings import Limits
from cluster.witnesses import Witness, ask, read_list
from evidence import inclusion
from evidence.errors import ServiceError
from evidence.keyring import Keyring
from evidence.log.cosignature import attach
from evidence.log.merkle import leaf_hash
from evidence.log.note import KeyType, Signer, to_base64
from evidence.log.proof import InclusionProof
from evidence.log.store import Log
from evidence.log.tree_head import SignedTreeHead
from evidence.model_signature import ModelKey
from evidence.seal import Authority
from evidence.signing import sign_statement

log = structlog.get_logger()

LOG_NAME = "log"
"""Folder of the log in the home of a service."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the log says of a run."""

    tree_head: bytes
    inclusion: bytes
    """seal/inclusion.json."""
    absent: Mapping[str, str]
    """Witnesses that did not cosign, and why."""


class Notary:
    """The keys and the log of a service.

    Args:
        keyring: What signs statements.
        signer: What signs tree heads.
        model_key: What signs checkpoints' folders.
        log: The log.
        limits: Of the service; every commitment tells them.
        witnesses: Who is asked to cosign tree heads.
    """

    def __init__(
        self,
        keyring: Keyring,
        signer: Signer,
        model_key: ModelKey,
        log: Log,
        *,
        limits: Limits,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        self._keyring = keyring
        self._signer = signer
        self.model_key = model_key
        """What signs checkpoints' folders."""
        self._log = log
        self._witnesses = witnesses
        self._turn = threading.Lock()
        self._asking = threading.Lock()
        self.limits: Mapping[str, Any] = limits.model_dump(mode="json")
        """The limits of the service, by name."""

    @classmethod
    def open(cls, home: Path, *, limits: Limits, witnesses: Path | None = None) -> Self:
        """Read the keys and the log in a home, made if there are none.

        Raises:
            ConfigError: A key file may not be used, or the list of witnesses is malformed.
            BadSignature: The history of keys is damaged.
            Conflict: Another service writes to the log.
            IntegrityError: The log is damaged.
            StorageFull: There is no space.
            OSError: A file cannot be read or made.
        """
        keys = home / "keys"
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        keyring = Keyring.open_or_create(keys)
        signer = Signer.open_or_create(keys / "log.key", KeyType.ED25519)
        asked = read_list(witnesses) if witnesses else []
        model_key = ModelKey.open_or_create(keys / "model.key")
        log = Log(home / LOG_NAME)
        return cls(keyring, signer, model_key, log, limits=limits, witnesses=asked)

    @property
    def key_id(self) -> str:
        """The key that signs statements."""
        return self._keyring.key.key_id

    @property
    def log(self) -> str:
        """Verifier key of the log."""
        return self._signer.verifier.text

    @property
    def keyring(self) -> Keyring:
        """The key that signs statements, with its history."""
        return self._keyring

    @property
    def authority(self) -> Authority:
        """Who seals packs."""
        return Authority(self._keyring.history, self.log, self.model_key.public)

    def sign(self, statement: Mapping[str, Any]) -> bytes:
        """Return the envelope of a statement."""
        return sign_statement(self._keyring.key, statement)

    def enter(self, envelopes: Iterable[bytes]) -> list[int]:
        """Put envelopes into the log, on the disk when it returns, and return their places.

        One that is there already keeps its place.

        Raises:
            StorageFull: There is no space.
        """
        with self._turn:
            places = self._log.append_many(envelopes)
            self._log.sync()
            return places

    def prove(self, envelopes: Sequence[bytes]) -> Proof:
        """Put envelopes into the log and return a tree head over them, cosigned, with the proofs.

        Raises:
            StorageFull: There is no space.
        """
        places = self.enter(envelopes)
        head, absent = self._asked()
        with self._turn:
            size = SignedTreeHead.parse(head).head.size
            proofs = inclusion.prove(self._log, name=self.log, size=size, places=places)
        return Proof(head, proofs, absent)

    def witnessed(self, envelope: bytes) -> bytes | None:
        """Return the proof that an entry is in a tree head that witnesses cosigned (tlog-proof).

        Blocks as long as the witnesses take. Each that does not cosign is left out; None where
        there is no cosignature.

        Raises:
            StorageFull: There is no space.
        """
        (place,) = self.enter([envelope])
        head, _ = self._asked()
        signed = SignedTreeHead.parse(head)
        if len(signed.note.signatures) == 1:  # the log's own
            return None
        with self._turn:
            hashes = tuple(self._log.inclusion(place, signed.head.size))
        return InclusionProof(place, hashes, signed).data

    def _asked(self) -> tuple[bytes, dict[str, str]]:
        """Return the present tree head with the cosignatures it gets, and who gives none, and why.

        Raises:
            StorageFull: There is no space.
        """
        absent = {}
        with self._asking:  # in turns: a witness refuses a tree that is older than one it has seen
            with self._turn:
                head = self._log.sign(self._signer)
            for witness in self._witnesses:
                try:
                    head = self._cosigned(head, witness)
                except ServiceError as error:
                    log.warning("witness_absent", name=witness.verifier.name, cause=error.detail)
                    absent[witness.verifier.name] = error.detail
        return head, absent

    def _cosigned(self, head: bytes, witness: Witness) -> bytes:
        """Return a tree head with a witness's cosignature, which the log keeps."""
        held = SignedTreeHead.parse(head).note
        if any(line.is_by(witness.verifier) for line in held.signatures):
            return head
        lines = ask(witness.url, witness.verifier, head, self.consistency)
        cosigned = attach(held, lines).data
        with self._turn:
            if self._log.head is not None and self._log.head.note.text == held.text:
                self._log.publish(cosigned)
        return cosigned

    def entries(self, wanted: Callable[[bytes], bool] = lambda _: True) -> list[bytes]:
        """Return the entries of the log that are wanted, in order; all are read.

        Raises:
            IntegrityError: The log is damaged.
        """
        with self._turn:
            return [entry for entry in self._log.entries() if wanted(entry)]

    # -- readers -----------------------------------------------------------------------------

    def consistency(self, old_size: int, size: int) -> Sequence[bytes]:
        """Return the proof that the log at `size` goes on from that at `old_size`.

        Raises:
            InvalidInput: It does not.
        """
        with self._turn:
            return self._log.consistency(old_size, size)

    def consistency_view(self, old_size: int, size: int | None) -> dict[str, Any]:
        """Return that proof as JSON; without a size, with the present tree.

        Raises:
            InvalidInput: There is none.
        """
        with self._turn:
            wanted = self._log.size if size is None else size
            hashes = self._log.consistency(old_size, wanted)
            return {
                "old_size": old_size,
                "size": wanted,
                "old_root": to_base64(self._log.root(old_size)),
                "root": to_base64(self._log.root(wanted)),
                "hashes": [to_base64(one) for one in hashes],
            }

    def inclusion_view(self, index: int, size: int | None) -> dict[str, Any]:
        """Return the proof that entry `index` is among the first `size`, or in the present tree.

        Raises:
            InvalidInput: It is not.
        """
        with self._turn:
            wanted = self._log.size if size is None else size
            hashes = self._log.inclusion(index, wanted)
            return {
                "index": index,
                "size": wanted,
                "root": to_base64(self._log.root(wanted)),
                "leaf": to_base64(leaf_hash(self._log.entry(index))),
                "hashes": [to_base64(one) for one in hashes],
            }

    def head(self) -> bytes:
        """Return the present tree head, with the cosignatures that it has.

        Raises:
            StorageFull: There is no space to keep it.
        """
        with self._turn:
            return self._log.sign(self._signer)

    def tile(self, path: str) -> bytes:
        """Return a tile, or a bundle of entries, by its path.

        Raises:
            InvalidInput: The path names none.
            NotFound: The log has none there.
        """
        with self._turn:
            return self._log.tile(path)

    def proof_of(self, index: int) -> str:
        """Return the proof that stands alone for an entry (C2SP tlog-proof), in the present tree.

        Raises:
            InvalidInput: There is no such entry.
            StorageFull: There is no space to keep the tree head.
        """
        with self._turn:
            head = SignedTreeHead.parse(self._log.sign(self._signer))
            hashes = tuple(self._log.inclusion(index, head.head.size))
            return InclusionProof(index, hashes, head).data.decode()

    def close(self) -> None:
        """Let another process write to the log."""
        self._log.close()

    def log_view(self) -> dict[str, Any]:
        """Return what readiness and readers see of the log."""
        return {
            "key": self.log,
            "size": self._log.size,
            "witnesses": [one.verifier.text for one in self._witnesses],
        }
