"""What a bridge is made of and what it knows now; `bridge`, `watching`, `answering` act on it."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.clock import utc_now
from evidence.errors import Conflict
from petals_bridge.allowlist import Right
from petals_bridge.allowlist_file import AllowlistFile, keys_of
from petals_bridge.bandwidth import Allowance, Guardrail
from petals_bridge.block_cache import BlockCache, BlockId
from petals_bridge.client import Swarm, peer_id_of
from petals_bridge.generations import GenerationBook
from petals_bridge.health import Health
from petals_bridge.local_blocks import LocalModel
from petals_bridge.models import ModelEntry, ModelRegistry, materialise, require_architecture
from petals_bridge.routing import Chain, Prefer, Refuse, Request, Situation, decide
from petals_bridge.server_process import ServerProcess
from petals_bridge.tokenizing import TextTokenizer, of_entry
from petals_bridge.wanted import WantedFile

if TYPE_CHECKING:
    from petals_bridge.peers import Announced

Tell = Callable[[str, dict[str, Any]], None]
"""(action or kind, details)."""


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """What a bridge is given."""

    home: Path
    """Its folder: keys of its peers, allowlist, generations, what its server writes."""
    keys: Path
    """Folder with the public history of the service's keys."""
    cache: Path
    """Folder for models and blocks."""
    cache_bytes: int
    peers: tuple[str, ...]
    """Members of the swarm to begin with."""
    models: tuple[Path, ...]
    """Folders with model entries."""
    search_path: tuple[Path, ...]
    """Folders searched for model files by digest."""
    listen: str
    """Multiaddress that our server binds."""
    announce: str | None
    """Multiaddress that others reach it at."""
    name: str
    allowance: Allowance
    max_generations: int
    spot_check_rate: float
    step_timeout_s: float


@dataclass(frozen=True, slots=True)
class Tells:
    """Where a bridge tells what happened."""

    report: Tell
    """Writes an audit record into the service's journal."""
    show: Tell
    """Shows an event to whoever watches now."""
    changed: Callable[[str], None]
    """A generation has something new; its id."""
    expel: Callable[[str, str], int | None]
    """Takes a peer off the allowlist: (peer id, why); returns the new counter."""

    def both(self, action: str, details: dict[str, Any]) -> None:
        """Write a record and show it."""
        self.report(action, details)
        self.show(action, details)


@dataclass
class Loaded:
    """A model that is ready to generate."""

    entry: ModelEntry
    folder: Path
    model: LocalModel
    tokenizer: TextTokenizer


@dataclass
class Counters:
    """What was counted since the bridge started."""

    generations: int = 0
    tokens: int = 0
    fallbacks: int = 0
    spot_checks: int = 0
    lies_found: int = 0
    denied_calls: int = 0
    quarantined: int = 0
    strangers: set[str] = field(default_factory=set)


