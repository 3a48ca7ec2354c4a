"""The one file that imports Petals: its client, and the names that our server and blocks need.

hivemind 1.1.12 no longer has at its top what Petals 2.2 imports from there, so the names are put
back before Petals is imported: the one change made to a foreign module at import. Nothing here
ever falls back to the public swarm: a swarm is opened with the peers that it is given, or not.
"""

import asyncio
import importlib
import os
import time
import types
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")

import hivemind
import hivemind.utils

_UTILITIES = (
    "asyncio", "limits", "logging", "mpfuture", "nested", "networking", "performance_ema",
    "serializer", "streaming", "tensor_descr", "timed_storage",
)  # fmt: skip
_PARTS = ("compression", "p2p", "dht", "moe", "utils")


def _put_back(target: types.ModuleType, source: str) -> None:
    """Give a module the public names of another, where it has none of its own."""
    for name, value in vars(importlib.import_module(source)).items():
        is_public = not name.startswith("_") and not isinstance(value, types.ModuleType)
        if is_public and not hasattr(target, name):
            setattr(target, name, value)


for _name in _UTILITIES:
    _put_back(hivemind.utils, f"hivemind.utils.{_name}")
for _name in _PARTS:
    _put_back(hivemind, f"hivemind.{_name}")

import structlog  # noqa: E402
import torch  # noqa: E402
from hivemind.dht.protocol import DHTProtocol  # noqa: E402
from hivemind.moe.client.remote_expert_worker import RemoteExpertWorker  # noqa: E402
from hivemind.proto import dht_pb2, runtime_pb2  # noqa: E402
from petals.client.config import ClientConfig  # noqa: E402
from petals.client.inference_session import _ServerInferenceSession  # noqa: E402
from petals.data_structures import RemoteSpanInfo, ServerState  # noqa: E402
from petals.models.llama.config import DistributedLlamaConfig  # noqa: E402
from petals.models.llama.model import DistributedLlamaForCausalLM  # noqa: E402
from petals.server.handler import TransformerConnectionHandler  # noqa: E402
from petals.server.reachability import ReachabilityProtocol  # noqa: E402
from petals.server.server import Server  # noqa: E402
from petals.utils import misc  # noqa: E402
from petals.utils.dht import compute_spans, get_remote_module_infos  # noqa: E402

from evidence.errors import PeerUnreachable, ServiceError, Unavailable  # noqa: E402
from petals_bridge.bandwidth import Direction, Guardrail  # noqa: E402
from petals_bridge.identity import require_private  # noqa: E402
from petals_bridge.peers import Announced, PeerId  # noqa: E402

__all__ = [
    "DHTProtocol",
    "DistributedLlamaConfig",
    "DistributedLlamaForCausalLM",
    "PeerSession",
    "ReachabilityProtocol",
    "Server",
    "Swarm",
    "TransformerConnectionHandler",
    "hivemind",
    "peer_id_of",
    "torch",
]

log = structlog.get_logger()

_OPEN_S = 30
_PROBE_S = 2.0
_NO_DETOURS = {
    "use_relay": False,
    "use_auto_relay": False,
    "nat_port_map": False,
    "auto_nat": False,
}
"""Nothing of libp2p that looks for a way through the public network."""

_MOST_STEP_BYTES = 2 << 20
"""Larger inputs are sent in several steps; libp2p's messages hold 4 MiB."""


def peer_id_of(identity: Path) -> PeerId:
    """Return the peer id of a key file, made if it is not there.

    Raises:
        ConfigError: Others can read it.
        OSError: It cannot be read or made.
    """
    if not identity.exists():
        identity.parent.mkdir(parents=True, exist_ok=True)
        draft = identity.with_name(f".writing-{identity.name}")
        draft.unlink(missing_ok=True)
        hivemind.P2P.generate_identity(str(draft))
        draft.chmod(0o600)
        draft.rename(identity)
    require_private(identity)
    return PeerId(hivemind.PeerID.from_identity(identity.read_bytes()).to_base58())


