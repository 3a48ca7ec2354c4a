"""Where a run goes, decided purely: (nodes, what is taken, config) -> a place, or a reason to wait.

Placement goes by declared resources, never by what a probe found: a node that offers a device
which does not work gets the run, and the run fails with DeviceMissing. Nothing falls back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from trainers.config import DeviceName, RunConfig

RESOURCE_OF: Final[Mapping[DeviceName, str]] = {
    "CPU": "CPU",
    "CUDA": "GPU",
    "NV": "GPU",
    "AMD": "GPU",
    "METAL": "METAL",
}
"""Resource that a trainer on a device takes one of (CPU: as many as it has threads)."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster, as far as placement is concerned."""

    node_id: str
    resources: Mapping[str, float]
    """Declared totals: CPU, GPU, METAL, ..."""
    devices: tuple[DeviceName, ...]
    """Devices that its resources stand for, the preferred one first."""


@dataclass(frozen=True, slots=True)
class Place:
    """A decision to start a trainer, or a group of them."""

    nodes: tuple[str, ...]
    """Node ids, one for each worker."""
    device: DeviceName
    resources: Mapping[str, float]
    """What each worker reserves."""
    why: str

    @property
    def node_id(self) -> str:
        """The node of the trainer, or of whatever watches over the group."""
        return self.nodes[0]

    @property
    def is_group(self) -> bool:
        """Whether there are several workers."""
        return len(self.nodes) > 1


@dataclass(frozen=True, slots=True)
class Wait:
    """A decision to leave a run in the queue."""

    reason: str
    is_alone: bool = False
    """Whether the nodes could not take it even if free, so that later runs need not wait for it."""


Taken = Mapping[str, Sequence[Mapping[str, float]]]
"""By node id: the resources of each trainer there."""


def choose(
    config: RunConfig,
    *,
    nodes: Sequence[Node],
    taken: Taken,
    pinned_device: DeviceName | None = None,
) -> Place | Wait:
    """Decide where a run goes.

    Args:
        config: Its `device` is `auto` or a device; its `threads` are CPU slots.
        nodes: Nodes that are alive.
        taken: What trainers hold already.
        pinned_device: The device of the run's first attempt; a resumed run never changes it.
    """
    if config.workers > 1:
        return _choose_for_group(config, nodes=nodes, taken=taken)
    device = pinned_device or _wanted(config.device, nodes)
    offering = [node for node in nodes if device in node.devices]
    resource = RESOURCE_OF[device]
    if not offering:
        return Wait(f"no node offers {resource} for the device {device}")
    need = reservation(device, threads=config.threads)
    for node in sorted(offering, key=lambda node: (_load(node, taken), node.node_id)):
        if _fits(need, node, taken):
            held = sum(1 for _ in taken.get(node.node_id, ()))
            why = (
                f"{config.device} asks for {device}; node {node.node_id[:8]} declares "
                f"{resource}:{node.resources.get(resource, 0):g} and runs {held} trainers"
            )
            return Place((node.node_id,), device, need, why)
    largest = max(node.resources.get(resource, 0) for node in offering)
    if largest < need[resource]:
        asks = f"threads = {config.threads} reserves" if device == "CPU" else f"{device} takes"
        return Wait(
            f"no node has {resource}:{need[resource]:g}, which {asks}; the largest has {largest:g}",
            is_alone=True,
        )
    total = sum(node.resources.get(resource, 0) for node in offering)
    return Wait(f"all {total:g} {resource} slots of {len(offering)} node(s) are taken")


def _choose_for_group(config: RunConfig, *, nodes: Sequence[Node], taken: Taken) -> Place | Wait:
    """Decide where the workers of a group go: on one node if one has room, else on the fewest."""
    need = reservation("CPU", threads=config.threads)
    room = {node.node_id: _room(need["CPU"], node, taken) for node in nodes}
    most = {node.node_id: _room(need["CPU"], node, {}) for node in nodes}
    wanted = f"{config.workers} workers reserve CPU:{need['CPU']:g} each"
    if sum(most.values()) < config.workers:
        return Wait(
            f"{wanted}; the {len(nodes)} node(s) have room for {sum(most.values())} in all",
            is_alone=True,
        )
    if sum(room.values()) < config.workers:
        return Wait(f"{wanted}; there is room for {sum(room.values())} at present")
    single = [node for node in nodes if room[node.node_id] >= config.workers]
    if single:
        chosen = min(single, key=lambda node: (_load(node, taken), node.node_id)).node_id
        why = f"{wanted}; node {chosen[:8]} has room for all of them"
        return Place((chosen,) * config.workers, "CPU", need, why)
    places: list[str] = []
    for node_id in sorted(room, key=lambda node_id: (-room[node_id], node_id)):
        places += [node_id] * min(room[node_id], config.workers - len(places))
    why = f"{wanted}; no node has room for all, {len(set(places))} nodes together have"
    return Place(tuple(places), "CPU", need, why)


def reservation(device: DeviceName, *, threads: int) -> dict[str, float]:
    """Return what a trainer on `device` reserves; an accelerator's trainer takes no CPU slot."""
    return {"CPU": float(threads)} if device == "CPU" else {RESOURCE_OF[device]: 1.0}


def _wanted(device: DeviceName | Literal["auto"], nodes: Sequence[Node]) -> DeviceName:
    """Return the device that `auto` means here: an accelerator if any node has one, else CPU."""
    if device != "auto":
        return device
    offered = {offer for node in nodes for offer in node.devices}
    order: tuple[DeviceName, ...] = ("CUDA", "AMD", "METAL")
    return next((candidate for candidate in order if candidate in offered), "CPU")


def _used(node: Node, taken: Taken, resource: str) -> float:
    return sum(held.get(resource, 0.0) for held in taken.get(node.node_id, ()))


def _room(amount: float, node: Node, taken: Taken) -> int:
    """Return how many workers that reserve `amount` CPU slots find room on a node."""
    free = node.resources.get("CPU", 0.0) - _used(node, taken, "CPU")
    return max(0, int(free // amount))


def _fits(need: Mapping[str, float], node: Node, taken: Taken) -> bool:
    return all(
        _used(node, taken, name) + amount <= node.resources.get(name, 0.0)
        for name, amount in need.items()
    )


def _load(node: Node, taken: Taken) -> int:
    return len(taken.get(node.node_id, ()))
