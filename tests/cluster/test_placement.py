"""Placement: a place or a reason to wait, from declared resources alone."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.launcher import devices_of
from cluster.placement import Node, Place, Taken, Wait, choose, reservation
from tests.cluster import small
from trainers.config import DeviceName


def node(name: str, **resources: float) -> Node:
    return Node(name, resources, devices_of(resources, {}))


def decide(nodes: list[Node], taken: Taken | None = None, **options: Any) -> Place | Wait:
    device = options.pop("device", "auto")
    asked = {"threads": options.pop("threads", 1), "workers": options.pop("workers", 1)}
    cfg = small.config(device=device, kernel_set="native", batch_size=240, **asked)
    return choose(cfg, nodes=nodes, taken=taken or {}, **options)


def reason(decision: Place | Wait) -> str:
    assert isinstance(decision, Wait)
    return decision.reason


def place(decision: Place | Wait) -> Place:
    assert isinstance(decision, Place)
    return decision


def test_a_run_goes_to_the_node_with_the_fewest_trainers() -> None:
    taken = {"a": [{"CPU": 1.0}], "b": []}
    assert place(decide([node("a", CPU=4), node("b", CPU=2)], taken)).node_id == "b"


def test_a_full_node_is_passed_over() -> None:
    taken = {"a": [{"CPU": 1.0}], "b": [{"CPU": 1.0}, {"CPU": 1.0}]}
    assert place(decide([node("a", CPU=1), node("b", CPU=3)], taken)).node_id == "b"


def test_equal_nodes_are_taken_by_name() -> None:
    assert place(decide([node("b", CPU=1), node("a", CPU=1)])).node_id == "a"


def test_two_runs_fit_two_slots_and_a_third_waits() -> None:
    taken = {"a": [{"CPU": 1.0}, {"CPU": 1.0}]}
    assert reason(decide([node("a", CPU=2)], taken)) == "all 2 CPU slots of 1 node(s) are taken"


def test_a_run_that_no_node_is_large_enough_for_waits_with_that_reason() -> None:
    waits = decide([node("a", CPU=2)], threads=4)
    assert reason(waits) == "no node has CPU:4, which threads = 4 reserves; the largest has 2"
    assert isinstance(waits, Wait)
    assert waits.is_alone


def test_a_run_reserves_a_slot_for_each_of_its_threads() -> None:
    assert place(decide([node("a", CPU=4)], threads=3)).resources == {"CPU": 3.0}
    assert "slots" in reason(decide([node("a", CPU=4)], {"a": [{"CPU": 2.0}]}, threads=3))


def test_a_run_waits_while_there_is_no_node() -> None:
    assert reason(decide([])) == "no node offers CPU for the device CPU"


def test_auto_takes_an_accelerator_where_there_is_one() -> None:
    assert place(decide([node("a", CPU=8), node("b", CPU=1, GPU=1)])).device == "CUDA"


def test_auto_waits_for_the_accelerator_rather_than_take_the_cpu() -> None:
    nodes = [node("a", CPU=8), node("b", GPU=1)]
    assert "GPU slots" in reason(decide(nodes, {"b": [{"GPU": 1.0}]}))


def test_a_resumed_run_keeps_the_device_of_its_first_attempt() -> None:
    nodes = [node("a", CPU=1), node("b", CPU=1, GPU=1)]
    assert place(decide(nodes, pinned_device="CPU")).device == "CPU"


def test_a_node_that_offers_metal_gets_a_metal_run() -> None:
    decision = place(decide([node("a", CPU=4), node("b", CPU=1, METAL=1)], device="METAL"))
    assert (decision.node_id, dict(decision.resources)) == ("b", {"METAL": 1.0})


def test_a_metal_run_waits_where_no_node_offers_metal() -> None:
    assert reason(decide([node("a", CPU=4, GPU=1)], device="METAL")) == (
        "no node offers METAL for the device METAL"
    )


def test_a_place_says_why() -> None:
    why = place(decide([node("a", CPU=2)], {"a": [{"CPU": 1.0}]})).why
    assert why == "auto asks for CPU; node a declares CPU:2 and runs 1 trainers"


@pytest.mark.parametrize("device", ["CUDA", "NV", "AMD", "METAL"])
def test_an_accelerator_takes_no_cpu_slot(device: DeviceName) -> None:
    assert "CPU" not in reservation(device, threads=4)


def test_a_gpu_is_an_amd_one_where_the_label_says_so() -> None:
    assert devices_of({"GPU": 1.0}, {"zeropoint.dev/gpu": "amd"}) == ("AMD",)


def test_a_node_without_a_whole_slot_offers_nothing() -> None:
    assert devices_of({"CPU": 0.5, "GPU": 0.0}, {}) == ()


def test_a_group_goes_to_the_one_node_that_has_room_for_all() -> None:
    nodes = [node("a", CPU=2), node("b", CPU=4), node("c", CPU=9)]
    taken = {"b": [{"CPU": 1.0}], "c": [{"CPU": 1.0}] * 2}
    decision = place(decide(nodes, taken, workers=3))
    assert decision.nodes == ("b",) * 3
    assert decision.why == "3 workers reserve CPU:1 each; node b has room for all of them"


def test_a_group_that_no_node_has_room_for_goes_to_as_few_as_possible() -> None:
    nodes = [node("a", CPU=1), node("b", CPU=3), node("c", CPU=2)]
    decision = place(decide(nodes, workers=4))
    assert decision.nodes == ("b", "b", "b", "c")
    assert decision.is_group


def test_the_workers_of_a_group_reserve_as_many_slots_as_a_trainer() -> None:
    decision = place(decide([node("a", CPU=3), node("b", CPU=3)], threads=2, workers=2))
    assert decision.nodes == ("a", "b")
    assert dict(decision.resources) == {"CPU": 2.0}


def test_a_group_that_finds_no_room_waits_for_its_turn() -> None:
    waits = decide([node("a", CPU=2), node("b", CPU=1)], {"a": [{"CPU": 1.0}]}, workers=3)
    assert waits == Wait("3 workers reserve CPU:1 each; there is room for 2 at present")


def test_a_group_that_the_cluster_is_too_small_for_holds_nobody_back() -> None:
    nodes = [node("a", CPU=3), node("b", CPU=1)]
    assert decide(nodes, threads=2, workers=2) == Wait(
        "2 workers reserve CPU:2 each; the 2 node(s) have room for 1 in all", is_alone=True
    )


def test_a_group_takes_cpus_where_there_are_accelerators_too() -> None:
    assert place(decide([node("a", CPU=2, GPU=2)], workers=2)).device == "CPU"


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    held=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    threads=st.integers(1, 3),
    workers=st.integers(2, 6),
)
def test_a_group_is_placed_whole_wherever_there_is_room(
    sizes: list[int], held: list[int], threads: int, workers: int
) -> None:
    nodes = [node(str(i), CPU=size) for i, size in enumerate(sizes)]
    taken = {str(i): [{"CPU": 1.0}] * count for i, count in enumerate(held)}
    decision = decide(nodes, taken, threads=threads, workers=workers)
    room = {str(i): max(0, size - held[i]) // threads for i, size in enumerate(sizes)}
    assert isinstance(decision, Place) == (sum(room.values()) >= workers)
    chosen = decision.nodes if isinstance(decision, Place) else ()
    assert len(chosen) in (0, workers)
    assert all(chosen.count(name) <= count for name, count in room.items())


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    held=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    threads=st.integers(1, 4),
)
def test_no_node_is_ever_given_more_than_it_declares(
    sizes: list[int], held: list[int], threads: int
) -> None:
    nodes = [node(str(i), CPU=size) for i, size in enumerate(sizes)]
    taken = {str(i): [{"CPU": 1.0}] * count for i, count in enumerate(held)}
    decision = decide(nodes, taken, threads=threads)
    free = {str(i): size - held[i] for i, size in enumerate(sizes) if size >= 1}
    fitting = {name for name, left in free.items() if left >= threads}
    found = {decision.node_id} if isinstance(decision, Place) else set()
    assert found <= fitting
    assert bool(found) == bool(fitting)
