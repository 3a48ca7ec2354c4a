"""The canary as a Ray task: it takes one CPU slot on some node."""

import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import ray

from cluster.canary import KERNEL_SET
from cluster.node_data import require_dataset
from cluster.settings import from_environment
from evidence.errors import ServiceError
from trainers import runtime
from trainers.data.images import Dataset

DATASET = "mnist"
"""As `trainers.canary`, which is not imported where tinygrad must not be."""


@ray.remote(num_cpus=1, max_retries=0)
def _canary() -> dict[str, Any]:
    settings = from_environment(os.environ)
    runtime.prepare_process(
        device="CPU", cache=settings.cache, kernels=KERNEL_SET, library=settings.kernel_library
    )
    # tinygrad reads the environment when it is imported, so it comes after that line.
    from trainers import canary  # noqa: PLC0415

    data = require_dataset(canary.DATASET, settings)
    assert isinstance(data, Dataset), "the canary's data are images"
    begun = time.monotonic()
    outcome = canary.run(data, seed=secrets.randbits(64))
    return {
        "true_labels": outcome.true_labels,
        "shuffled_labels": outcome.shuffled_labels,
        "passed": outcome.has_passed,
        "seconds": time.monotonic() - begun,
        "kernels": runtime.describe()["kernels"]["digest"],
    }


def on_the_cluster(environment: Mapping[str, str]) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return what does the canary on some node.

    Args:
        environment: Variables of a process of this service that hold on every node.
    """

    async def train() -> dict[str, Any]:
        variables = {**environment, "ZEROPOINT_ROLE": "canary"}
        try:
            outcome: dict[str, Any] = await _canary.options(
                name="canary", runtime_env={"env_vars": variables}
            ).remote()
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ServiceError):
                raise error.cause from error
            raise ServiceError(f"the canary broke: {error.cause}"[:500]) from error
        except ray.exceptions.RayError as error:
            raise ServiceError(f"the canary was lost: {error}"[:500]) from error
        return outcome

    return train
