"""Generations as they run: a thread each, journalled, stopped and taken up again."""

import threading
import time
from contextlib import suppress
from typing import Any

from evidence.errors import PeerNotAllowed, RateLimited, ServiceError, StorageFull
from petals_bridge import spot_check, tokenizing
from petals_bridge.generation import Generation, Stopped, missing_of
from petals_bridge.generations import GenerationLog, GenerationRequest
from petals_bridge.local_blocks import LocalSession
from petals_bridge.parts import Loaded, Parts
from petals_bridge.routing import Chain, Hop, Prefer, Refuse
from petals_bridge.sampling import Sampling
from petals_bridge.text_stream import TextStream

_GONE = frozenset({"peer_unreachable", "peer_lied"})
_POLL_S = 0.02


class Answers:
    """All generations of a bridge.

    Args:
        parts: The bridge.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._running: dict[str, threading.Event] = {}
        self._turn = threading.RLock()
        """Its own: starting a server takes seconds, and readers must not wait for that."""

    @property
    def running(self) -> int:
        """How many go on now."""
        return len(self._running)

    def begin(self, request: GenerationRequest, *, model: str | None) -> str:
        """Start a generation and return its id.

        Raises:
            Conflict: No model is loaded, or another one than asked for.
            InvalidInput: The prompt is too long.
            RateLimited: As many generations run as may.
            BlocksMissing: Neither peers nor cache can compute the model now.
        """
        parts = self._parts
        with self._turn:
            loaded = parts.require_loaded(model)
            most = parts.config.max_generations
            if self.running >= most:
                raise RateLimited(
                    f"{self.running} generations run, the limit petals_max_generations is {most}",
                    field="petals_max_generations",
                )
            tokens = tokenizing.prompt_of(loaded.entry, loaded.tokenizer, request.prompt)
            decision = parts.decide(frozenset(), Prefer(request.prefer))
            if isinstance(decision, Refuse):
                raise missing_of(decision)
            log = parts.book.begin(
                {
                    "request": request.model_dump(mode="json"),
                    "prompt_tokens": tokens,
                    "model": loaded.entry.name,
                    "model_digest": loaded.entry.digest,
                }
            )
            self._start(log, loaded)
            return log.id

    def find(self, generation_id: str) -> GenerationLog:
        """Return a generation; one that was cut off is taken up again if its model is loaded.

        Raises:
            NotFound: There is none.
        """
        with self._turn:
            log = self._parts.book.find(generation_id)
            self._take_up(log)
            return log

    def resume(self) -> None:
        """Take up every generation that was cut off."""
        with self._turn:
            for log in list(self._parts.book.unfinished()):
                self._take_up(log)

    def stop(self) -> None:
        """Stop all of them; they can be taken up again."""
        for event in list(self._running.values()):
            event.set()
        deadline = time.monotonic() + 2 * self._parts.config.step_timeout_s
        while self._running and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _take_up(self, log: GenerationLog) -> None:
        loaded = self._parts.loaded
        is_idle = not log.has_ended and log.id not in self._running
        if is_idle and loaded and log.records[0]["model_digest"] == loaded.entry.digest:
            self._start(log, loaded)

    def _start(self, log: GenerationLog, loaded: Loaded) -> None:
        self._running[log.id] = threading.Event()
        self._parts.counters.generations += 1
        threading.Thread(target=self._run, args=(log, loaded), daemon=True).start()

    def _run(self, log: GenerationLog, loaded: Loaded) -> None:
        stop = self._running[log.id]
        try:
            self._carry_on(log, loaded, stop)
        except Stopped:
            pass
        except StorageFull as error:
            self._parts.tells.show(
                "petals.storage_full", {"generation_id": log.id, "detail": error.detail}
            )
        except Exception as error:  # noqa: BLE001 - a thread's edge: the reader must learn of it
            _tell_failure(log, error)
        finally:
            self._parts.book.done(log)
            del self._running[log.id]
            self._parts.tells.changed(log.id)

    def _carry_on(self, log: GenerationLog, loaded: Loaded, stop: threading.Event) -> None:
        parts = self._parts
        request, prompt, given = log.request, log.prompt_tokens, log.tokens
        text = TextStream(loaded.tokenizer, prompt, request.stop)
        for token in given:
            text.push(token)

        def record(kind: str, body: dict[str, Any]) -> None:
            if kind == "token":
                body["text"] = text.push(body["token"])
                parts.counters.tokens += 1
            elif kind == "petals.fallback":
                self._tell_fallback(log.id, body)
            log.append(kind, body)
            parts.tells.changed(log.id)

        going = Generation(
            tokens=prompt + given,
            length=min(loaded.entry.context, len(prompt) + request.max_tokens),
            sampling=Sampling(request.temperature, request.top_p, request.seed),
            eos=loaded.entry.tokenizer.eos,
            is_stopped=stop.is_set,
            is_ended=lambda: text.is_stopped,
        )
        why = going.run(loaded.model, _Around(parts, Prefer(request.prefer), loaded), record)
        rest = text.finish()
        log.append("end", {"finish_reason": why, "rest": rest, "text": text.text, **_usage(log)})

    def _tell_fallback(self, generation_id: str, body: dict[str, Any]) -> None:
        parts = self._parts
        parts.counters.fallbacks += 1
        parts.last_fallback = {"generation_id": generation_id, **body}
        parts.tells.both("petals.fallback", parts.last_fallback)


def _tell_failure(log: GenerationLog, error: Exception) -> None:
    told = error if isinstance(error, ServiceError) else ServiceError(f"a defect: {error!r}")
    members = ("detail", "field", "expected", "found", "cure")
    body = {name: getattr(told, name) for name in members}
    with suppress(StorageFull):
        log.append("error", {"code": told.code, "title": told.title, **body})
        log.append("end", {"finish_reason": "error", "rest": "", "text": "", **_usage(log)})


def _usage(log: GenerationLog) -> dict[str, Any]:
    usage = {"prompt_tokens": len(log.prompt_tokens), "completion_tokens": len(log.tokens)}
    return {"usage": usage}


class _Around:
    """What one generation asks of the bridge; see `generation.Surroundings`."""

    def __init__(self, parts: Parts, prefer: Prefer, loaded: Loaded) -> None:
        self._parts = parts
        self._prefer = prefer
        self._loaded = loaded

    def decide(self, given_up: frozenset[str]) -> Chain | Refuse:
        return self._parts.decide(given_up, self._prefer)

    def open(self, hop: Hop, max_length: int) -> Any:
        parts = self._parts
        if hop.peer_id is None:
            return LocalSession(self._loaded.model, hop.begin, hop.end)
        if parts.swarm is None:
            raise PeerNotAllowed("the bridge has left the swarm")
        self.require_allowed(hop.peer_id)
        parts.health.began(hop.peer_id)
        return parts.swarm.open(
            hop.peer_id,
            hop.begin,
            hop.end,
            max_length=max_length,
            guard=parts.guard,
            timeout_s=parts.config.step_timeout_s,
        )

    def require_allowed(self, peer_id: str) -> None:
        if peer_id not in self._parts.serving():
            raise PeerNotAllowed(f"peer {peer_id} may not serve us any more")

    def answered(self, peer_id: str, step_s: float, size: int) -> None:
        self._parts.health.answered(peer_id, step_s=step_s, size=size)

    def failed(self, peer_id: str, error: ServiceError) -> None:
        self._parts.health.failed(peer_id, error.detail, is_gone=error.code in _GONE)

    def check(self, session: Any, hop: Hop) -> spot_check.Comparison | None:
        parts, model = self._parts, self._loaded.model
        if not spot_check.is_due(parts.config.spot_check_rate, parts.rng):
            return None
        if not set(range(hop.begin, hop.end)) <= model.cached():
            return None
        parts.counters.spot_checks += 1
        computed = LocalSession(model, hop.begin, hop.end).step(session.inputs)
        return spot_check.compare(session.outputs[0].numpy(), computed[0].numpy())

    def expel(self, peer_id: str, why: str) -> None:
        self._parts.expel(peer_id, why)
