"""Our own server of blocks: a process of its own, started and ended by the bridge.

    python -m petals_bridge.hosting SPEC.json

It runs Petals' server behind the gate, and writes into its folder: `server.json` when it serves
(peer id and addresses), `server-counts.json` every second, a line in `denied.jsonl` for each
refusal. It ends, with all its children, when its parent does.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import structlog
from pydantic import BaseModel, ConfigDict, Field

from evidence.clock import timestamp, utc_now
from evidence.files import write_atomic
from petals_bridge.allowlist import Right
from petals_bridge.allowlist_file import AllowlistFile, keys_of
from petals_bridge.bandwidth import Allowance, Guardrail
from petals_bridge.die_together import die_together, die_with_parent
from petals_bridge.gate import Gate

log = structlog.get_logger()

STATE = "server.json"
COUNTS = "server-counts.json"
DENIED = "denied.jsonl"

_COUNT_EVERY_S = 1.0
_POLL_S = 0.3
_MOST_DENIED_BYTES = 4 << 20
_SAME_AGAIN_S = 1.0


class Spec(BaseModel):
    """What a server is to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    """Where it writes; also holds the allowlist."""
    keys: Path
    """Folder with the public history of the service's keys."""
    model: Path
    """Folder of the model, its files checked."""
    dht_prefix: str
    begin: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1)]
    peers: tuple[str, ...]
    """Multiaddresses of members; none begins a new swarm."""
    listen: str
    """Multiaddress that it binds."""
    announce: str | None = None
    """Multiaddress that others reach it at; `listen` if None."""
    identity: Path
    own_ids: tuple[str, ...]
    """Peer ids of this bridge, which need no entry in the list."""
    name: str
    context: int
    cache_tokens: int
    peer_bytes_per_s: int | None = None
    total_bytes_per_s: int | None = None
    peer_sessions: int = 32
    total_sessions: int = 64


def main(path: Path) -> None:
    """Serve until SIGTERM, or until the parent is gone."""
    die_together()
    die_with_parent()
    spec = Spec.model_validate_json(path.read_bytes())
    from petals_bridge import client  # noqa: PLC0415 - takes seconds, and needs its environment

    client.torch.set_num_threads(1)
    _install(spec, client)
    server = _make(spec, client)
    signal.signal(signal.SIGTERM, lambda *_: server.stop.set())
    threading.Thread(target=_tell_when_ready, args=(spec, server), daemon=True).start()
    try:
        server.run()
    finally:
        server.shutdown()
        (spec.folder / STATE).unlink(missing_ok=True)


def _install(spec: Spec, client: Any) -> None:
    """Put the gate before every handler; must come before the server is made."""
    listed = AllowlistFile(spec.folder, keys=keys_of(spec.keys), clock=utc_now)
    denied = _Denials(spec.folder / DENIED)
    allowance = Allowance(
        peer_bytes_per_s=spec.peer_bytes_per_s,
        total_bytes_per_s=spec.total_bytes_per_s,
        peer_sessions=spec.peer_sessions,
        total_sessions=spec.total_sessions,
    )
    guard = Guardrail(allowance, seconds=time.monotonic)

    def own_or(allowed: Any) -> Any:
        return lambda peer: peer in spec.own_ids or allowed(peer)

    uses = own_or(lambda peer: listed.allows(peer, Right.USE))
    knows = own_or(listed.knows)
    blocks = Gate(uses, denied, _Counted(guard, spec.folder / COUNTS).guard)
    blocks.install(client.TransformerConnectionHandler)
    table = Gate(knows, denied)
    table.install(client.DHTProtocol)
    table.install(client.ReachabilityProtocol)


def _make(spec: Spec, client: Any) -> Any:
    """Return Petals' server: no relay, no public helper, no speed test."""
    return client.Server(
        converted_model_name_or_path=str(spec.model),
        dht_prefix=spec.dht_prefix,
        initial_peers=list(spec.peers),
        block_indices=f"{spec.begin}:{spec.end}",
        throughput=1.0,
        num_handlers=1,
        device="cpu",
        torch_dtype="float32",
        host_maddrs=[spec.listen],
        announce_maddrs=[spec.announce] if spec.announce else None,
        identity_path=str(spec.identity),
        check_if_identity_free=False,
        public_name=spec.name,
        skip_reachability_check=True,
        reachable_via_relay=False,
        use_relay=False,
        use_auto_relay=False,
        nat_port_map=False,
        auto_nat=False,
        attn_cache_tokens=spec.cache_tokens,
        inference_max_length=spec.context,
        update_period=10,
        mean_balance_check_period=30,
        cache_dir=str(spec.folder / "petals-cache"),
    )


def _tell_when_ready(spec: Spec, server: Any) -> None:
    while server.module_container is None or not server.module_container.ready.is_set():
        time.sleep(_POLL_S / 6)
    state = {
        "pid": os.getpid(),
        "peer_id": server.dht.peer_id.to_base58(),
        "addresses": [str(one) for one in server.dht.get_visible_maddrs()],
        "begin": spec.begin,
        "end": spec.end,
    }
    write_atomic(spec.folder / STATE, json.dumps(state).encode())


class _Counted:
    """Writes the counts of a guard to a file from the process that counts: a handler's."""

    def __init__(self, guard: Guardrail, path: Path) -> None:
        self.guard = guard
        os.register_at_fork(after_in_child=lambda: self._start(path))

    def _start(self, path: Path) -> None:
        threading.Thread(target=self._write_for_ever, args=(path,), daemon=True).start()

    def _write_for_ever(self, path: Path) -> None:
        told: Any = None
        while True:
            time.sleep(_COUNT_EVERY_S)
            counts = self.guard.counts()
            if counts and counts != told:
                try:
                    draft = path.with_name(f".writing-{os.getpid()}-{path.name}")
                    draft.write_bytes(json.dumps(counts).encode())
                    draft.replace(path)
                    told = counts
                except OSError as error:
                    log.warning("counts_not_written", cause=str(error))


class _Denials:
    """Appends a line for each refusal; the same one again within a second is counted only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: dict[tuple[str, str], float] = {}
        self._skipped: dict[tuple[str, str], int] = {}

    def __call__(self, peer_id: str, call: str) -> None:
        key, now = (peer_id, call), time.monotonic()
        if now - self._last.get(key, -_SAME_AGAIN_S) < _SAME_AGAIN_S:
            self._skipped[key] = self._skipped.get(key, 0) + 1
            return
        if len(self._last) > 1_000:  # noqa: PLR2004 - a stranger can make ids without end
            self._last.clear()
        self._last[key] = now
        line = {
            "timestamp": timestamp(utc_now()),
            "peer_id": peer_id,
            "call": call,
            "times": 1 + self._skipped.pop(key, 0),
        }
        try:
            with self._path.open("ab", buffering=0) as file:
                if file.tell() < _MOST_DENIED_BYTES:
                    file.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            log.warning("denial_not_written", peer_id=peer_id, call=call, cause=str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
