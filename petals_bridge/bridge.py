"""The bridge itself: joins, hosts, leaves, generates, keeps blocks.

    parts       what it is made of and knows now
    watching    surveys and probes, keeps it joined and hosting
    answering   generations, each a thread
    views       what outsiders see

It knows no Ray and no HTTP: whoever runs it passes in where it tells what happened.
"""

from collections.abc import Sequence
from typing import Any

import structlog
import torch

from evidence.errors import Conflict, ServiceError
from petals_bridge import views, watching
from petals_bridge.answering import Answers
from petals_bridge.local_blocks import LocalModel
from petals_bridge.parts import BridgeConfig, Parts, Tells
from petals_bridge.wanted import HostSpec, Wanted

log = structlog.get_logger()


class Bridge:
    """One bridge.

    Args:
        config: What it is given.
        tells: Where it tells what happened.
    """

    def __init__(self, config: BridgeConfig, tells: Tells) -> None:
        torch.set_num_threads(1)
        self.parts = Parts(config, tells)
        self.answers = Answers(self.parts)
        self._watcher = watching.Watcher(self.parts)

    def resume(self) -> None:
        """Do again what was wanted before a restart, and take up what was cut off.

        What does not work now, e.g. because no member answers, is tried again every two seconds.
        """
        wanted = self.parts.wanted.read()
        try:
            if wanted.host is not None:
                watching.serve(self.parts, wanted.host)
            if wanted.join is not None:
                self.parts.load(wanted.join)
                watching.enter(self.parts)
        except ServiceError as error:
            self.parts.survey_error = error.detail
            log.warning("bridge_not_whole", cause=error.detail)
        self.answers.resume()
        self._watcher.start()

    def join(self, model: str) -> dict[str, Any]:
        """Join the swarm as a client, for one model; joined already for it is fine.

        Raises:
            NotFound, Forbidden: The model is unknown, or not approved.
            Conflict: Another model is loaded.
            Unavailable: No member answered, or none is named.
        """
        parts = self.parts
        was_loaded = parts.loaded is not None
        parts.load(model)
        try:
            watching.enter(parts)
        except ServiceError:
            with parts.turn:
                if not was_loaded:
                    self._unload()
            raise
        with parts.turn:
            parts.wanted.write(parts.wanted.read().joined(model))
            self.answers.resume()
        parts.tells.both("petals.joined", {"model": model, "peer_id": parts.client_id})
        return self.status()

    def host(self, model: str, begin: int, end: int) -> dict[str, Any]:
        """Serve blocks `begin` to `end` of a model; where no peers are named, in a new swarm.

        Raises:
            NotFound, Forbidden: The model is unknown, or not approved.
            InvalidInput: There are no such blocks.
            Conflict: A server runs already.
            Unavailable: It did not come up; says why.
        """
        parts = self.parts
        wanted = HostSpec(model=model, begin=begin, end=end)
        with parts.turn:
            wanted.require_within(parts.registry.require(model).blocks)
            if parts.server.is_running:
                raise Conflict("our server runs already", cure="zpctl petals leave")
            watching.serve(parts, wanted)
            parts.wanted.write(parts.wanted.read().hosting(wanted))
        parts.tells.both("petals.hosted", {**wanted.model_dump(), "peer_id": parts.server_id})
        return self.status()

    def leave(self) -> dict[str, Any]:
        """Stop generating, leave the swarm, stop our server; no process is left."""
        parts = self.parts
        with parts.turn:
            parts.wanted.write(Wanted())
            self._end()
            self._unload()
        parts.tells.both("petals.left", {"peer_id": parts.client_id})
        return self.status()

    def close(self) -> None:
        """End all processes; what was wanted stays wanted."""
        self._watcher.close()
        self._end()

    def warm(self, model: str, blocks: Sequence[int] | None) -> dict[str, Any]:
        """Put blocks of a model into the cache, all of them if None.

        Raises:
            ServiceError: The model is unknown, its files are not here, or they do not fit.
        """
        parts = self.parts
        entry = parts.registry.require(model)
        wanted = tuple(range(entry.blocks)) if blocks is None else tuple(blocks)
        for index in wanted:
            HostSpec(model=model, begin=index, end=index + 1).require_within(entry.blocks)
        LocalModel(entry, parts.files_of(entry), parts.cache).warm(wanted)
        return views.cache(parts)

    def status(self) -> dict[str, Any]:
        """Return what it does, as JSON."""
        return views.status(self.parts, running=self.answers.running)

    def metrics(self) -> dict[str, Any]:
        """Return counters and measured bytes, as JSON."""
        return views.metrics(self.parts, running=self.answers.running)

    def _end(self) -> None:
        self.answers.stop()
        self.parts.server.stop()
        if self.parts.swarm is not None:
            self.parts.swarm.close()
            self.parts.swarm = None
        self.parts.announced = ()

    def _unload(self) -> None:
        if self.parts.loaded is not None:
            self.parts.loaded.model.forget_blocks()
            self.parts.loaded = None
