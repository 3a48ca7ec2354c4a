"""What the manager does for the Petals bridge: it alone signs lists and writes records.

The bridge runs a large foreign library; it never sees a private key. It may ask for a record, or
for a peer to be taken off the list, and for nothing else. This is the one seam through which joins,
refusals, changes of the list and fallbacks reach the service journal.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.audit import AuditJournal, Who
from cluster.notary import Notary
from evidence import digest
from evidence.clock import Clock, timestamp
from evidence.errors import Conflict
from evidence.signing import statement
from petals_bridge import allowlist_file
from petals_bridge.allowlist import Allowlist, Entry, as_statement, of_validation
from petals_bridge.allowlist_file import AllowlistFile
from petals_bridge.wanted import FOLDER

RECORD_TYPE = "urn:zeropoint:petals-record:v1"
"""`predicateType` of a signed record of the bridge."""

UNSIGNED = frozenset({"petals.denied", "petals.stranger"})
"""Actions that strangers cause: in the journal, but not in the log, which never shrinks."""


class PetalsDesk:
    """The manager's part of the bridge.

    Args:
        home: Home of the service.
        notary: Signs and logs.
        journal: The service journal.
        clock: Says which entries of the list have expired.
    """

    def __init__(self, home: Path, *, notary: Notary, journal: AuditJournal, clock: Clock) -> None:
        self._folder = home / FOLDER
        self._notary = notary
        self._journal = journal
        self._clock = clock
        keys = allowlist_file.keys_of(home / "keys")
        self._file = AllowlistFile(self._folder, keys=keys, clock=clock)

    def allowlist(self) -> dict[str, Any]:
        """Return the list in force, as JSON; counter 0 before the first."""
        current = self._file.current
        refused = self._file.refused
        return {
            "counter": current.counter if current else 0,
            "peers": [entry.model_dump(mode="json") for entry in current.peer] if current else [],
            "refused": refused.detail if refused else None,
        }

    def set_allowlist(
        self, counter: int, entries: Sequence[Mapping[str, Any]], *, who: Who
    ) -> dict[str, Any]:
        """Replace the list that has this counter, sign and log the new one.

        Raises:
            Conflict: The list in force has another counter.
            InvalidInput: An entry is wrong; its field is named.
            StorageFull: There is no space.
        """
        found = self.allowlist()["counter"]
        if found != counter:
            raise Conflict(
                f"counter: the list in force has {found}, the change is of {counter}",
                field="counter",
                expected=str(found),
                found=str(counter),
                cure="read the list again and repeat the change",
            )
        try:
            peers = tuple(Entry.model_validate(entry) for entry in entries)
            changed = Allowlist(counter=counter + 1, peer=peers)
        except ValidationError as error:
            raise of_validation(error) from error
        return self._put(changed, action="petals.allowlist", who=who)

    def expel(self, peer_id: str, why: str) -> int | None:
        """Take a peer that lied off the list; return the counter of the list without it."""
        current = self._file.current
        if current is None or current.entry(peer_id) is None:
            self.record("petals.expelled", {"peer_id": peer_id, "why": why})
            return None
        details = {"peer_id": peer_id, "why": why}
        view = self._put(current.without(peer_id), action="petals.expelled", who=FOLDER, **details)
        return int(view["counter"])

    def record(self, action: str, details: Mapping[str, Any]) -> None:
        """Write what happened into the journal; what the bridge did itself is signed and logged.

        Raises:
            StorageFull: There is no space.
        """
        if action in UNSIGNED:
            self._journal.append(action, who=FOLDER, **details)
            return
        said = statement(
            {action: digest.of_record(dict(details))},
            predicate_type=RECORD_TYPE,
            predicate={
                "v": 1,
                "at": timestamp(self._clock()),
                "action": action,
                "details": dict(details),
            },
        )
        (place,) = self._notary.enter([self._notary.sign(said)])
        self._journal.append(action, who=FOLDER, log_index=place, **details)

    def _put(self, changed: Allowlist, *, action: str, who: Who, **details: Any) -> dict[str, Any]:
        envelope = self._notary.sign(as_statement(changed))
        (place,) = self._notary.enter([envelope])
        allowlist_file.write(self._folder, changed, envelope)
        self._journal.append(
            action,
            who=who,
            counter=changed.counter,
            sha256=digest.of_bytes(changed.data),
            log_index=place,
            **details,
        )
        return self.allowlist()