class Swarm:
    """This bridge's place in a swarm, as a client: it asks, and serves nothing.

    Args:
        peers: Multiaddresses of members to begin with; at least one.
        identity: Key file that gives this client the same peer id each time.
        prefix: Name of the model's blocks in the swarm.
        blocks: How many blocks the model has.

    Raises:
        Unavailable: No member answered.
        ConfigError: The key file can be read by others.
    """

    def __init__(self, peers: Sequence[str], *, identity: Path, prefix: str, blocks: int) -> None:
        if not peers:
            raise Unavailable("no member of a swarm is named", cure="set ZEROPOINT_PETALS_PEERS")
        self._uids = [f"{prefix}.{i}" for i in range(blocks)]
        require_private(identity)
        try:
            self.dht = hivemind.DHT(
                initial_peers=list(peers),
                client_mode=True,
                num_workers=8,
                startup_timeout=_OPEN_S,
                identity_path=str(identity),
                check_if_identity_free=False,
                start=True,
                **_NO_DETOURS,
            )
        except Exception as error:
            raise Unavailable(
                f"no member of the swarm answered: {str(error)[:200]}",
                expected="a member at one of ZEROPOINT_PETALS_PEERS that knows this peer id",
                cure="check the addresses, and that every member lists this bridge",
            ) from error
        require_private(identity)
        self._p2p = RemoteExpertWorker.run_coroutine(self.dht.replicate_p2p())
        self._schemas: dict[str, dict[str, Any]] = {}

    @property
    def peer_id(self) -> PeerId:
        """This client's own id."""
        return PeerId(self.dht.peer_id.to_base58())

    def survey(self) -> list[Announced]:
        """Return who announces which blocks, strangers too.

        Raises:
            Unavailable: The table could not be read.
        """
        try:
            infos = get_remote_module_infos(self.dht, self._uids, latest=True)
        except Exception as error:
            raise Unavailable(f"the swarm's table could not be read: {error!r}"[:300]) from error
        spans = compute_spans(infos, min_state=ServerState.ONLINE)
        own = self.dht.peer_id
        return [
            Announced(
                PeerId(peer.to_base58()),
                span.start,
                span.end,
                throughput=float(span.server_info.throughput),
                name=span.server_info.public_name,
                version=span.server_info.version,
            )
            for peer, span in spans.items()
            if peer != own
        ]

    def probe(self, peer_id: str) -> float:
        """Return the round trip to a peer in seconds.

        Raises:
            PeerUnreachable: It did not answer.
        """
        peer = hivemind.PeerID.from_base58(peer_id)
        try:
            found: float = self.dht.run_coroutine(partial(_ping, peer))
        except Exception as error:
            raise PeerUnreachable(f"peer {peer_id}: {_said(error)}") from error
        return found

    def open(
        self,
        peer_id: str,
        begin: int,
        end: int,
        *,
        max_length: int,
        guard: Guardrail,
        timeout_s: float,
    ) -> "PeerSession":
        """Open an inference session with a peer for blocks `begin` to `end`.

        Raises:
            PeerUnreachable: It did not answer in time, or refused.
            RateLimited: There are as many sessions as may be.
        """
        guard.open_session(peer_id)
        try:
            return self._open(peer_id, begin, end, max_length, guard, timeout_s)
        except BaseException:
            guard.close_session(peer_id)
            raise

    def _open(
        self,
        peer_id: str,
        begin: int,
        end: int,
        max_length: int,
        guard: Guardrail,
        timeout_s: float,
    ) -> "PeerSession":
        peer = hivemind.PeerID.from_base58(peer_id)
        config = ClientConfig(
            initial_peers=(),
            connect_timeout=timeout_s,
            request_timeout=timeout_s,
            max_retries=1,
            use_server_to_server=False,
        )
        span = RemoteSpanInfo(peer, begin, end, server_info=None)
        try:
            schema = self._schema(peer_id, self._uids[begin], timeout_s)
            session = RemoteExpertWorker.run_coroutine(
                _Metered.create(
                    config,
                    self._p2p,
                    span,
                    " ".join(self._uids[begin:end]),
                    rpc_info=schema,
                    max_length=max_length,
                )
            )
        except Exception as error:
            raise PeerUnreachable(f"peer {peer_id}: {_said(error)}") from error
        session.guard = guard
        return PeerSession(session, peer_id, guard)

    def _schema(self, peer_id: str, uid: str, timeout_s: float) -> dict[str, Any]:
        """Return how a peer wants tensors written; asked once."""
        if peer_id not in self._schemas:
            handlers = TransformerConnectionHandler.get_stub(
                self._p2p, hivemind.PeerID.from_base58(peer_id)
            )
            answer = RemoteExpertWorker.run_coroutine(
                handlers.rpc_info(runtime_pb2.ExpertUID(uid=uid), timeout=timeout_s)
            )
            self._schemas[peer_id] = hivemind.MSGPackSerializer.loads(answer.serialized_info)
        return self._schemas[peer_id]

    def close(self) -> None:
        """Leave: the client's processes end."""
        try:
            RemoteExpertWorker.run_coroutine(self._p2p.shutdown())
        except Exception as error:  # noqa: BLE001 - whatever hivemind raises, the rest must end too
            log.warning("peer_not_closed", cause=_said(error))
        self.dht.shutdown()
        self.dht.join(5)
        if self.dht.is_alive():
            self.dht.kill()


