"""What a peer is to the bridge: its id, and what it said of itself in the swarm."""

import re
from dataclasses import dataclass
from typing import NewType

from evidence.errors import InvalidInput

PeerId = NewType("PeerId", str)
"""A libp2p peer id, base58btc of a multihash (libp2p specs, peer-ids)."""

_PEER_ID = re.compile(r"(?:Qm|12D3Koo)[1-9A-HJ-NP-Za-km-z]{43,50}")


@dataclass(frozen=True, slots=True)
class Announced:
    """What one peer announces in the swarm's table: nothing of it has been checked."""

    peer_id: PeerId
    begin: int
    """First block that it serves."""
    end: int
    """Block behind the last one."""
    throughput: float = 1.0
    """Blocks a second, as it says itself; > 0."""
    name: str | None = None
    version: str | None = None
    """Its version of Petals."""

    def serves(self, block: int) -> bool:
        """Return whether it says that it serves a block."""
        return self.begin <= block < self.end


def require_peer_id(value: str, *, field: str) -> PeerId:
    """Return `value` if it is a peer id.

    Raises:
        InvalidInput: It is not.
    """
    if not _PEER_ID.fullmatch(value):
        raise InvalidInput(
            f"{field}: expected a libp2p peer id (Qm... or 12D3Koo...), found {value[:80]!r}",
            field=field,
            expected="a libp2p peer id",
            found=value[:80],
        )
    return PeerId(value)
