"""What the devices of the cluster's nodes can do, as probed: a real kernel and gradient on each.

Readiness and `/api/nodes` show this; placement does not use it (it goes by declared resources).
"""

import asyncio
import os
from dataclasses import asdict
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.launcher import RayLauncher
from cluster.placement import Node
from cluster.settings import from_environment
from trainers import devices
from trainers.config import DeviceName


@ray.remote(num_cpus=0, max_retries=0)
def probe_here(device: str) -> dict[str, Any]:
    """Probe a device in a process of its own on the node where this runs."""
    return asdict(devices.probe(device, cache=from_environment(os.environ).cache))


class DeviceBoard:
    """Probes each device of each node once, and again when asked to.

    Args:
        launcher: Where the nodes are listed.
    """

    def __init__(self, launcher: RayLauncher) -> None:
        self._launcher = launcher
        self._reports: dict[tuple[str, str], dict[str, Any]] = {}
        self._probing: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def views(self) -> list[dict[str, Any]]:
        """Return each node with its resources and the state of each device."""
        nodes = await self._launcher.nodes()
        return [self._view(node) for node in nodes]

    def _view(self, node: Node) -> dict[str, Any]:
        return {
            "node_id": node.node_id,
            "resources": {
                name: amount
                for name, amount in node.resources.items()
                if name in {"CPU", "GPU", "METAL", "memory", "object_store_memory"}
            },
            "devices": [self._device_view(node, device) for device in node.devices],
        }

    def _device_view(self, node: Node, device: DeviceName) -> dict[str, Any]:
        key = (node.node_id, device)
        report = self._reports.get(key)
        if report is None and key not in self._probing:
            self._probing[key] = asyncio.create_task(self._probe(node, device))
        if report is None:
            return {"device": device, "state": "probing", "probe": None}
        return {
            "device": device,
            "state": "usable" if report["usable"] else "failed",
            "probe": report,
        }

    async def _probe(self, node: Node, device: DeviceName) -> None:
        key = (node.node_id, device)
        try:
            reference = probe_here.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
                name=f"probe-{device}",
            ).remote(device)
            self._reports[key] = await reference
        except ray.exceptions.RayError as error:
            self._reports[key] = {"device": device, "usable": False, "reason": str(error)[:500]}
        finally:
            self._probing.pop(key, None)
