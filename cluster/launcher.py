"""The cluster behind the manager: nodes and trainer actors in Ray. Thin: it decides nothing."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.directory import NAMESPACE, find_trainer, trainer_name
from cluster.group_actor import GROUP_ENVIRONMENT, MOST_CALLS, GroupActor
from cluster.launching import Lost, Outcome, Ticket
from cluster.placement import Node
from cluster.settings import Settings, as_environment
from cluster.trainer_actor import TrainerActor
from evidence.records import Fault
from trainers.config import DeviceName

_Trainer = ray.remote(TrainerActor)
_Group = ray.remote(GroupActor)


class RayLauncher:
    """Starts, watches and ends trainer actors."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive, with their declared resources."""
        listed = await asyncio.to_thread(ray.nodes)
        return [_as_node(node) for node in listed if node["Alive"]]

    async def start(self, ticket: Ticket) -> None:
        """Start the actor of an attempt on its node and give it its ticket."""
        actor = self._group(ticket) if ticket.place.is_group else self._trainer(ticket)
        # The reference is not kept: `outcome` waits behind it, for this manager or the next.
        actor.run.remote(ticket)

    def _trainer(self, ticket: Ticket) -> Any:
        held = dict(ticket.place.resources)
        return _Trainer.options(
            num_cpus=held.pop("CPU", 0),
            num_gpus=held.pop("GPU", 0),
            resources=held,
            **self._options(ticket),
        ).remote()

    def _group(self, ticket: Ticket) -> Any:
        """Start the actor of a group, which reserves nothing itself; its workers do."""
        options = self._options(ticket)
        options["runtime_env"]["env_vars"] |= GROUP_ENVIRONMENT
        return _Group.options(num_cpus=0, max_concurrency=MOST_CALLS, **options).remote()

    def _options(self, ticket: Ticket) -> dict[str, Any]:
        strategy = NodeAffinitySchedulingStrategy(ticket.place.node_id, soft=False)
        return {
            "name": trainer_name(ticket.run_id, ticket.attempt),
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "max_restarts": 0,
            "scheduling_strategy": strategy,
            "runtime_env": {"env_vars": {**node_free(self._settings), "ZEROPOINT_ROLE": "trainer"}},
        }

    def outcome(self, run_id: str, attempt: int) -> Awaitable[Outcome]:
        """Wait until the trainer of an attempt has ended."""
        return self._outcome(run_id, attempt)

    async def _outcome(self, run_id: str, attempt: int) -> Outcome:
        actor = find_trainer(run_id, attempt)
        if actor is None:
            return Lost("its actor is gone")
        try:
            ended: Outcome = await actor.outcome.remote()
        except (RayActorError, ActorUnschedulableError) as error:
            return Lost(_first_line(error))
        except RayTaskError as error:  # a defect: `run` answers for what it raises
            return Fault(code="service_error", detail=_first_line(error.cause or error))
        return ended

    async def kill(self, run_id: str, attempt: int) -> None:
        """End the trainer of an attempt now, if it lives."""
        actor = find_trainer(run_id, attempt)
        if actor is not None:
            ray.kill(actor)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]


def _as_node(node: dict[str, Any]) -> Node:
    resources = {name: float(amount) for name, amount in node["Resources"].items()}
    return Node(node["NodeID"], resources, devices_of(resources, node.get("Labels", {})))


def devices_of(resources: dict[str, float], labels: dict[str, str]) -> tuple[DeviceName, ...]:
    """Return the devices that a node's declared resources and labels stand for.

    A GPU is an AMD one where the label `zeropoint.dev/gpu` says `amd`, and CUDA otherwise.
    """
    devices: list[DeviceName] = []
    if resources.get("GPU", 0) >= 1:
        is_amd = labels.get("zeropoint.dev/gpu") == "amd"
        devices += ["AMD"] if is_amd else ["CUDA", "NV"]
    if resources.get("METAL", 0) >= 1:
        devices.append("METAL")
    if resources.get("CPU", 0) >= 1:
        devices.append("CPU")
    return tuple(devices)


def node_free(settings: Settings) -> dict[str, str]:
    """Return the settings without the paths, which each node has its own of."""
    own = {
        "EVIDENCE_ROOT", "ZEROPOINT_HOME", "ZEROPOINT_CACHE", "ZEROPOINT_DATA_PATH",
        "ZEROPOINT_WITNESSES",
    }  # fmt: skip
    return {name: value for name, value in as_environment(settings).items() if name not in own}
