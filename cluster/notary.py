"""Who signs for a service, and the one writer of its log.

keys/     service.key and its history; log.key, which is the log's identity and never changes
log/      every commitment, record of a checkpoint, seal, verdict and audit, in order
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from cluster.settings import Limits
from evidence import inclusion
from evidence.keyring import Keyring
from evidence.log.note import KeyType, Signer
from evidence.log.store import Log
from evidence.log.tree_head import SignedTreeHead
from evidence.seal import Authority
from evidence.signing import sign_statement

LOG_NAME = "log"
"""Folder of the log in the home of a service."""


class Notary:
    """The keys and the log of a service.

    Args:
        keyring: What signs statements.
        signer: What signs tree heads.
        log: The log.
        limits: Of the service; every commitment tells them.
    """

    def __init__(self, keyring: Keyring, signer: Signer, log: Log, *, limits: Limits) -> None:
        self._keyring = keyring
        self._signer = signer
        self._log = log
        self._turn = threading.Lock()
        self.limits: Mapping[str, Any] = limits.model_dump(mode="json")
        """The limits of the service, by name."""

    @classmethod
    def open(cls, home: Path, *, limits: Limits) -> Self:
        """Read the keys and the log in a home, made if there are none.

        Raises:
            ConfigError: A key file may not be used.
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
        return cls(keyring, signer, Log(home / LOG_NAME), limits=limits)

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
        return Authority(self._keyring.history, self.log)

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

    def prove(self, envelopes: Sequence[bytes]) -> tuple[bytes, bytes]:
        """Put envelopes into the log and return a tree head over them, and seal/inclusion.json.

        Raises:
            StorageFull: There is no space.
        """
        places = self.enter(envelopes)
        with self._turn:
            head = self._log.sign(self._signer)
            size = SignedTreeHead.parse(head).head.size
            return head, inclusion.prove(self._log, name=self.log, size=size, places=places)

    def close(self) -> None:
        """Let another process write to the log."""
        self._log.close()

    def log_view(self) -> dict[str, Any]:
        """Return what readiness and readers see of the log."""
        return {"key": self.log, "size": self._log.size}
