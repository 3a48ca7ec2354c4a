"""The bridge's eyes: surveys the swarm, probes peers, watches our server, tells what changed."""

import threading
from typing import Any

import structlog

from evidence.errors import Conflict, ServiceError
from petals_bridge import views
from petals_bridge.client import Swarm
from petals_bridge.parts import Parts
from petals_bridge.routing import strangers
from petals_bridge.wanted import HostSpec

log = structlog.get_logger()

_EVERY_S = 2.0
_PROBE_EVERY = 5
_PATIENCE = 3
_LONGEST_PATIENCE = 48
"""Surveys that find nobody before the swarm is opened anew."""


class Watcher:
    """One thread that looks every two seconds.

    Args:
        parts: The bridge.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._seen: dict[str, Any] = {}
        self._alone = 0
        self._patience = _PATIENCE
        self._is_closing = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._look_for_ever, daemon=True).start()

    def close(self) -> None:
        """Stop looking."""
        self._is_closing.set()

    def _look_for_ever(self) -> None:
        turn = 0
        while not self._is_closing.wait(_EVERY_S):
            for work in (self._keep_joined, self._take_denials, self._keep_hosting):
                try:
                    work()
                except (ServiceError, OSError) as error:
                    log.warning("look_failed", what=work.__name__, cause=str(error))
            if turn % _PROBE_EVERY == 0:
                self._probe()
            self._show_peers()
            turn += 1

    def _keep_joined(self) -> None:
        """Survey the swarm; join it again where that did not work before, or everybody was lost.

        hivemind's client does not look for its first members again: where all of them vanished and
        came back, it would never see them. So it is opened anew, at ever longer intervals.
        """
        parts = self._parts
        with parts.turn:
            wanted = parts.wanted.read().join
            if wanted is None:
                return
            parts.load(wanted)
            if parts.swarm is not None and self._is_lost():
                parts.swarm.close()
                parts.swarm = None
        enter(parts)
        survey(parts)

    def _is_lost(self) -> bool:
        others = [one for one in self._parts.announced if one.peer_id != self._parts.server_id]
        if others or not self._parts.config.peers:
            self._alone, self._patience = 0, _PATIENCE
            return False
        self._alone += 1
        if self._alone < self._patience:
            return False
        self._alone, self._patience = 0, min(2 * self._patience, _LONGEST_PATIENCE)
        return True

    def _probe(self) -> None:
        parts = self._parts
        swarm, serving = parts.swarm, parts.serving()
        for one in parts.announced if swarm else ():
            if one.peer_id in serving:
                try:
                    assert swarm is not None
                    parts.health.answered(one.peer_id, rtt_s=swarm.probe(one.peer_id))
                except ServiceError as error:
                    parts.health.failed(one.peer_id, error.detail)

    def _take_denials(self) -> None:
        for line in self._parts.server.denials():
            self._parts.counters.denied_calls += line["times"]
            told = {name: line[name] for name in ("peer_id", "call", "times")}
            self._parts.tells.both("petals.denied", told)

    def _keep_hosting(self) -> None:
        """Start our server again if it ended by itself."""
        parts = self._parts
        with parts.turn:
            wanted = parts.wanted.read().host
            if wanted is not None and not parts.server.is_running:
                parts.tells.both("petals.server_lost", {"why": parts.server.last_words()})
                serve(parts, wanted)

    def _show_peers(self) -> None:
        now = {view["peer_id"]: view for view in views.peers(self._parts)}
        for peer_id, view in now.items():
            if self._seen.get(peer_id) != view:
                self._parts.tells.show("petals.peer", view)
        for peer_id in self._seen.keys() - now.keys():
            self._parts.tells.show("petals.peer_gone", {"peer_id": peer_id})
        self._seen = now


def enter(parts: Parts) -> None:
    """Join the swarm with the loaded model, unless that was done.

    May take half a minute where nobody answers; `parts.turn` must not be held meanwhile.

    Raises:
        Unavailable: No member answered, or none is named.
        Conflict: The bridge left meanwhile.
    """
    with parts.entering:
        if parts.swarm is not None:
            return
        loaded = parts.require_loaded()
        try:
            swarm = Swarm(
                (*parts.config.peers, *parts.server.addresses),
                identity=parts.config.home / "client.id",
                prefix=loaded.entry.dht_prefix,
                blocks=loaded.entry.blocks,
            )
        except ServiceError as error:
            parts.survey_error = error.detail
            raise
        with parts.turn:
            if parts.loaded is not loaded:
                swarm.close()
                raise Conflict("the bridge left while it joined")
            parts.swarm = swarm
    survey(parts)


def survey(parts: Parts) -> None:
    """Look who announces what; tell of each stranger once.

    Raises:
        Unavailable: The swarm's table could not be read.
    """
    swarm = parts.swarm
    if swarm is None:
        return
    try:
        parts.announced = tuple(swarm.survey())
        parts.survey_error = None
    except ServiceError as error:
        parts.survey_error = error.detail
        raise
    for peer in strangers(parts.situation(())) - parts.counters.strangers:
        parts.counters.strangers.add(peer)
        parts.tells.both("petals.stranger", {"peer_id": peer})


def serve(parts: Parts, wanted: HostSpec) -> None:
    """Start our server.

    Raises:
        ServiceError: The model may not or cannot be loaded, or the server did not come up.
    """
    entry = parts.registry.require(wanted.model)
    config, allowance = parts.config, parts.config.allowance
    parts.server.start(
        {
            "folder": str(config.home),
            "keys": str(config.keys),
            "model": str(parts.files_of(entry)),
            "dht_prefix": entry.dht_prefix,
            "begin": wanted.begin,
            "end": wanted.end,
            "peers": list(config.peers),
            "listen": config.listen,
            "announce": config.announce,
            "identity": str(config.home / "server.id"),
            "own_ids": [parts.client_id, parts.server_id],
            "name": config.name,
            "context": entry.context,
            "cache_tokens": entry.context * allowance.total_sessions,
            "peer_bytes_per_s": allowance.peer_bytes_per_s,
            "total_bytes_per_s": allowance.total_bytes_per_s,
            "peer_sessions": allowance.peer_sessions,
            "total_sessions": allowance.total_sessions,
        }
    )