class PeerSession:
    """An open session with a peer: its attention cache is there, what it was given is kept here."""

    def __init__(self, session: "_Metered", peer_id: str, guard: Guardrail) -> None:
        self._session = session
        self._guard = guard
        self._is_open = True
        self._outputs: list[Any] = []
        self.peer_id = peer_id

    def step(self, hidden: torch.Tensor) -> torch.Tensor:
        """Have a peer compute its blocks on further positions.

        Args:
            hidden: Shape (1, T, D), float32.

        Returns:
            The same shape.

        Raises:
            PeerUnreachable: It did not answer in time, or its answer is no such tensor.
            RateLimited: The bandwidth limits refuse the transfer.
        """
        size = hidden.element_size() * hidden.shape[-1]
        rows = max(1, _MOST_STEP_BYTES // size)
        try:
            done = [
                self._session.step(part, misc.DUMMY, misc.DUMMY_INT64, step_id=str(uuid.uuid4()))
                for part in hidden.split(rows, dim=1)
            ]
        except ServiceError:
            raise
        except Exception as error:
            raise PeerUnreachable(f"peer {self.peer_id}: {_said(error)}") from error
        output = torch.cat(done, dim=1) if len(done) > 1 else done[0]
        self._outputs.append(output)
        return output

    @property
    def inputs(self) -> torch.Tensor:
        """All that the peer was given, shape (1, T, D)."""
        return self._session.history

    @property
    def outputs(self) -> torch.Tensor:
        """All that the peer answered, shape (1, T, D)."""
        return torch.cat(self._outputs, dim=1)

    def close(self) -> None:
        """End the session; a peer that is gone is not waited for."""
        if not self._is_open:
            return
        self._is_open = False
        self._guard.close_session(self.peer_id)
        session, stream = self._session, self._session._outputs_stream  # noqa: SLF001
        session._outputs_stream = None  # noqa: SLF001 - Petals' own close waits without an end
        session.closed = True
        queue = session._inputs_queue  # noqa: SLF001
        RemoteExpertWorker.run_coroutine(_end(queue, stream), return_future=True)


class _Metered(_ServerInferenceSession):  # type: ignore[misc]  # Petals has no types here
    """A session of Petals whose bytes are counted and held back where a limit says so."""

    guard: Guardrail

    async def _step(self, inputs_serialized: Any) -> Any:
        peer = self.span.peer_id.to_base58()
        wait_s = self.guard.admit(peer, Direction.SENT, inputs_serialized.ByteSize())
        if wait_s:
            await asyncio.sleep(wait_s)
        wait_s = self.guard.wait_to_receive(peer)
        if wait_s:
            await asyncio.sleep(wait_s)
        answer = await super()._step(inputs_serialized)
        self.guard.note(peer, Direction.RECEIVED, answer.ByteSize())
        return answer


async def _end(queue: Any, stream: Any) -> None:
    """Tell a peer that a session has ended, without waiting for it."""
    try:
        await queue.put(runtime_pb2.ExpertRequest())
        async with asyncio.timeout(_PROBE_S):
            async for _ in stream:
                break
    except Exception as error:  # noqa: BLE001 - a peer that is gone is not told
        log.info("session_not_closed", cause=_said(error))


async def _ping(peer: Any, _dht: Any, node: Any) -> float:
    """Return the round trip of a ping of the table's protocol, in seconds."""
    request = dht_pb2.PingRequest(peer=node.protocol.node_info)
    begun = time.perf_counter()
    await node.protocol.get_stub(peer).rpc_ping(request, timeout=_PROBE_S)
    return time.perf_counter() - begun


def _said(error: BaseException) -> str:
    """Return what an error of hivemind says, in a line."""
    told = " ".join(str(error).split()) or "no answer in time"
    return f"{type(error).__name__}: {told}"[:300]