class Parts:
    """The parts of one bridge.

    Args:
        config: What it is given.
        tells: Where it tells what happened.

    Raises:
        ConfigError: A key file can be read by others.
        InvalidInput: A model's entry is wrong.
    """

    def __init__(self, config: BridgeConfig, tells: Tells) -> None:
        config.home.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.tells = tells
        self.client_id = peer_id_of(config.home / "client.id")
        self.server_id = peer_id_of(config.home / "server.id")
        self.registry = ModelRegistry(config.models)
        self.listed = AllowlistFile(config.home, keys=keys_of(config.keys), clock=utc_now)
        self.guard = Guardrail(config.allowance, seconds=time.monotonic)
        self.health = Health(seconds=time.monotonic, clock=utc_now)
        self.cache = BlockCache(
            config.cache, max_bytes=config.cache_bytes, quarantined=self._tell_quarantine
        )
        self.book = GenerationBook(config.home / "generations", clock=utc_now)
        self.wanted = WantedFile(config.home / "wanted.json")
        self.server = ServerProcess(config.home)
        self.counters = Counters()
        self.rng = np.random.default_rng()
        """Draws which steps are checked; seeded from the system, so that no peer knows."""
        self.turn = threading.RLock()
        """Held while the bridge loads, hosts, leaves, and takes generations in."""
        self.entering = threading.Lock()
        """Held while a swarm is opened, before `turn`."""
        self.loaded: Loaded | None = None
        self.swarm: Swarm | None = None
        self.announced: tuple[Announced, ...] = ()
        self.survey_error: str | None = None
        self.last_fallback: dict[str, Any] | None = None
        self._expelled: dict[str, int | None] = {}

    def load(self, model: str) -> Loaded:
        """Load a model; one that is loaded already is fine.

        Raises:
            NotFound, Forbidden: It is unknown, or not approved.
            Conflict: Another one is loaded.
            SourcesExhausted: Its files are not here.
        """
        with self.turn:
            entry = self.registry.require(model)
            if self.loaded is not None:
                self.require_loaded(model)
                return self.loaded
            folder = self.files_of(entry)
            require_architecture(entry, folder)
            local = LocalModel(entry, folder, self.cache)
            self.loaded = Loaded(entry, folder, local, of_entry(entry, folder))
            return self.loaded

    def require_loaded(self, model: str | None = None) -> Loaded:
        """Return the model that is loaded.

        Raises:
            Conflict: There is none, or another one than `model`.
        """
        if self.loaded is None:
            raise Conflict(
                "no model is loaded: the bridge has not joined", cure="zpctl petals join MODEL"
            )
        name = self.loaded.entry.name
        if model is not None and model != name:
            raise Conflict(
                f"model: {name} is loaded, found {model[:64]!r}",
                field="model",
                expected=name,
                found=model[:64],
                cure="zpctl petals leave",
            )
        return self.loaded

    def files_of(self, entry: ModelEntry) -> Path:
        """Return the folder with a model's files, each checked now.

        Raises:
            SourcesExhausted: One is not here.
            StorageFull: There is no space.
        """
        return materialise(
            entry,
            self.config.cache / "models",
            source=self.registry.folder_of(entry.name),
            search_path=self.config.search_path,
        )

    def serving(self) -> frozenset[str]:
        """Return the peers that may serve us now; our own server is one."""
        own = {self.server_id} if self.server.is_running else set()
        return frozenset({*self.listed.having(Right.SERVE), *own} - self.expelled())

    def expelled(self) -> frozenset[str]:
        """Return the peers that lied, until a later list than the one that expelled them."""
        current = self.listed.current
        counter = current.counter if current else 0
        return frozenset(peer for peer, at in self._expelled.items() if at is None or counter <= at)

    def expel(self, peer_id: str, why: str) -> None:
        """Stop using a peer at once, and take it off the list."""
        self.counters.lies_found += 1
        self._expelled[peer_id] = None
        self._expelled[peer_id] = self.tells.expel(peer_id, why)
        self.tells.show("petals.expelled", {"peer_id": peer_id, "why": why})

    def situation(self, cached: Iterable[int]) -> Situation:
        """Return what routing is to know."""
        announced = self.announced
        peers = {one.peer_id for one in announced}
        return Situation(
            announced=announced,
            listed=self.serving(),
            admitting=self.health.admitting(peers),
            with_room=frozenset(peer for peer in peers if self.guard.has_room(peer)),
            cached=frozenset(cached),
            step_s=self.health.step_times(),
        )

    def decide(self, given_up: frozenset[str], prefer: Prefer) -> Chain | Refuse:
        """Return how the loaded model is computed now.

        Raises:
            Conflict: None is loaded.
        """
        loaded = self.require_loaded()
        request = Request(loaded.entry.blocks, prefer, given_up)
        return decide(request, self.situation(loaded.model.cached()))

    def _tell_quarantine(self, block: BlockId, found: str) -> None:
        self.counters.quarantined += 1
        told = {"model": block.model, "block": block.index, "found": found}
        self.tells.both("petals.quarantined", told)
