"""Accounts, keys and sessions: kept as digests, seen by every reader, refused when they should."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from evidence import digest
from evidence.errors import Conflict, IntegrityError, InvalidInput, NotFound
from governance.account_reader import AccountReader, csrf_of
from governance.account_store import AccountStore
from governance.accounts import AccountKind, Quota, Role
from tests.cluster.small import Watch

OWNER = "the-owners-token"


class Clock(Watch):
    """A clock that can be put forward."""

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)


def store(folder: Path, clock: Clock | None = None) -> AccountStore:
    return AccountStore(folder / "accounts.json", clock=clock or Clock())


def reader(folder: Path, clock: Clock | None = None, *, owner: str = OWNER) -> AccountReader:
    return AccountReader(folder / "accounts.json", owner_token=owner, clock=clock or Clock())


def key_of(book: AccountStore, name: str = "alice", *, days: int = 30) -> tuple[str, str]:
    if name not in book.book.accounts:
        book.add_account(name, kind=AccountKind.USER, role=Role.OPERATOR)
    key, token = book.add_key(name, label="", days=days, quota=Quota())
    return key.key_id, token


def test_each_role_covers_itself_and_those_before_it() -> None:
    covered = {role: {one for one in Role if role.covers(one)} for role in Role}
    assert [len(covered[role]) for role in Role] == [1, 2, 3, 4]
    assert all(role in covered[role] for role in Role)


def test_a_token_tells_whose_it_is(tmp_path: Path) -> None:
    key_id, token = key_of(store(tmp_path))
    caller = reader(tmp_path).of_token(token, origin="10.0.0.1")
    assert caller is not None
    assert (caller.name, caller.role, caller.key_id, caller.origin) == (
        "alice", Role.OPERATOR, key_id, "10.0.0.1",
    )  # fmt: skip


def test_the_owners_token_is_an_admin_without_any_record(tmp_path: Path) -> None:
    caller = reader(tmp_path).of_token(OWNER, origin=None)
    assert caller is not None
    assert (caller.name, caller.role) == ("owner", Role.ADMIN)


@pytest.mark.parametrize("token", ["", "zp_", "zp_" + "a" * 43, OWNER + "x", OWNER[:-1]])
def test_another_token_is_nobodys(tmp_path: Path, token: str) -> None:
    key_of(store(tmp_path))
    assert reader(tmp_path).of_token(token, origin=None) is None


def test_the_book_holds_no_token_and_no_cookie(tmp_path: Path) -> None:
    book = store(tmp_path)
    _, token = key_of(book)
    sha256 = digest.of_bytes(token.encode())
    _, cookie = book.open_session("alice", token_sha256=sha256, seconds=60)
    text = (tmp_path / "accounts.json").read_text(encoding="utf-8")
    assert token not in text
    assert cookie not in text
    assert sha256 in text


def test_a_revoked_key_is_refused_by_a_reader_that_knew_it(tmp_path: Path) -> None:
    book, looking = store(tmp_path), reader(tmp_path)
    key_id, token = key_of(book)
    assert looking.of_token(token, origin=None) is not None
    book.revoke_key(key_id)
    assert looking.of_token(token, origin=None) is None


def test_revoking_twice_keeps_the_first_moment(tmp_path: Path) -> None:
    book = store(tmp_path)
    key_id, _ = key_of(book)
    _, first = book.revoke_key(key_id)
    before, after = book.revoke_key(key_id)
    assert before == after == first


def test_a_key_expires(tmp_path: Path) -> None:
    clock = Clock()
    _, token = key_of(store(tmp_path, clock), days=1)
    looking = reader(tmp_path, clock)
    assert looking.of_token(token, origin=None) is not None
    clock.forward(days=1)
    assert looking.of_token(token, origin=None) is None


def test_a_disabled_account_is_refused_with_all_its_keys_and_let_in_again(tmp_path: Path) -> None:
    book, looking = store(tmp_path), reader(tmp_path)
    tokens = [key_of(book)[1], key_of(book)[1]]
    book.change_account("alice", disabled=True)
    assert [looking.of_token(token, origin=None) for token in tokens] == [None, None]
    book.change_account("alice", disabled=False)
    assert all(looking.of_token(token, origin=None) for token in tokens)


def test_another_role_holds_for_the_keys_that_are_out(tmp_path: Path) -> None:
    book, looking = store(tmp_path), reader(tmp_path)
    _, token = key_of(book)
    book.change_account("alice", role=Role.VIEWER)
    caller = looking.of_token(token, origin=None)
    assert caller is not None
    assert caller.role is Role.VIEWER


def session_of(book: AccountStore, token: str, *, name: str = "alice") -> str:
    sha256 = digest.of_bytes(token.encode())
    return book.open_session(name, token_sha256=sha256, seconds=600)[1]


def test_a_cookie_tells_who_signed_in(tmp_path: Path) -> None:
    book = store(tmp_path)
    _, token = key_of(book)
    caller = reader(tmp_path).of_cookie(session_of(book, token), origin=None)
    assert caller is not None
    assert (caller.name, caller.session is not None) == ("alice", True)


def test_a_session_ends_with_its_key(tmp_path: Path) -> None:
    book, looking = store(tmp_path), reader(tmp_path)
    key_id, token = key_of(book)
    cookie = session_of(book, token)
    book.revoke_key(key_id)
    assert looking.of_cookie(cookie, origin=None) is None


def test_a_session_of_the_owner_ends_with_the_owners_token(tmp_path: Path) -> None:
    cookie = session_of(store(tmp_path), OWNER, name="owner")
    assert reader(tmp_path).of_cookie(cookie, origin=None) is not None
    assert reader(tmp_path, owner="another").of_cookie(cookie, origin=None) is None


def test_a_session_expires_and_can_be_closed(tmp_path: Path) -> None:
    clock = Clock()
    book, looking = store(tmp_path, clock), reader(tmp_path, clock)
    _, token = key_of(book)
    first, second = session_of(book, token), session_of(book, token)
    book.close_session(digest.of_bytes(first.encode()))
    assert looking.of_cookie(first, origin=None) is None
    assert looking.of_cookie(second, origin=None) is not None
    clock.forward(seconds=600)
    assert looking.of_cookie(second, origin=None) is None


def test_a_cookie_is_no_token_and_a_token_no_cookie(tmp_path: Path) -> None:
    book, looking = store(tmp_path), reader(tmp_path)
    _, token = key_of(book)
    cookie = session_of(book, token)
    assert looking.of_token(cookie, origin=None) is None
    assert looking.of_cookie(token, origin=None) is None
    assert csrf_of(cookie) not in {cookie, digest.of_bytes(cookie.encode())}


@pytest.mark.parametrize("name", ["owner", "service", "reviewer", "alice"])
def test_a_name_that_is_taken_or_means_something_else_is_refused(tmp_path: Path, name: str) -> None:
    book = store(tmp_path)
    book.add_account("alice", kind=AccountKind.USER, role=Role.VIEWER)
    with pytest.raises(Conflict, match=name):
        book.add_account(name, kind=AccountKind.USER, role=Role.ADMIN)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    book = store(tmp_path)
    with pytest.raises(NotFound, match="bob"):
        book.change_account("bob", disabled=True)
    with pytest.raises(NotFound, match="bob"):
        book.add_key("bob", label="", days=1, quota=Quota())
    with pytest.raises(NotFound, match="key-000000000000"):
        book.revoke_key("key-000000000000")


@pytest.mark.parametrize("days", [0, -1, 367])
def test_a_key_lives_for_a_day_to_a_year(tmp_path: Path, days: int) -> None:
    with pytest.raises(InvalidInput, match="days"):
        key_of(store(tmp_path), days=days)


def test_a_book_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    book = store(tmp_path)
    key_of(book)
    assert store(tmp_path).book == book.book


@pytest.mark.parametrize("data", [b"", b"{}x", b"[]", b'{"v":2}', b'{"accounts":{"a":1},"v":1}'])
def test_a_damaged_book_lets_nobody_in_but_the_owner(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "accounts.json").write_bytes(data)
    looking = reader(tmp_path)
    assert looking.of_token(OWNER, origin=None) is not None
    with pytest.raises(IntegrityError, match="book of accounts"):
        looking.of_token("zp_other", origin=None)
    with pytest.raises(IntegrityError):
        store(tmp_path)


def test_every_byte_of_a_cut_book_is_noticed(tmp_path: Path) -> None:
    key_of(store(tmp_path))
    path = tmp_path / "accounts.json"
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(IntegrityError):
            store(tmp_path)


def test_the_book_is_canonical_json(tmp_path: Path) -> None:
    key_of(store(tmp_path))
    assert json.loads((tmp_path / "accounts.json").read_bytes())["v"] == 1
