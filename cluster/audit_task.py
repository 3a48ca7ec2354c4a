"""An audit on its node: the pack comes from the manager, the windows are trained again there."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.audits import Order
from cluster.directory import find_manager
from cluster.node_data import require_dataset
from cluster.settings import from_environment
from evidence.errors import ServiceError
from evidence.keyring import read_history
from trainers.audit import Auditor, audit
from trainers.windows import Request


@ray.remote(max_retries=0)
def _audit(run_id: str, windows: Mapping[str, Any]) -> dict[str, Any]:
    """Audit a run from its pack, with nothing of the manager's but the pack and the public key."""
    settings = from_environment(os.environ)
    keys = read_history(ray.get(find_manager().keys.remote()))
    auditor = Auditor(
        cache=settings.cache,
        bring=lambda config: require_dataset(config.dataset, settings, own=config.data),
        public_key=keys[-1],
        library=settings.kernel_library,
    )
    with tempfile.TemporaryDirectory(prefix="zeropoint-audit-") as scratch:
        pack = Path(scratch, "pack.zip")
        with pack.open("wb") as file:
            pieces: Any = find_manager().evidence_zip.remote(run_id)
            for reference in pieces:
                file.write(ray.get(reference))
        return audit(pack, Request(**windows), auditor).as_json()


class RayAuditors:
    """Does audits as Ray tasks.

    Args:
        environment: Variables of a process of this service that hold on every node.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    async def __call__(self, order: Order) -> dict[str, Any]:
        """Do one and return its report.

        Raises:
            ServiceError: What it raised.
        """
        held = dict(order.place.resources)
        task = _audit.options(
            name=f"audit-{order.audit_id}",
            num_cpus=held.pop("CPU", 0),
            num_gpus=held.pop("GPU", 0),
            resources=held,
            scheduling_strategy=NodeAffinitySchedulingStrategy(order.place.node_id, soft=False),
            runtime_env={"env_vars": {**self._environment, "ZEROPOINT_ROLE": "auditor"}},
        )
        try:
            report: dict[str, Any] = await task.remote(order.run_id, dict(order.windows))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ServiceError):
                raise error.cause from error
            raise
        return report
