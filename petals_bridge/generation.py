"""One generation: token after token through a chain of hops, which may break and be replaced.

The chain is decided by `routing`, opened by whoever is passed in, and given all tokens so far when
it is new; so a chain that takes over continues the same text. What happens is told as records, in
order, to a sink that keeps them. No Petals in here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from evidence.errors import (
    BlocksMissing,
    PeerLied,
    PeerNotAllowed,
    PeerUnreachable,
    RateLimited,
    ServiceError,
)
from petals_bridge import spot_check
from petals_bridge.routing import Chain, Hop, Refuse
from petals_bridge.sampling import Sampling, choose

MOST_FALLBACKS = 16
"""Chains that one generation may lose."""


class Session(Protocol):
    """An open hop: a peer's blocks or our own."""

    peer_id: str | None

    def step(self, hidden: Any) -> Any:
        """Compute further positions; raises PeerUnreachable where a peer does not answer."""

    def close(self) -> None:
        """End it."""


class Model(Protocol):
    """The parts of a model that are always here."""

    def embed(self, tokens: Sequence[int]) -> Any:
        """Return the first hidden states of tokens."""

    def logits(self, hidden: Any) -> np.ndarray[Any, Any]:
        """Return the logits of the last position, shape (V,)."""


class Surroundings(Protocol):
    """What a generation asks of the bridge that runs it."""

    def decide(self, given_up: frozenset[str]) -> Chain | Refuse:
        """Return the chain to take now."""

    def open(self, hop: Hop, max_length: int) -> Session:
        """Open a hop; raises PeerUnreachable."""

    def require_allowed(self, peer_id: str) -> None:
        """Raise PeerNotAllowed if a peer may not serve us any more."""

    def answered(self, peer_id: str, step_s: float, size: int) -> None:
        """Take note of a step that a peer did."""

    def failed(self, peer_id: str, error: ServiceError) -> None:
        """Take note of a peer that failed."""

    def check(self, session: Session, hop: Hop) -> spot_check.Comparison | None:
        """Compute what a peer answered again, if this step is to be checked."""

    def expel(self, peer_id: str, why: str) -> None:
        """Take note of a peer that lied."""


Record = Callable[[str, dict[str, Any]], None]
"""(kind, body): keeps a record and shows it."""


class Stopped(Exception):  # no error of the tree: it stays in here
    """The generation was told to stop; it can be taken up again."""


@dataclass(slots=True)
class Generation:
    """One generation as it goes on.

    Args:
        tokens: Prompt and answer so far.
        length: Tokens of prompt and answer together at which it ends.
        eos: Token that ends it, if there is one.
    """

    tokens: list[int]
    length: int
    sampling: Sampling
    eos: int | None = None
    is_stopped: Callable[[], bool] = lambda: False
    """Asked before each token."""
    is_ended: Callable[[], bool] = lambda: False
    """Asked after each token: whether the text is at its end."""
    given_up: set[str] = field(default_factory=set)

    def run(self, model: Model, around: Surroundings, record: Record) -> str:
        """Go on to the end; return why it ended: `stop` at the end mark, else `length`.

        Records: `route`, `token`, `petals.fallback`.

        Raises:
            BlocksMissing: There is no chain (any more).
            PeerLied: A peer lied, and tokens that were given out rest on it.
            RateLimited: A limit refused a transfer.
            Stopped: As asked for.
        """
        line = _Line(around, self.length)
        losses = 0
        try:
            while len(self.tokens) < self.length:
                if self.is_stopped():
                    raise Stopped
                try:
                    hidden = line.advance(model, self.tokens, frozenset(self.given_up), record)
                except _HopFailed as failure:
                    losses += 1
                    line.close()
                    self._give_up(failure, around, losses)
                    continue
                token = choose(model.logits(hidden), self.sampling, position=len(self.tokens))
                self.tokens.append(token)
                record("token", {"index": len(self.tokens) - 1, "token": token})
                if token == self.eos or self.is_ended():
                    return "stop"
            return "length"
        finally:
            line.close()

    def _give_up(self, failure: "_HopFailed", around: Surroundings, losses: int) -> None:
        self.given_up.add(failure.peer_id)
        around.failed(failure.peer_id, failure.error)
        if losses > MOST_FALLBACKS:
            raise failure.error


