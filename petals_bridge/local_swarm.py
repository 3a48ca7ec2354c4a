"""A private swarm on loopback, of servers that are processes of their own: for demo, tests, trials.

The members list each other, and whoever else is named, with lists that a key of their own signs.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evidence.errors import ServiceError, Unavailable
from evidence.keyring import Keyring
from evidence.signing import sign_statement
from petals_bridge import allowlist_file, random_model
from petals_bridge.allowlist import Allowlist, as_statement
from petals_bridge.hosting import STATE
from petals_bridge.models import BUILT_IN, ModelEntry, ModelRegistry, materialise

ROOT = Path(__file__).resolve().parent.parent
_START_S = 90.0
_POLL_S = 0.05

_IDS = """
import sys
from pathlib import Path
from petals_bridge.client import peer_id_of
print(*(peer_id_of(Path(path)) for path in sys.argv[1:]))
"""


@dataclass
class Member:
    """One server of the swarm."""

    name: str
    folder: Path
    peer_id: str
    port: int
    begin: int
    end: int
    program: str = "petals_bridge.hosting"
    """Module that is run; a test may have one that misbehaves."""
    announce: str | None = None
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        """Its multiaddress."""
        return f"{self.announce or f'/ip4/127.0.0.1/tcp/{self.port}'}/p2p/{self.peer_id}"

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Kill it with all its processes, as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@dataclass
class LocalSwarm:
    """Members that list each other.

    Args:
        python: Interpreter of the Petals environment.
        folder: Where everything of the swarm is.
        entry: The model.
        search_path: Folders that are searched for the model's files.
    """

    python: Path
    folder: Path
    entry: ModelEntry
    search_path: Sequence[Path] = ()
    members: dict[str, Member] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    """Peer ids that every member lists too: those of a bridge."""
    counter: int = 0
    """Of the lists."""

    def add(self, spans: Mapping[str, tuple[int, int]]) -> None:
        """Make the identities of members that serve these spans of blocks; none is started.

        Raises:
            Unavailable: The environment of Petals does not run.
        """
        Keyring.open_or_create(_made(self.folder / "keys"))
        paths = [_made(self.folder / name) / "server.id" for name in spans]
        ids = run(self.python, _IDS, *map(str, paths)).split()
        for (name, (begin, end)), peer_id, port in zip(
            spans.items(), ids, free_ports(len(ids)), strict=True
        ):
            self.members[name] = Member(name, self.folder / name, peer_id, port, begin, end)

    @property
    def files(self) -> Path:
        """The folder of the model's files, each checked."""
        into, made = self.folder / "model" / "files", self.folder / "model" / "random"
        source = made if made.exists() else None
        return materialise(self.entry, into, source=source, search_path=self.search_path)

    def list_all(self, *, without: Sequence[str] = (), at: Sequence[str] = ()) -> None:
        """Write the list of every member, or of those named, without some peers."""
        self.counter += 1
        key = Keyring.open_or_create(self.folder / "keys").key
        ids = {one.peer_id: name for name, one in self.members.items()}
        ids |= dict.fromkeys(self.others, "bridge")
        entries = [
            {"id": peer, "label": label, "rights": ["serve", "use"]}
            for peer, label in ids.items()
            if peer not in without
        ]
        listing = Allowlist.model_validate({"counter": self.counter, "peer": entries})
        for name in at or self.members:
            envelope = sign_statement(key, as_statement(listing))
            allowlist_file.write(self.members[name].folder, listing, envelope)

    def start(self, *names: str) -> None:
        """Start members that do not run, one after another, and wait until they serve.

        Raises:
            Unavailable: One did not come up; the end of its log is in the message.
        """
        for one in [self.members[name] for name in names if not self.members[name].is_alive]:
            self._spawn(one)
            deadline = time.monotonic() + _START_S
            while not (one.folder / STATE).exists():
                if not one.is_alive or time.monotonic() > deadline:
                    words = (one.folder / "log").read_text(errors="replace")[-2000:]
                    raise Unavailable(f"member {one.name} did not come up: {words}")
                time.sleep(_POLL_S)

    def _spawn(self, one: Member) -> None:
        (one.folder / STATE).unlink(missing_ok=True)
        spec: dict[str, Any] = {
            "folder": str(one.folder),
            "keys": str(self.folder / "keys"),
            "model": str(self.files),
            "dht_prefix": self.entry.dht_prefix,
            "begin": one.begin,
            "end": one.end,
            "peers": [other.address for other in self.members.values() if other.is_alive],
            "listen": f"/ip4/127.0.0.1/tcp/{one.port}",
            "announce": one.announce,
            "identity": str(one.folder / "server.id"),
            "own_ids": [one.peer_id],
            "name": one.name,
            "context": self.entry.context,
            "cache_tokens": self.entry.context * 32,
        }
        (one.folder / "spec.json").write_text(json.dumps(spec))
        with (one.folder / "log").open("wb") as log:
            one.process = subprocess.Popen(
                [self.python, "-W", "ignore", "-m", one.program, one.folder / "spec.json"],
                cwd=ROOT,
                env=environment(TMPDIR=str(_made(one.folder / "t"))),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def close(self) -> int:
        """Kill every member and remove the folder; return how many of them still run."""
        for one in self.members.values():
            if one.is_alive:
                one.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        return sum(one.is_alive for one in self.members.values())


def choose_model(folder: Path, search_path: Sequence[Path]) -> ModelEntry:
    """Return stories260k where its files are on the search path, else a small random Llama.

    Args:
        folder: The swarm's; a random model and its entry go to `model/random` in it.
        search_path: Folders that are searched.
    """
    entry = ModelRegistry([BUILT_IN]).require("stories260k")
    try:
        materialise(entry, folder / "model" / "files", source=None, search_path=search_path)
    except ServiceError:
        return random_model.make(folder / "model" / "random")
    return entry


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a process of a swarm: nothing of Ray in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}


def run(python: Path, code: str, *arguments: str, timeout_s: float = 90.0) -> str:
    """Run a program in the Petals environment and return its last line.

    Raises:
        Unavailable: It failed; the end of what it said is in the message.
    """
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code, *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0 or not done.stdout.strip():
        raise Unavailable(f"a program of the swarm failed: {done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


def free_ports(count: int) -> list[int]:
    """Return TCP ports of loopback that are free now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
