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
    """A decision to start a trainer."""

    node_id: str
    device: DeviceName
    resources: Mapping[str, float]
    """What the trainer reserves."""
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """A decision to leave a run in the queue."""

    reason: str
    is_alone: bool = False
    """Whether no node could ever take it, so that later runs need not wait behind it."""


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
            return Place(node.node_id, device, need, why)
    largest = max(node.resources.get(resource, 0) for node in offering)
    if largest < need[resource]:
        asks = f"threads = {config.threads} reserves" if device == "CPU" else f"{device} takes"
        return Wait(
            f"no node has {resource}:{need[resource]:g}, which {asks}; the largest has {largest:g}",
            is_alone=True,
        )
    total = sum(node.resources.get(resource, 0) for node in offering)
    return Wait(f"all {total:g} {resource} slots of {len(offering)} node(s) are taken")


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


def _fits(need: Mapping[str, float], node: Node, taken: Taken) -> bool:
    return all(
        _used(node, taken, name) + amount <= node.resources.get(name, 0.0)
        for name, amount in need.items()
    )


def _load(node: Node, taken: Taken) -> int:
    return len(taken.get(node.node_id, ()))
