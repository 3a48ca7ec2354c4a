"""The canary of a service: done when nothing else runs, kept by code, told with its age.

What it trains and what must come out stands in `trainers.canary`. Here: when it is done, and what
is known of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from evidence import canonical, files
from evidence.clock import Clock, moment, timestamp
from evidence.errors import InvalidInput, ServiceError

log = structlog.get_logger()

State = Literal["passed", "failed", "running", "no data"]

KERNEL_SET: Final = "portable"
"""What it is done with: the default of runs."""

_SETTLE_S = 15.0
"""After a start: whoever starts a service to train does not wait for the canary."""

_LOOK_S = 5.0

Train = Callable[[], Awaitable[dict[str, Any]]]
"""Does the canary somewhere and returns `true_labels`, `shuffled_labels`, `passed`, `kernels`."""


class Canary:
    """What is known of the canary.

    Args:
        folder: Where outcomes are kept, shared by services with the same code; made if needed.
        code: Digest of the code that trains; None where it cannot be known, then nothing is kept.
        clock: For its age.
        train: Does it.
        is_idle: Whether no run is queued or running.
        has_data: Whether its data set is here.
    """

    def __init__(
        self,
        folder: Path,
        *,
        code: str | None,
        clock: Clock,
        train: Train,
        is_idle: Callable[[], bool],
        has_data: Callable[[], Awaitable[bool]],
    ) -> None:
        self._path = folder / f"{code}-{KERNEL_SET}.json" if code else None
        self._clock = clock
        self._train = train
        self._is_idle = is_idle
        self._has_data = has_data
        self._known: dict[str, Any] | None = self._read()
        self._state: State = _state_of(self._known) if self._known else "running"
        self._detail = "waits until no run is active"
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        if self._known is None:
            self._wanted.set()

    def start(self) -> None:
        """Do it in the background, now if it is not known, and again when asked."""
        self._task = asyncio.create_task(self._for_ever())

    def again(self) -> dict[str, Any]:
        """Ask for it to be done again, and return what is known now."""
        self._wanted.set()
        return self.view()

    def view(self) -> dict[str, Any]:
        """Return `state`, `detail`, and of the last outcome what was measured and its age."""
        if self._known is None:
            return {"state": self._state, "detail": self._detail}
        age_s = (self._clock() - moment(self._known["at"])).total_seconds()
        pending = "; asked for again" if self._wanted.is_set() else ""
        return {
            "state": self._state,
            "detail": f"true labels {self._known['true_labels']:.3f}, "
            f"shuffled {self._known['shuffled_labels']:.3f}{pending}",
            "age_s": max(0.0, age_s),
            **self._known,
        }

    async def close(self) -> None:
        """End what is going on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _for_ever(self) -> None:
        await asyncio.sleep(_SETTLE_S)
        while True:
            await self._wanted.wait()
            if not await self._has_data():
                self._tell("no data", "its data set is not here; it is not fetched for this")
            elif self._is_idle():
                await self._once()
                continue
            await asyncio.sleep(_LOOK_S)

    async def _once(self) -> None:
        self._tell("running", "training on true and on shuffled labels")
        try:
            outcome = await self._train()
        except ServiceError as error:
            self._tell("running", f"could not be done, will be tried again: {error.detail}"[:500])
            log.warning("canary_not_done", cause=error.detail)
            await asyncio.sleep(_LOOK_S)
            return
        self._known = {"at": timestamp(self._clock()), **outcome}
        self._state = _state_of(self._known)
        self._wanted.clear()
        log.info("canary_done", state=self._state)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomic(self._path, canonical.encode(self._known))

    def _tell(self, state: State, detail: str) -> None:
        if self._known is None:
            self._state, self._detail = state, detail

    def _read(self) -> dict[str, Any] | None:
        if self._path is None or not self._path.exists():
            return None
        try:
            return canonical.decode_object(self._path.read_bytes())
        except InvalidInput:  # half of it, or another's: it is done again
            log.warning("canary_unreadable", path=self._path.name)
            return None


def _state_of(known: dict[str, Any]) -> State:
    return "passed" if known["passed"] else "failed"
