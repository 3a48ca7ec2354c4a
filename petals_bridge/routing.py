"""Which peers a request goes through: a pure decision, with its reason.

By these rules: (1) a peer that is not listed is never used, whatever it announces; (2) nor is one
whose breaker is open, that has no session left, or that the request has given up on; (3) of the
chains of peers that hold all blocks the one with the least expected time is taken, fewer peers
first among equals; (4) blocks that no usable peer holds run locally, if the cache has them;
(5) if it does not, the request is refused with what is missing. A request that asks for local
blocks only uses no peer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from petals_bridge.peers import Announced, PeerId

EXPECTED_STEP_S = 0.05
"""Time of a step that is expected of a peer of which none was measured, in seconds."""

_LOCAL_STEP_S = 1e3
"""What a local block counts as, so that a peer is preferred wherever there is one."""


class Prefer(StrEnum):
    """Where a request wants to be computed."""

    SWARM = "swarm"
    """By peers, and locally what they do not hold."""
    LOCAL = "local"
    """Locally alone."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be routed."""

    blocks: int
    """How many blocks the model has; they are numbered from 0."""
    prefer: Prefer = Prefer.SWARM
    given_up: frozenset[str] = frozenset()
    """Peers that failed this request."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when it is routed."""

    announced: Sequence[Announced]
    listed: frozenset[str]
    """Peers that may serve us."""
    admitting: frozenset[str]
    """Peers whose breaker admits a request."""
    with_room: frozenset[str]
    """Peers with which another session may be opened."""
    cached: frozenset[int]
    """Blocks that the local cache has."""
    step_s: Mapping[str, float]
    """Measured time of a step, by peer, in seconds."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A stretch of blocks and who computes it."""

    begin: int
    end: int
    peer_id: PeerId | None
    """None is this machine."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The blocks in order, from 0 to the last."""

    hops: tuple[Hop, ...]
    reason: str

    @property
    def local_blocks(self) -> tuple[int, ...]:
        """The blocks that run here."""
        return tuple(
            block for hop in self.hops if hop.peer_id is None for block in range(hop.begin, hop.end)
        )

    @property
    def is_local(self) -> bool:
        """Whether no peer takes part."""
        return all(hop.peer_id is None for hop in self.hops)


@dataclass(frozen=True, slots=True)
class Refuse:
    """There is no chain."""

    missing: tuple[int, ...]
    """Blocks that nobody holds."""
    reason: str


def decide(request: Request, situation: Situation) -> Chain | Refuse:
    """Return the chain of a request, or why there is none."""
    usable, passed_over = _usable(request, situation)
    held = {block for one in usable for block in range(one.begin, one.end)}
    missing = tuple(
        block
        for block in range(request.blocks)
        if block not in held and block not in situation.cached
    )
    why = _told(passed_over)
    if missing:
        return Refuse(missing, f"blocks {_spans(missing)}: no usable peer, not in the cache; {why}")
    hops = _quickest(request.blocks, usable, situation)
    chain = Chain(hops, "")
    if chain.is_local:
        asked = request.prefer is Prefer.LOCAL
        return Chain(hops, "asked to run locally" if asked else f"no usable peer; {why}")
    local = chain.local_blocks
    if local:
        return Chain(hops, f"blocks {_spans(local)} have no usable peer and run locally; {why}")
    return Chain(hops, f"{len(hops)} of {len(usable)} usable peers; {why}")


def strangers(situation: Situation) -> frozenset[str]:
    """Return who announces blocks and is not listed."""
    return frozenset(one.peer_id for one in situation.announced) - situation.listed


def _usable(request: Request, situation: Situation) -> tuple[list[Announced], dict[str, int]]:
    """Return the peers that rules 1 and 2 leave, and how many each rule took away."""
    usable, passed_over = [], {"not listed": 0, "given up": 0, "breaker open": 0, "no room": 0}
    for one in situation.announced if request.prefer is Prefer.SWARM else ():
        peer = one.peer_id
        if peer not in situation.listed:  # (1)
            passed_over["not listed"] += 1
        elif peer in request.given_up:  # (2)
            passed_over["given up"] += 1
        elif peer not in situation.admitting:
            passed_over["breaker open"] += 1
        elif peer not in situation.with_room:
            passed_over["no room"] += 1
        elif 0 <= one.begin < one.end <= request.blocks:
            usable.append(one)
    return usable, passed_over


def _quickest(blocks: int, usable: Sequence[Announced], situation: Situation) -> tuple[Hop, ...]:
    """Return rule 3's chain, by dynamic programming from the last block to the first.

    The time of a hop is its peer's time of a step; a local block costs more than any peer.
    """
    best: list[tuple[float, int, tuple[Hop, ...]]] = [(0.0, 0, ())] * (blocks + 1)
    for begin in reversed(range(blocks)):
        choices = [
            (cost + best[end][0], 1 + best[end][1], (Hop(begin, end, peer), *best[end][2]))
            for peer, cost, end in _steps(begin, usable, situation)
        ]
        best[begin] = min(choices, key=lambda choice: choice[:2], default=(float("inf"), 0, ()))
    return _merged(best[0][2])


def _steps(
    begin: int, usable: Sequence[Announced], situation: Situation
) -> list[tuple[PeerId | None, float, int]]:
    """Return every way to go on from a block: (who, expected time, block behind)."""
    steps: list[tuple[PeerId | None, float, int]] = [
        (one.peer_id, situation.step_s.get(one.peer_id, EXPECTED_STEP_S), end)
        for one in usable
        if one.serves(begin)
        for end in range(one.end, begin, -1)
    ]
    if begin in situation.cached:
        steps.append((None, _LOCAL_STEP_S, begin + 1))
    return steps


def _merged(hops: tuple[Hop, ...]) -> tuple[Hop, ...]:
    """Return the hops with neighbours of this machine put together."""
    merged: list[Hop] = []
    for hop in hops:
        if merged and merged[-1].peer_id is None and hop.peer_id is None:
            merged[-1] = Hop(merged[-1].begin, hop.end, None)
        else:
            merged.append(hop)
    return tuple(merged)


def _told(passed_over: Mapping[str, int]) -> str:
    told = [f"{count} {why}" for why, count in passed_over.items() if count]
    return f"passed over: {', '.join(told)}" if told else "none passed over"


def _spans(blocks: Sequence[int]) -> str:
    """Return blocks as spans, e.g. `0:3, 5:6`."""
    spans: list[list[int]] = []
    for block in blocks:
        if spans and spans[-1][1] == block:
            spans[-1][1] = block + 1
        else:
            spans.append([block, block + 1])
    return ", ".join(f"{begin}:{end}" for begin, end in spans)
