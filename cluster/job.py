"""A run submitted from a Ray job and followed to its end: the second door beside HTTP.

It asks the manager's actor for what the routes ask it for, so the same limits hold. It survives a
restart of the manager: every question is asked again, and the submission carries a key, so that
asking twice makes one run.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from cluster.directory import MANAGER, NAMESPACE, find_manager
from cluster.job_report import Narrator, plain
from evidence import canonical
from evidence.errors import Conflict, NotFound, ServiceError, Unavailable
from evidence.records import EventKind, RunState

_PAGE = 500
_POLL_S = 10.0
_LOOK_EVERY_S = 0.25
_RETRY_S = 0.5
_PATIENCE_S = 300.0
_ENDED_UNSEALED = frozenset({RunState.FAILED, RunState.INTERRUPTED})


class Stopped(Exception):
    """The job was asked to stop while it followed the run."""


class JobRun:
    """One run, as a job deals with it.

    Args:
        who: Whom the service journal names.
        say: Prints a line.
        is_stopping: Whether the job was asked to stop.
    """

    def __init__(
        self, *, who: str, say: Callable[[str], None], is_stopping: Callable[[], bool]
    ) -> None:
        self._who = who
        self._say = say
        self._is_stopping = is_stopping

    def submit(self, request: Mapping[str, Any], *, idempotency_key: str | None) -> dict[str, Any]:
        """Submit the run and return its view; a stop is looked at afterwards.

        Raises:
            ServiceError: The manager refused it, or there is no manager.
        """
        require_manager()
        key = idempotency_key or secrets.token_hex(16)
        view: dict[str, Any] = self._ask("submit", dict(request), self._who, key)
        self._say(plain(f"submitted   run {view['run_id']}  {view['name']}, {view['steps']} steps"))
        return view

    def follow(self, view: Mapping[str, Any]) -> dict[str, Any]:
        """Print what happens until the run has ended; return its last view.

        Raises:
            Stopped: The job was asked to stop.
            ServiceError: The manager did not come back.
        """
        run_id = view["run_id"]
        narrator = Narrator(steps=view["steps"], monotonic=time.monotonic)
        for event in self._events(run_id):
            line = narrator.line_of(event)
            if line is not None:
                self._say(line)
        ended: dict[str, Any] = self._ask("view", run_id)
        return ended

    def cancel(self, run_id: str) -> None:
        """End the run for good, because the job was stopped; one that has ended stays as it is."""
        self._say(f"stopping    run {run_id} is being cancelled")
        try:
            self._ask("cancel", run_id, self._who)
        except Conflict as error:
            self._say(plain(f"stopped     {error.detail}"))
            return
        self._say(f"cancelled   run {run_id}, because the job was stopped")

    def _events(self, run_id: str) -> Iterator[dict[str, Any]]:
        """Yield the run's events until it ends, and say why it waits while it does."""
        after, state, told = 0, RunState.QUEUED, None
        while True:
            lines = self._ask("events", run_id, after, _PAGE, _POLL_S, stoppable=True)
            for line in lines:
                event = canonical.decode_object(line)
                after = event["seq"]
                state = RunState(event["state"]) if "state" in event else state
                yield event
                if event["kind"] == EventKind.END:
                    return
            if state in _ENDED_UNSEALED and self._is_over(run_id, after):
                return
            if state is RunState.QUEUED:
                told = self._tell_why_it_waits(run_id, told)

    def _is_over(self, run_id: str, after: int) -> bool:
        view = self._ask("view", run_id)
        return view["status"] in _ENDED_UNSEALED and view["last_seq"] <= after

    def _tell_why_it_waits(self, run_id: str, told: str | None) -> str | None:
        reason: str | None = self._ask("view", run_id)["pending_reason"]
        if reason is not None and reason != told:
            self._say(plain(f"waiting     {reason}"))
        return reason

    def _ask(self, method: str, *arguments: Any, stoppable: bool = False) -> Any:
        """Return what the manager answers; ask again while it is being restarted.

        Raises:
            Stopped: It is `stoppable` and the job was asked to stop.
            ServiceError: What the manager raised, or it did not come back.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            self._require_no_stop(stoppable=stoppable)
            try:
                reference = getattr(find_manager(), method).remote(*arguments)
                while not ray.wait([reference], timeout=_LOOK_EVERY_S)[0]:
                    self._require_no_stop(stoppable=stoppable)
                return ray.get(reference)
            except RayTaskError as error:
                raise _cause(error) from error
            except (RayActorError, ValueError):
                time.sleep(_RETRY_S)
        raise Unavailable(f"the manager did not come back within {_PATIENCE_S:g} s")

    def _require_no_stop(self, *, stoppable: bool) -> None:
        if stoppable and self._is_stopping():
            raise Stopped


def require_manager() -> None:
    """Refuse to go on where no service runs.

    Raises:
        NotFound: The cluster has no manager.
    """
    try:
        find_manager()
    except ValueError as error:
        raise NotFound(
            f"no service runs on this cluster: there is no actor {MANAGER!r} in the namespace "
            f"{NAMESPACE!r}",
            cure="deploy it (`make up`, or `serve deploy deploy/serve.yaml`)",
        ) from error


def _cause(error: RayTaskError) -> Exception:
    return error.cause if isinstance(error.cause, ServiceError) else error
