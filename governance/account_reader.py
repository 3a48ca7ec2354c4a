"""The book of accounts as the guards read it: every process of the service sees a change at once.

The writer replaces the file as a whole, so that looking at its inode, size and time of change tells
whether it is another one.
"""

import hmac
from pathlib import Path

from pydantic import ValidationError

from evidence import canonical, digest
from evidence.clock import Clock, moment
from evidence.errors import IntegrityError, InvalidInput
from governance.accounts import Book, Caller, Key, is_in_force

FILE = "accounts.json"
"""Name of the book's file, beside the signing keys of the service."""

_CSRF_PREFIX = b"zeropoint-csrf:"

_Stamp = tuple[int, int, int]


def read_book(path: Path) -> Book:
    """Return the book in a file; an empty one where there is none.

    Raises:
        IntegrityError: The file is damaged; nobody is let in by guesses.
        OSError: It cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Book()
    try:
        return Book.model_validate(canonical.decode_canonical(data))
    except (InvalidInput, ValidationError) as error:
        raise IntegrityError(
            f"{path.name}: the book of accounts is damaged: {str(error).splitlines()[0][:200]}",
            cure="put a copy of it back; without the file only the owner's token is known",
        ) from error


def csrf_of(cookie: str) -> str:
    """Return what a page of a session must send beside its cookie with every change."""
    return digest.of_bytes(_CSRF_PREFIX + cookie.encode())


class AccountReader:
    """Tells who a token or a cookie belongs to.

    Args:
        path: The book.
        owner_token: Token of the service's token file.
        clock: Decides what has expired.
    """

    def __init__(self, path: Path, *, owner_token: str, clock: Clock) -> None:
        self._path = path
        self._owner = digest.of_bytes(owner_token.encode())
        self._clock = clock
        self._stamp: _Stamp | None = None
        self._book = Book()
        self._by_token: dict[str, Key] = {}

    def of_token(self, token: str, *, origin: str | None) -> Caller | None:
        """Return whose token it is, or None where it is nobody's, expired or revoked.

        Raises:
            IntegrityError: The book is damaged.
        """
        sha256 = digest.of_bytes(token.encode())
        if hmac.compare_digest(sha256, self._owner):
            return Caller.owner(origin=origin)
        self._refresh()
        key = self._by_token.get(sha256)
        return None if key is None else self._caller(key, origin=origin, session=None)

    def of_cookie(self, cookie: str, *, origin: str | None) -> Caller | None:
        """Return who signed in with this cookie, or None where nobody did, or it has ended.

        Raises:
            IntegrityError: The book is damaged.
        """
        self._refresh()
        sha256 = digest.of_bytes(cookie.encode())
        session = self._book.sessions.get(sha256)
        if session is None or self._clock() >= moment(session.expires):
            return None
        if hmac.compare_digest(session.token_sha256, self._owner):
            return Caller.owner(origin=origin, session=sha256)
        key = self._by_token.get(session.token_sha256)
        return None if key is None else self._caller(key, origin=origin, session=sha256)

    def _caller(self, key: Key, *, origin: str | None, session: str | None) -> Caller | None:
        if not is_in_force(key, self._book, now=self._clock()):
            return None
        account = self._book.accounts[key.account]
        return Caller(account.name, account.kind, account.role, key.key_id, origin, session)

    def _refresh(self) -> None:
        stamp = _stamp_of(self._path)
        if stamp == self._stamp:
            return
        self._book = read_book(self._path)
        self._by_token = {key.sha256: key for key in self._book.keys.values()}
        self._stamp = stamp


def _stamp_of(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
