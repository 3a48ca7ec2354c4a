"""What the manager signs for the bridge, and what it keeps from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.audit import AuditJournal
from cluster.notary import Notary
from cluster.petals_desk import RECORD_TYPE, PetalsDesk
from cluster.settings import Limits
from evidence import canonical
from evidence.clock import utc_now
from evidence.errors import Conflict, InvalidInput
from evidence.signing import unverified_statement
from petals_bridge.allowlist import LIST_NAME, Right
from petals_bridge.allowlist_file import AllowlistFile, keys_of
from tests.petals_bridge.listing import FRIEND, OTHER, STRANGER, entry


class Desk:
    """A desk with its journal and log."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.notary = Notary.open(home, limits=Limits(), witnesses=None)
        self.journal = AuditJournal(home / "audit.jsonl", clock=utc_now)
        self.desk = PetalsDesk(home, notary=self.notary, journal=self.journal, clock=utc_now)
        self.bridge = AllowlistFile(home / "petals", keys=keys_of(home / "keys"), clock=utc_now)

    def actions(self) -> list[dict[str, Any]]:
        return [canonical.decode_object(line) for line in self.journal]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.notary.close()
    made.journal.close()


def test_a_list_that_the_manager_signed_is_in_force_at_the_bridge(here: Desk) -> None:
    view = here.desk.set_allowlist(0, [entry()], who="api")
    assert (view["counter"], [one["id"] for one in view["peers"]]) == (1, [FRIEND])
    assert here.bridge.allows(FRIEND, Right.USE)
    (line,) = here.actions()
    assert (line["action"], line["who"], line["counter"]) == ("petals.allowlist", "api", 1)


def test_two_changes_of_the_same_list_do_not_both_pass(here: Desk) -> None:
    here.desk.set_allowlist(0, [entry()], who="api")
    with pytest.raises(Conflict, match="has 1, the change is of 0"):
        here.desk.set_allowlist(0, [entry(OTHER)], who="api")
    assert here.bridge.having(Right.USE) == {FRIEND}


def test_a_bad_entry_changes_nothing_and_is_named(here: Desk) -> None:
    here.desk.set_allowlist(0, [entry()], who="api")
    with pytest.raises(InvalidInput) as caught:
        here.desk.set_allowlist(1, [entry("nobody")], who="api")
    assert caught.value.field == "id"
    assert here.desk.allowlist()["counter"] == 1
    assert len(here.actions()) == 1


def test_a_peer_that_lied_is_taken_off_and_only_that_one(here: Desk) -> None:
    here.desk.set_allowlist(0, [entry(), entry(OTHER)], who="api")
    assert here.desk.expel(FRIEND, "wrong") == 2
    assert here.bridge.having(Right.USE) == {OTHER}
    assert here.actions()[-1]["action"] == "petals.expelled"
    assert here.actions()[-1]["peer_id"] == FRIEND


def test_the_bridge_cannot_change_the_list_by_expelling_a_stranger(here: Desk) -> None:
    here.desk.set_allowlist(0, [entry()], who="api")
    assert here.desk.expel(STRANGER, "wrong") is None
    assert here.desk.allowlist()["counter"] == 1


def test_a_record_is_signed_logged_and_in_the_journal(here: Desk) -> None:
    here.desk.record("petals.joined", {"model": "m"})
    (line,) = here.actions()
    proof = here.notary.inclusion_view(line["log_index"], None)
    assert proof["index"] == line["log_index"]
    envelope = here.notary._log.entry(line["log_index"])
    said = unverified_statement(envelope)
    assert (said["predicateType"], said["predicate"]["action"]) == (RECORD_TYPE, "petals.joined")


def test_what_strangers_cause_does_not_grow_the_log(here: Desk) -> None:
    before = here.notary.log_view()["size"]
    for _ in range(5):
        here.desk.record("petals.denied", {"peer_id": STRANGER, "call": "rpc_info", "times": 1})
    assert here.notary.log_view()["size"] == before
    assert [line["action"] for line in here.actions()] == ["petals.denied"] * 5


def test_a_list_that_was_altered_on_the_disk_is_told(here: Desk) -> None:
    here.desk.set_allowlist(0, [entry()], who="api")
    path = here.home / "petals" / LIST_NAME
    path.write_bytes(path.read_bytes().replace(FRIEND.encode(), OTHER.encode()))
    view = here.desk.allowlist()
    assert [one["id"] for one in view["peers"]] == [FRIEND]
    assert "not about this" in view["refused"]
