"""The one writer of the book of accounts. Tokens are made here, shown once, and kept as SHA-256.

Each change replaces the file as a whole, on the disk before it is answered, so that a crash leaves
the book of before or of after. What a change did is returned, for the journal.
"""

import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from evidence import canonical, digest, files
from evidence.clock import Clock, moment, timestamp
from evidence.errors import Conflict, Forbidden, InvalidInput, NotFound
from governance.account_reader import read_book
from governance.accounts import (
    RESERVED,
    Account,
    AccountKind,
    Book,
    Key,
    Quota,
    Role,
    Session,
    is_in_force,
)

MOST_ACCOUNTS = 1_000
MOST_KEYS = 10_000
MOST_SESSIONS = 1_000
"""The oldest session ends where one more is opened."""

MOST_DAYS = 366
"""Longest life of a key, in days."""

_BYTES = 32
_PREFIX = "zp_"


class AccountStore:
    """Accounts, keys and sessions, changed by one process.

    Args:
        path: The book; its folder must be there, for its owner alone.
        clock: Where timestamps come from.

    Raises:
        IntegrityError: The book is damaged.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self.book: Book = read_book(path)

    # -- accounts ------------------------------------------------------------------------------

    def add_account(self, name: str, *, kind: AccountKind, role: Role) -> Account:
        """Make an account.

        Raises:
            Conflict: There is one of that name, or the name means something else in journals.
            StorageFull: The disk took no more.
        """
        if name in self.book.accounts or name in RESERVED:
            raise Conflict(
                f"name: there is an account {name} already, or the name is reserved",
                field="name",
                found=name,
            )
        if len(self.book.accounts) >= MOST_ACCOUNTS:
            raise Conflict(f"there are {MOST_ACCOUNTS} accounts, the most that can be")
        account = Account(name=name, kind=kind, role=role, created=self._now())
        self._write(accounts={**self.book.accounts, name: account})
        return account

    def change_account(
        self, name: str, *, role: Role | None = None, disabled: bool | None = None
    ) -> tuple[Account, Account]:
        """Change the role of an account, or whether it is let in; return it before and after.

        Raises:
            NotFound: There is none of that name.
            StorageFull: The disk took no more.
        """
        before = self.account(name)
        wanted: dict[str, Any] = {"role": role, "disabled": disabled}
        after = before.model_copy(update={k: v for k, v in wanted.items() if v is not None})
        self._write(accounts={**self.book.accounts, name: after})
        return before, after

    def account(self, name: str) -> Account:
        """Return an account.

        Raises:
            NotFound: There is none of that name; the owner has no record.
        """
        if name not in self.book.accounts:
            raise NotFound(f"there is no account {name[:64]}", field="name", found=name[:64])
        return self.book.accounts[name]

    # -- keys ----------------------------------------------------------------------------------

    def add_key(self, account: str, *, label: str, days: int, quota: Quota) -> tuple[Key, str]:
        """Make a key of an account; return it and its token, which is never to be had again.

        Args:
            account: Whose.
            label: What it is for.
            days: Life, 1 to MOST_DAYS.
            quota: What it may use.

        Raises:
            NotFound: There is no such account.
            InvalidInput: It would live too long.
            Conflict: There are too many keys.
            StorageFull: The disk took no more; there is no new key.
        """
        self.account(account)
        if not 1 <= days <= MOST_DAYS:
            raise InvalidInput(f"days: expected 1 to {MOST_DAYS}, found {days}", field="days")
        if len(self.book.keys) >= MOST_KEYS:
            raise Conflict(f"there are {MOST_KEYS} keys, the most that can be")
        token = _PREFIX + secrets.token_urlsafe(_BYTES)
        now = self._clock()
        key = Key(
            key_id=f"key-{secrets.token_hex(6)}",
            account=account,
            label=label,
            sha256=digest.of_bytes(token.encode()),
            created=timestamp(now),
            expires=timestamp(now + timedelta(days=days)),
            quota=quota,
        )
        self._write(keys={**self.book.keys, key.key_id: key})
        return key, token

    def revoke_key(self, key_id: str) -> tuple[Key, Key]:
        """Refuse a key from now on; return it before and after. Doing it twice changes nothing.

        Raises:
            NotFound: There is none of that id.
            StorageFull: The disk took no more.
        """
        before = self.key(key_id)
        if before.revoked is not None:
            return before, before
        after = before.model_copy(update={"revoked": self._now()})
        self._write(keys={**self.book.keys, key_id: after})
        return before, after

    def key(self, key_id: str) -> Key:
        """Return a key.

        Raises:
            NotFound: There is none of that id.
        """
        if key_id not in self.book.keys:
            raise NotFound(f"there is no key {key_id[:64]}", field="key_id", found=key_id[:64])
        return self.book.keys[key_id]

    def is_in_force(self, key: Key) -> bool:
        """Return whether a key is good now."""
        return is_in_force(key, self.book, now=self._clock())

    # -- sessions ------------------------------------------------------------------------------

    def open_session(self, account: str, *, token_sha256: str, seconds: int) -> tuple[Session, str]:
        """Sign a browser in; return the session and its cookie, which is kept as SHA-256.

        Raises:
            StorageFull: The disk took no more.
        """
        now = self._clock()
        cookie = secrets.token_urlsafe(_BYTES)
        session = Session(
            account=account,
            token_sha256=token_sha256,
            created=timestamp(now),
            expires=timestamp(now + timedelta(seconds=seconds)),
        )
        live = self._live_sessions(now)
        kept = dict(list(live.items())[-(MOST_SESSIONS - 1) :])
        self._write(sessions={**kept, digest.of_bytes(cookie.encode()): session})
        return session, cookie

    def close_session(self, sha256: str) -> Session:
        """Sign a browser out.

        Raises:
            Forbidden: There is no such session.
            StorageFull: The disk took no more.
        """
        sessions = dict(self.book.sessions)
        if sha256 not in sessions:
            raise Forbidden("there is no such session")
        closed = sessions.pop(sha256)
        self._write(sessions=sessions)
        return closed

    def session(self, sha256: str) -> Session:
        """Return a session.

        Raises:
            NotFound: There is none.
        """
        if sha256 not in self.book.sessions:
            raise NotFound("there is no such session")
        return self.book.sessions[sha256]

    def _live_sessions(self, now: datetime) -> dict[str, Session]:
        return {k: one for k, one in self.book.sessions.items() if now < moment(one.expires)}

    def _write(self, **changes: Any) -> None:
        book = self.book.model_copy(update=changes)
        files.write_atomic(self._path, canonical.encode(book.model_dump(mode="json")))
        self.book = book

    def _now(self) -> str:
        return timestamp(self._clock())
