"""What outsiders see of a bridge: plain JSON values."""

from typing import Any

from evidence.clock import utc_now
from petals_bridge.parts import Loaded, Parts
from petals_bridge.routing import Prefer, Refuse

_NOTHING = {"bytes_sent": 0, "bytes_received": 0, "sessions": 0}


def status(parts: Parts, *, running: int) -> dict[str, Any]:
    """Return what the bridge does.

    Args:
        parts: The bridge.
        running: How many generations go on.
    """
    is_on = {"client": parts.swarm is not None, "server": parts.server.is_running}
    wanted = parts.wanted.read()
    return {
        "mode": "+".join(name for name, on in is_on.items() if on) or "idle",
        "identity": {"client": parts.client_id, "server": parts.server_id},
        "swarm": {
            "initial_peers": list(parts.config.peers),
            "announced_peers": len(parts.announced),
            "strangers": len(parts.counters.strangers),
            "error": parts.survey_error,
        },
        "model": _model(parts.loaded) if parts.loaded else None,
        "hosting": parts.server.view() if wanted.host else None,
        "cache": cache(parts),
        "allowlist": _allowlist(parts),
        "fallback": _fallback(parts),
        "generations_running": running,
    }


def cache(parts: Parts) -> dict[str, Any]:
    """Return what is in the block cache."""
    held, pinned = parts.cache.held(), parts.cache.pinned_here
    return {
        "bytes": sum(one.bytes for one in held),
        "max_bytes": parts.cache.max_bytes,
        "quarantined": parts.counters.quarantined,
        "blocks": [
            {
                "model": one.block.model,
                "block": one.block.index,
                "bytes": one.bytes,
                "pinned": one.block in pinned,
            }
            for one in held
        ],
    }


def peers(parts: Parts) -> list[dict[str, Any]]:
    """Return every peer that is listed or announces blocks."""
    current, now, expelled = parts.listed.current, utc_now(), parts.expelled()
    counts = parts.guard.counts()
    announced = {str(one.peer_id): one for one in parts.announced}
    listed = {entry.id: entry for entry in current.peer} if current else {}
    views = []
    for peer_id in sorted({*listed, *announced}):
        entry, said = listed.get(peer_id), announced.get(peer_id)
        is_own = peer_id == parts.server_id
        is_in_force = is_own or (entry is not None and entry.is_in_force(now))
        views.append(
            {
                "peer_id": peer_id,
                "label": entry.label if entry else "this bridge" if is_own else None,
                "listed": is_in_force and peer_id not in expelled,
                "expelled": peer_id in expelled,
                "rights": [str(right) for right in entry.rights] if entry else [],
                "blocks": [said.begin, said.end] if said else None,
                "name": said.name if said else None,
                "version": said.version if said else None,
                **parts.health.view(peer_id),
                **counts.get(peer_id, _NOTHING),
            }
        )
    return views


def metrics(parts: Parts, *, running: int) -> dict[str, Any]:
    """Return counters and measured bytes."""
    counters, client, server = parts.counters, parts.guard.counts(), parts.server.counts()
    both = (*client.values(), *server.values())
    return {
        "generations": counters.generations,
        "generations_running": running,
        "tokens": counters.tokens,
        "fallbacks": counters.fallbacks,
        "spot_checks": counters.spot_checks,
        "lies_found": counters.lies_found,
        "denied_calls": counters.denied_calls,
        "strangers": len(counters.strangers),
        "blocks_quarantined": counters.quarantined,
        "transfers_refused": parts.guard.refused,
        "transfers_waited_s": parts.guard.waited_s,
        "bytes_sent": sum(one["bytes_sent"] for one in both),
        "bytes_received": sum(one["bytes_received"] for one in both),
        "client": client,
        "server": server,
    }


def _model(loaded: Loaded) -> dict[str, Any]:
    entry = loaded.entry
    return {
        "name": entry.name,
        "digest": entry.digest,
        "revision": entry.revision,
        "licence": entry.licence,
        "blocks": entry.blocks,
        "context": entry.context,
        "cached_blocks": sorted(loaded.model.cached()),
        "chat_template": entry.chat_template,
    }


def _allowlist(parts: Parts) -> dict[str, Any]:
    current, refused = parts.listed.current, parts.listed.refused
    return {
        "counter": current.counter if current else None,
        "peers": len(current.peer) if current else 0,
        "refused": refused.detail if refused else None,
    }


def _fallback(parts: Parts) -> dict[str, Any]:
    """Return where the model would be computed now, and why."""
    last = parts.last_fallback
    if parts.loaded is None:
        return {"state": "none", "why": "no model is loaded", "last": last}
    decision = parts.decide(frozenset(), Prefer.SWARM)
    if isinstance(decision, Refuse):
        state = "unavailable"
    elif decision.is_local:
        state = "local"
    else:
        state = "partly local" if decision.local_blocks else "none"
    return {"state": state, "why": decision.reason, "last": last}
