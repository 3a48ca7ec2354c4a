"""Keys, peers and signed lists for the tests of the allowlist."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evidence.keyring import Keyring
from evidence.signing import SigningKey, sign_statement
from petals_bridge import allowlist_file
from petals_bridge.allowlist import Allowlist, as_statement

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
FRIEND = "QmPpK9abXz1kXSxyJrUrudAetJfupEf74DptQkmbBtWLrH"
OTHER = "QmcnnWtU2hzRLuVH1yt5MAonhyPjuhHrgrvVdTJMVcARyK"
STRANGER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


def entry(peer_id: str = FRIEND, **fields: Any) -> dict[str, Any]:
    return {"id": peer_id, "label": "friend", "rights": ["serve", "use"], **fields}


def listing(counter: int = 1, *entries: dict[str, Any]) -> Allowlist:
    return Allowlist.model_validate({"counter": counter, "peer": entries or (entry(),)})


def signed(key: SigningKey, one: Allowlist) -> bytes:
    return sign_statement(key, as_statement(one))


def keyring(folder: Path) -> Keyring:
    folder.mkdir(exist_ok=True)
    return Keyring.open_or_create(folder)


def put(folder: Path, key: SigningKey, one: Allowlist) -> None:
    allowlist_file.write(folder, one, signed(key, one))
