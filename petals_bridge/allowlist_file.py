"""The allowlist as it lies on the disk: read again when it changes, and fail-closed.

Every process that decides holds one of these: the bridge, and each process of our own server. The
highest counter that was ever in force is kept beside the list by whoever signs lists, so that a
process that starts takes in no replay either.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from evidence import keyring
from evidence.clock import Clock
from evidence.errors import BadSignature, Conflict, InvalidInput, ServiceError
from evidence.files import write_atomic
from evidence.signing import PublicKey
from petals_bridge.allowlist import (
    LIST_NAME,
    MAX_BYTES,
    SIGNATURE_NAME,
    Allowlist,
    Right,
    Taken,
    take,
)

HIGHEST_NAME = "allowlist.highest"
"""File with the highest counter that was in force."""

_Stamp = tuple[int, int, int, int]


class AllowlistFile:
    """The list in force, as one process sees it.

    Args:
        folder: Where the list and its signature are.
        keys: Returns the keys of the service; asked at each change.
        clock: Says which entries have expired.
    """

    def __init__(
        self, folder: Path, *, keys: Callable[[], Sequence[PublicKey]], clock: Clock
    ) -> None:
        self._folder = folder
        self._keys = keys
        self._clock = clock
        self._taken: Taken | None = None
        self._stamp: tuple[_Stamp, _Stamp] | None = None
        self._turn = threading.Lock()
        self.refused: ServiceError | None = None
        """Why the files as they lie there now are not in force; None if they are."""

    @property
    def current(self) -> Allowlist | None:
        """The list in force; None where there has never been a good one."""
        self.reload()
        return self._taken.allowlist if self._taken else None

    def allows(self, peer_id: str, right: Right) -> bool:
        """Return whether a peer has a right now."""
        current = self.current
        return current is not None and current.allows(peer_id, right, now=self._clock())

    def knows(self, peer_id: str) -> bool:
        """Return whether a peer has any right now."""
        current = self.current
        return current is not None and current.knows(peer_id, now=self._clock())

    def having(self, right: Right) -> frozenset[str]:
        """Return the peers that have a right now."""
        current = self.current
        return current.having(right, now=self._clock()) if current else frozenset()

    def reload(self) -> None:
        """Take in the files if they changed; what is wrong with them stands in `refused`."""
        with self._turn:
            stamp = self._look()
            if stamp is None or stamp == self._stamp:
                return
            try:
                self._take_in()
                self.refused = None
            except (ServiceError, OSError) as error:
                self.refused = _as_service_error(error)
            self._stamp = stamp

    def _look(self) -> tuple[_Stamp, _Stamp] | None:
        try:
            return _stamp(self._folder / LIST_NAME), _stamp(self._folder / SIGNATURE_NAME)
        except OSError:
            self._stamp = None
            if self._taken is not None:
                self.refused = InvalidInput(f"{LIST_NAME}: it is gone; the last good one is used")
            return None

    def _take_in(self) -> None:
        with (self._folder / LIST_NAME).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        envelope = (self._folder / SIGNATURE_NAME).read_bytes()
        taken = take(data, envelope, keys=self._keys(), in_force=self._taken)
        highest = self._highest()
        if taken.allowlist.counter < highest:
            raise Conflict(
                f"{LIST_NAME}: a replay: counter {highest} has been in force, "
                f"found {taken.allowlist.counter}",
                field="counter",
                expected=f"at least {highest}",
                found=str(taken.allowlist.counter),
            )
        self._taken = taken

    def _highest(self) -> int:
        try:
            text = (self._folder / HIGHEST_NAME).read_text("ascii").strip()
        except FileNotFoundError:
            return 0
        if not text.isdecimal():
            raise InvalidInput(f"{HIGHEST_NAME}: expected a number, found {text[:40]!r}")
        return int(text)


def keys_of(folder: Path) -> Callable[[], Sequence[PublicKey]]:
    """Return what reads the keys of a service from the public history in its folder of keys."""

    def read() -> Sequence[PublicKey]:
        try:
            return keyring.read_history((folder / "history.jsonl").read_bytes())
        except OSError as error:
            raise BadSignature(f"the history of the service's keys is not readable: {error}") from (
                error
            )

    return read


def write(folder: Path, allowlist: Allowlist, envelope: bytes) -> None:
    """Put a signed list in place; a crash between the two files leaves a pair that is refused.

    Raises:
        StorageFull: There is no space.
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / SIGNATURE_NAME, envelope)
    write_atomic(folder / LIST_NAME, allowlist.data)
    write_atomic(folder / HIGHEST_NAME, b"%d\n" % allowlist.counter)


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _as_service_error(error: Exception) -> ServiceError:
    return error if isinstance(error, ServiceError) else InvalidInput(f"{LIST_NAME}: {error}")
