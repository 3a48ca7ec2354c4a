"""A run's workers as a group of Ray Train, which places, starts and watches them together.

Ray Train starts the workers and ends them all when one is lost. It restarts nothing (`max_failures`
0): that is the manager's supervision, as for a plain trainer. Metrics and checkpoints do not pass
through it either; worker 0 reports to the manager.

    TinygradBackend    tells the workers where they meet, when Ray has placed them
    train_part         what each worker does
"""

import functools
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import train as ray_train
from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from cluster.directory import find_trainer, trainer_name
from cluster.launching import Lost, Ticket
from cluster.meeting import join_meeting, open_meeting
from cluster.trainer_actor import train_attempt
from evidence.errors import ServiceError, TrainerLost, TrainingDiverged
from evidence.records import Fault
from trainers.group import Group
from trainers.shared_memory import SharedMemoryGroup

log = logging.getLogger(__name__)

_FOLDER = "WORKER_GROUP_FOLDER"
"""Variable of a worker: the folder where a group on one node meets; not set on several nodes."""
_NODE_LABEL = "ray.io/node-id"


@dataclass(frozen=True)
class TinygradConfig(BackendConfig):
    """Configures the backend."""

    trainer: str
    """Name of the trainer whose workers they are."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend that this configures."""
        return TinygradBackend


class TinygradBackend(Backend):
    """Lets workers on one node meet in shared memory, and those on several in an actor."""

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Tell each worker where the group meets."""
        assert isinstance(backend_config, TinygradConfig), type(backend_config)
        nodes = worker_group.execute(_node)
        if len(set(nodes)) == 1:
            worker_group.execute(_meet_in, worker_group.execute_single(0, _private_folder))
        else:  # kept: the actor lives as long as its handle
            self._meeting = open_meeting(backend_config.trainer, size=len(nodes))


def train_together(ticket: Ticket) -> Lost | None:
    """Train with the workers of a ticket and return when all have ended.

    Returns:
        None if all came to their end, else what the group was lost by.
    """
    name = trainer_name(ticket.run_id, ticket.attempt)
    place = ticket.place
    storage = tempfile.mkdtemp(prefix="train-")
    trainer = DataParallelTrainer(
        functools.partial(train_part, ticket),
        backend_config=TinygradConfig(name),
        scaling_config=ScalingConfig(
            num_workers=len(place.nodes),
            resources_per_worker=dict(place.resources),
            placement_strategy="PACK",
            label_selector=[{_NODE_LABEL: node} for node in place.nodes],
        ),
        run_config=RunConfig(  # type: ignore[arg-type]  # annotated with the older API's class
            name=f"{ticket.config['name']}-{ticket.run_id}-{ticket.attempt}",
            storage_path=storage,
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        return Lost(_reason(error))
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    return None


def train_part(ticket: Ticket) -> None:
    """Do one worker's part; whatever ends it early is told to the group's actor first.

    Raises:
        ServiceError: Whatever ended it early.
    """
    rank = ray_train.get_context().get_world_rank()
    try:
        train_attempt(ticket, group=_group(ticket, rank))
    except TrainerLost:
        raise  # a consequence: whoever is gone has the reason
    except TrainingDiverged as error:  # all workers find it; the first one reports the steps
        if rank == 0:
            _tell(ticket, Fault(code=error.code, detail=error.detail[:4000]))
    except ServiceError as error:
        _tell(ticket, Fault(code=error.code, detail=error.detail[:4000]))
        raise
    except Exception as error:
        log.exception("worker_failed")
        detail = f"worker {rank}: {type(error).__name__}: {error}"[:4000]
        _tell(ticket, Fault(code=ServiceError.code, detail=detail))
        raise


def _group(ticket: Ticket, rank: int) -> Group:
    """Return the group that the backend arranged."""
    size = len(ticket.place.nodes)
    folder = os.environ.get(_FOLDER)
    if folder is not None:
        return SharedMemoryGroup(Path(folder), rank=rank, size=size)
    return join_meeting(trainer_name(ticket.run_id, ticket.attempt), rank=rank, size=size)


def _tell(ticket: Ticket, fault: Fault) -> None:
    actor = find_trainer(ticket.run_id, ticket.attempt)
    if actor is not None:
        ray.get(actor.fault.remote(fault))


def _reason(error: TrainingFailedError) -> str:
    """Return what the group was lost by: the deaths, before what the others noticed of them."""
    if not isinstance(error, WorkerGroupError):
        return str(error)[:500]
    told = [
        (isinstance(failure, ray.exceptions.RayActorError), rank, str(failure).strip())
        for rank, failure in error.worker_failures.items()
    ]
    deaths = [(rank, text) for is_death, rank, text in told if is_death]
    chosen = deaths or [(rank, text) for _, rank, text in told]
    return "; ".join(f"worker {rank}: {text.splitlines()[0]}" for rank, text in chosen)[:500]


def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())


def _private_folder() -> str:
    return tempfile.mkdtemp(prefix="group-")


def _meet_in(folder: str) -> None:
    os.environ[_FOLDER] = folder