class _HopFailed(Exception):
    """A hop of the chain failed; the chain is to be replaced."""

    def __init__(self, peer_id: str, error: ServiceError) -> None:
        super().__init__(str(error))
        self.peer_id = peer_id
        self.error = error


class _Line:
    """The chain in use, opened when it is first needed and again after it broke."""

    def __init__(self, around: Surroundings, length: int) -> None:
        self._around = around
        self._length = length
        self._hops: list[tuple[Hop, Session]] = []
        self._done = 0
        self._broke: tuple[float, _HopFailed] | None = None
        self._began = 0.0

    def advance(
        self, model: Model, tokens: Sequence[int], given_up: frozenset[str], record: Record
    ) -> Any:
        """Return the hidden states of all positions that the chain has not seen yet."""
        self._began = time.monotonic()
        try:
            if not self._hops:
                self._open(given_up, record)
            hidden = model.embed(tokens[self._done :])
            for hop, session in self._hops:
                hidden = self._step(hop, session, hidden)
        except _HopFailed as failure:
            self._broke = self._broke or (self._began, failure)
            raise
        self._done = len(tokens)
        if self._broke is not None:
            self._tell_recovery(record)
        return hidden

    def close(self) -> None:
        """End every session; the next `advance` begins anew."""
        for _, session in self._hops:
            session.close()
        self._hops = []
        self._done = 0

    def _open(self, given_up: frozenset[str], record: Record) -> None:
        decision = self._around.decide(given_up)
        if isinstance(decision, Refuse):
            raise missing_of(decision)
        for hop in decision.hops:
            try:
                self._hops.append((hop, self._around.open(hop, self._length)))
            except (PeerUnreachable, PeerNotAllowed, RateLimited) as error:
                if hop.peer_id is None:
                    raise
                raise _HopFailed(hop.peer_id, error) from error
        record("route", {"hops": [_told(hop) for hop in decision.hops], "reason": decision.reason})

    def _step(self, hop: Hop, session: Session, hidden: Any) -> Any:
        if hop.peer_id is None:
            return session.step(hidden)
        begun = time.monotonic()
        try:
            self._around.require_allowed(hop.peer_id)
            output = session.step(hidden)
        except (PeerUnreachable, PeerNotAllowed) as error:
            raise _HopFailed(hop.peer_id, error) from error
        rows = int(output.shape[1])
        self._around.answered(
            hop.peer_id, (time.monotonic() - begun) / rows, 2 * output.nbytes // rows
        )
        self._check(hop, session)
        return output

    def _check(self, hop: Hop, session: Session) -> None:
        """Check a peer's answers if it is time; tokens that rest on a lie end the generation."""
        found = self._around.check(session, hop)
        if found is None or found.first_wrong is None:
            return
        assert hop.peer_id is not None, "only a peer's answers are checked"
        why = f"blocks {hop.begin}:{hop.end}, position {found.first_wrong}: {found.deviation:.3g}"
        self._around.expel(hop.peer_id, why)
        error = PeerLied(
            f"peer {hop.peer_id}: its activations are not what its blocks compute ({why})",
            expected=f"a deviation of at most {spot_check.TOLERANCE}",
            found=f"{found.deviation:.3g}",
        )
        given_out = self._done
        if found.first_wrong < given_out:
            raise error
        raise _HopFailed(hop.peer_id, error)

    def _tell_recovery(self, record: Record) -> None:
        assert self._broke is not None
        at, failure = self._broke
        self._broke = None
        local = sum(hop.end - hop.begin for hop, _ in self._hops if hop.peer_id is None)
        record(
            "petals.fallback",
            {
                "cause": failure.error.detail,
                "code": failure.error.code,
                "peer_id": failure.peer_id,
                "hops": [_told(hop) for hop, _ in self._hops],
                "local_blocks": local,
                "silence_s": round(time.monotonic() - at, 6),
                "replayed_tokens": self._done,
            },
        )


def _told(hop: Hop) -> dict[str, Any]:
    return {"begin": hop.begin, "end": hop.end, "peer_id": hop.peer_id}


def missing_of(decision: Refuse) -> BlocksMissing:
    """Return the error of a request that has no chain."""
    return BlocksMissing(
        f"the model cannot be computed: {decision.reason}",
        expected="every block with a listed peer or in the cache",
        found=f"without: {', '.join(map(str, decision.missing))}",
        cure="zpctl petals cache warm MODEL, or list a peer that serves the blocks",
    )
