"""The decision, rule by rule."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from petals_bridge.peers import Announced, PeerId
from petals_bridge.routing import (
    Chain,
    Hop,
    Prefer,
    Refuse,
    Request,
    Situation,
    decide,
    strangers,
)

A, B, C = (PeerId(name) for name in ("a", "b", "c"))
BLOCKS = 5


def peer(name: PeerId, begin: int, end: int) -> Announced:
    return Announced(name, begin, end)


def situation(
    *announced: Announced,
    listed: set[str] | None = None,
    admitting: set[str] | None = None,
    with_room: set[str] | None = None,
    cached: set[int] | None = None,
    step_s: Mapping[PeerId, float] | None = None,
) -> Situation:
    everyone = {one.peer_id for one in announced}
    return Situation(
        announced=announced,
        listed=frozenset(everyone if listed is None else listed),
        admitting=frozenset(everyone if admitting is None else admitting),
        with_room=frozenset(everyone if with_room is None else with_room),
        cached=frozenset(cached or ()),
        step_s={str(name): value for name, value in (step_s or {}).items()},
    )


def hops(decision: Chain | Refuse) -> list[tuple[int, int, str | None]]:
    assert isinstance(decision, Chain), decision
    return [(hop.begin, hop.end, hop.peer_id) for hop in decision.hops]


def test_two_peers_make_one_chain() -> None:
    found = decide(Request(BLOCKS), situation(peer(A, 0, 3), peer(B, 3, 5)))
    assert hops(found) == [(0, 3, "a"), (3, 5, "b")]


def test_a_stranger_is_never_routed_through() -> None:
    here = situation(peer(A, 0, 5), listed=set())
    found = decide(Request(BLOCKS), here)
    assert isinstance(found, Refuse)
    assert found.missing == (0, 1, 2, 3, 4)
    assert "1 not listed" in found.reason
    assert strangers(here) == {"a"}


def test_an_open_breaker_and_a_full_peer_and_a_lost_one_are_passed_over() -> None:
    swarm = (peer(A, 0, 5), peer(B, 0, 5))
    assert hops(decide(Request(BLOCKS), situation(*swarm, admitting={B}))) == [(0, 5, "b")]
    assert hops(decide(Request(BLOCKS), situation(*swarm, with_room={B}))) == [(0, 5, "b")]
    lost = Request(BLOCKS, given_up=frozenset({A}))
    assert hops(decide(lost, situation(*swarm))) == [(0, 5, "b")]


def test_the_quicker_chain_is_taken_and_fewer_peers_among_equals() -> None:
    swarm = (peer(A, 0, 5), peer(B, 0, 5))
    assert hops(decide(Request(BLOCKS), situation(*swarm, step_s={A: 0.2, B: 0.1}))) == [
        (0, 5, "b")
    ]
    parts = (peer(B, 0, 2), peer(C, 2, 5), peer(A, 0, 5))
    equal = {A: 0.2, B: 0.1, C: 0.1}
    assert hops(decide(Request(BLOCKS), situation(*parts, step_s=equal))) == [(0, 5, "a")]


def test_overlapping_peers_are_cut_to_fit() -> None:
    found = decide(Request(BLOCKS), situation(peer(A, 0, 4), peer(B, 2, 5)))
    assert hops(found) == [(0, 4, "a"), (4, 5, "b")]


def test_missing_blocks_run_locally() -> None:
    found = decide(Request(BLOCKS), situation(peer(A, 0, 3), cached={2, 3, 4}))
    assert hops(found) == [(0, 3, "a"), (3, 5, None)]
    assert isinstance(found, Chain)
    assert found.local_blocks == (3, 4)
    assert "blocks 3:5 have no usable peer" in found.reason


def test_without_peers_all_runs_locally_in_one_hop() -> None:
    found = decide(Request(BLOCKS), situation(cached={0, 1, 2, 3, 4}))
    assert hops(found) == [(0, 5, None)]
    assert isinstance(found, Chain)
    assert found.is_local


def test_who_asks_for_local_blocks_gets_no_peer() -> None:
    here = situation(peer(A, 0, 5), cached={0, 1, 2, 3, 4})
    assert hops(decide(Request(BLOCKS, Prefer.LOCAL), here)) == [(0, 5, None)]


def test_what_nobody_has_is_named() -> None:
    found = decide(Request(BLOCKS), situation(peer(A, 0, 2), cached={3}))
    assert isinstance(found, Refuse)
    assert found.missing == (2, 4)
    assert "blocks 2:3, 4:5" in found.reason


def test_a_peer_that_announces_what_is_no_block_is_not_used() -> None:
    found = decide(
        Request(BLOCKS), situation(peer(A, -3, 5), peer(B, 0, 99), cached={0, 1, 2, 3, 4})
    )
    assert hops(found) == [(0, 5, None)]


SPANS = st.tuples(st.integers(0, 5), st.integers(0, 5))


@given(
    st.dictionaries(st.sampled_from("abcdef"), SPANS),
    st.sets(st.sampled_from("abcdef")),
    st.sets(st.integers(0, 4)),
)
def test_every_chain_is_whole_and_of_allowed_peers(
    swarm: dict[str, tuple[int, int]], listed: set[str], cached: set[int]
) -> None:
    announced = [peer(PeerId(name), *span) for name, span in swarm.items()]
    found = decide(Request(BLOCKS), situation(*announced, listed=listed, cached=cached))
    if isinstance(found, Refuse):
        held = {i for n in listed & swarm.keys() for i in range(*swarm[n])} | cached
        assert set(found.missing) == set(range(BLOCKS)) - held
        return
    assert [hop.begin for hop in found.hops] == [0, *(hop.end for hop in found.hops[:-1])]
    assert found.hops[-1].end == BLOCKS
    assert all(_is_held(hop, swarm, listed, cached) for hop in found.hops)


def _is_held(
    hop: Hop, swarm: dict[str, tuple[int, int]], listed: set[str], cached: set[int]
) -> bool:
    if hop.peer_id is None:
        return set(range(hop.begin, hop.end)) <= cached
    begin, end = swarm[hop.peer_id]
    return hop.peer_id in listed and begin <= hop.begin < hop.end <= end
