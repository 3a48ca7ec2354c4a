"""The Ray shell of a run of several workers: to the manager it is what a trainer actor is.

It holds no part of the training. Ray Train, which is an extra and heavy, is imported when a group
is started, so that the manager runs without it.
"""

import logging
import threading
from typing import Final

import ray

from cluster.launching import Lost, Outcome, Ticket, require_ray_train
from evidence.errors import ServiceError
from evidence.records import Fault

log = logging.getLogger(__name__)

GROUP_ENVIRONMENT: Final = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon an end or a death is seen
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # the manager supervises
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""What Ray Train reads from the environment of a group actor."""

MOST_CALLS: Final = 64
"""Calls at once: the run, the workers' faults, and a wait for the outcome by each manager."""


class GroupActor:
    """One attempt of one run, trained by a group of workers."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._fault: Fault | None = None
        self._outcome: Outcome = None

    @ray.method
    def run(self, ticket: Ticket) -> None:
        """Start the group and wait until it has ended; how is told by `outcome`."""
        try:
            require_ray_train()
            from cluster import worker_group  # noqa: PLC0415 - an extra

            lost = worker_group.train_together(ticket)
            self._outcome = self._fault or lost
        except ServiceError as error:
            self._outcome = Fault(code=error.code, detail=error.detail[:4000])
        except Exception as error:
            log.exception("worker_group_failed")
            self._outcome = Lost(f"{type(error).__name__}: {error}"[:500])
        finally:
            self._ended.set()

    @ray.method
    def fault(self, fault: Fault) -> None:
        """Take in why a worker ends early; the first one counts."""
        self._fault = self._fault or fault

    @ray.method
    def outcome(self) -> Outcome:
        """Wait until the group has ended and return how."""
        self._ended.wait()
        return self._outcome
