"""The Ray shell of a trainer: load, probe, describe, train, and tell the manager.

One process, one attempt, one thread for tinygrad. Its only way out is the sink, which sends events
to the manager in order, one batch under way at a time, and survives the manager's restart.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from cluster.directory import find_manager
from cluster.launching import Outcome, Ticket
from cluster.node_data import require_dataset
from cluster.settings import from_environment
from evidence import seed
from evidence.errors import ServiceError, TrainingDiverged, Unavailable
from evidence.records import Beginning, Checkpoint, Fault, TrainingEvent
from trainers import runtime
from trainers.config import RunConfig
from trainers.group import ALONE, Group
from trainers.provenance import describe_code

log = logging.getLogger(__name__)

_MOST_WAITING = 256
_SEND_EVERY_S = 0.05
_RETRY_S = 0.5
_GIVE_UP_S = 600.0


class ManagerSink:
    """Sends events to the manager, in order: a batch each 50 ms, and whatever waits at checkpoints.

    A call to another actor costs a trainer about as much as a small step; so quick steps share one.

    Args:
        run_id: The run.
        attempt: Epoch of this trainer; the manager refuses an older one.
    """

    def __init__(self, run_id: str, attempt: int) -> None:
        self._run_id = run_id
        self._attempt = attempt
        self._sent = 0
        self._waiting: list[TrainingEvent] = []
        self._batch: list[TrainingEvent] = []
        self._under_way: Any = None
        self._sent_at = -_SEND_EVERY_S

    def __call__(self, event: TrainingEvent) -> None:
        """Take one event; blocks at the beginning, at checkpoints and while too many wait.

        Raises:
            ServiceError: The manager refused an event.
        """
        self._waiting.append(event)
        if isinstance(event, (Beginning, Checkpoint)) or len(self._waiting) > _MOST_WAITING:
            self.flush()
        elif time.monotonic() - self._sent_at >= _SEND_EVERY_S and self._is_idle():
            self._send()

    def flush(self) -> None:
        """Return when the manager has everything."""
        while self._under_way is not None or self._waiting:
            self._finish()
            if self._waiting:
                self._send()

    def _is_idle(self) -> bool:
        if self._under_way is None:
            return True
        done, _ = ray.wait([self._under_way], timeout=0)
        if done:
            self._finish()
        return bool(done)

    def _send(self) -> None:
        self._sent_at = time.monotonic()
        self._batch, self._waiting = self._waiting, []
        self._under_way = find_manager().report.remote(
            self._run_id, self._attempt, self._sent, self._batch
        )

    def _finish(self) -> None:
        """Wait for the batch under way; send it again while the manager is away."""
        if self._under_way is None:
            return
        answered(
            lambda: self._under_way,
            lambda: find_manager().report.remote(
                self._run_id, self._attempt, self._sent, self._batch
            ),
        )
        self._sent += len(self._batch)
        self._batch, self._under_way = [], None


def answered(first: Callable[[], Any], again: Callable[[], Any]) -> Any:
    """Return what the manager answers; ask again while it is being restarted.

    Raises:
        ServiceError: What the manager raised.
        Unavailable: The manager did not come back.
    """
    deadline = time.monotonic() + _GIVE_UP_S
    ask = first
    while time.monotonic() < deadline:
        try:
            return ray.get(ask())
        except RayTaskError as error:
            if isinstance(error.cause, ServiceError):
                raise error.cause from error
            raise
        except (ActorDiedError, ActorUnavailableError, ValueError):
            log.warning("manager_unreachable")
            time.sleep(_RETRY_S)
            ask = again
    raise Unavailable(f"the manager did not come back within {_GIVE_UP_S:g} s")


class TrainerActor:
    """One attempt of one run."""

    def __init__(self) -> None:
        self._outcome: Outcome = None

    @ray.method
    def run(self, ticket: Ticket) -> None:
        """Train; how it ended is told by `outcome`, which waits behind this call."""
        try:
            train_attempt(ticket)
        except ServiceError as error:
            self._outcome = Fault(code=error.code, detail=error.detail[:4000])
        except Exception as error:
            log.exception("trainer_failed")
            detail = f"{type(error).__name__}: {error}"[:4000]
            self._outcome = Fault(code="service_error", detail=detail)

    @ray.method
    def outcome(self) -> Outcome:
        """Return how `run` ended; a call made during `run` waits for its end."""
        return self._outcome


def train_attempt(ticket: Ticket, *, group: Group = ALONE) -> None:
    """Do the work of one attempt in this process, alone or as one of a group.

    Args:
        ticket: The attempt.
        group: The workers of the run; the first one alone tells the manager anything.

    Raises:
        ServiceError: Whatever ended it early.
    """
    settings = from_environment(os.environ)
    config = RunConfig.model_validate(ticket.config)
    runtime.prepare_process(
        device=ticket.place.device,
        cache=settings.cache,
        threads=config.threads,
        kernels=config.kernel_set,
        library=settings.kernel_library,
        beam=config.beam,
    )
    # tinygrad reads the environment when it is imported, so what uses it comes after that line.
    from trainers import kernel_probe, loop, rehearsal  # noqa: PLC0415
    from trainers.checkpoint import Start  # noqa: PLC0415
    from trainers.models import build  # noqa: PLC0415

    kernel_probe.check(ticket.place.device)
    dataset = require_dataset(config.dataset, settings, own=config.data)
    start = Start.from_files(ticket.start) if ticket.start else Start.fresh()
    if group.rank > 0:
        unheard: deque[TrainingEvent] = deque(maxlen=0)  # worker 0 says the same
        loop.train(config, dataset, start, unheard.append, group=group)
        return
    if config.beam:
        rehearsal.rehearse(config, dataset)  # the description tells what the search chose
    told = _describe(config, dataset.digests, build.describe(config))
    tell = lambda: find_manager().attempt_started.remote(  # noqa: E731
        ticket.run_id, ticket.attempt, **told
    )
    answered(tell, tell)
    sink = ManagerSink(ticket.run_id, ticket.attempt)
    try:
        loop.train(config, dataset, start, sink, group=group)
    except TrainingDiverged:
        sink.flush()  # the steps before it show how
        raise
    sink.flush()


def _describe(
    config: RunConfig, digests: Mapping[str, str], model: dict[str, Any]
) -> dict[str, Any]:
    code = describe_code()
    return {
        "model": model,
        "provenance": {
            "dataset": {"name": config.dataset, "files": dict(digests)},
            "lock_sha256": code.pop("lock_sha256"),
            "code": code,
            "runtime": runtime.describe(),
            "seed": seed.derive(config.as_json(), digests, config.nonce),
            "nonce": config.nonce,
        },
    }
