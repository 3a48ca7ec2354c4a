"""Text through the bridge, against Petals' own client on the same swarm and against no swarm."""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from benchmarks import both_ways
from benchmarks.outcome import Goal, Row, compare
from cluster.settings import Settings
from petals_bridge import versions
from petals_bridge.local_swarm import LocalSwarm, choose_model, environment, free_ports, run
from serve import local
from serve.client import Client
from serve.local import LocalService
from trainers.provenance import REPOSITORY

LENGTH = 256
_MIB = 1 << 20
_ID = """
import sys
from pathlib import Path
from petals_bridge.client import peer_id_of
print(peer_id_of(Path(sys.argv[1])))
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often each side generates."""

    turns: int


FULL = Plan(7)
QUICK = Plan(2)


def measure(plan: Plan) -> list[Row]:
    """Return the rows.

    Raises:
        NotInstalled: The environment of Petals is not there.
    """
    with _swarm() as swarm, _service(swarm) as (service, client), _peer(swarm) as ask:
        plain_join_s = ask(None)
        begun = time.perf_counter()
        client.petals.join(swarm.entry.name)
        join_s = time.perf_counter() - begun
        ours, plain, bare, own = [], [], [], []
        for _ in range(plan.turns):
            ours.append(_rate(client))
            plain.append(ask("petals"))
            bare.append(ask("local"))
        client.petals.warm(swarm.entry.name)
        own += [_rate(client, prefer="local") for _ in range(plan.turns)]
        memory = _memory(service)
        silence_s = [_killed(client, swarm) for _ in range(1)]
    return [
        compare(
            "petals: two servers", "tokens/s", ours=ours, peer=("Petals' client", plain),
            goal=Goal("at least 0.95 of Petals' client", least=0.95),
            note="over HTTP, each token an event and a journal line",
        ),
        compare(
            "petals: no swarm", "tokens/s", ours=own, peer=("transformers, bare", bare),
            note="blocks from the cache, over HTTP",
        ),
        compare(
            "petals: join", "s", ours=[join_s], peer=("Petals' client", [plain_join_s]),
            note="ours: model checked and loaded, swarm joined; the peer's first token too",
        ),
        Row("petals: silence at kill -9, local fallback", "s", ours=statistics.median(silence_s),
            goal="at most 3 s", met=max(silence_s) <= 3.0),  # noqa: PLR2004 - the goal
        Row("petals: memory of the bridge", "MiB", ours=memory, note="PSS, its p2pd included"),
    ]  # fmt: skip


def _rate(client: Client, *, prefer: str = "swarm") -> float:
    begun, count = time.perf_counter(), 0
    for event in client.petals.generate(max_tokens=LENGTH, prefer=prefer):
        count += event.kind == "token"
    return count / (time.perf_counter() - begun)


def _killed(client: Client, swarm: LocalSwarm) -> float:
    """Kill every server in mid-text; return the longest silence, in seconds."""
    silences, count = [0.0], 0
    for event in client.petals.generate(max_tokens=LENGTH):
        count += event.kind == "token"
        if event.kind == "token" and count == LENGTH // 4:
            for member in swarm.members.values():
                member.kill()
        if event.kind == "petals.fallback":
            silences.append(float(event.data["silence_s"]))
    return max(silences)


def _memory(service: LocalService) -> float:
    """Return the PSS of the bridge's actor and all below it, in MiB."""
    (actor,) = [p for p in service.processes() if "ray::PetalsActor" in " ".join(p.cmdline())]
    everyone = [actor, *actor.children(recursive=True)]
    return sum(psutil.Process(p.pid).memory_full_info().pss for p in everyone) / _MIB


@contextmanager
def _swarm() -> Iterator[LocalSwarm]:
    python = Settings().petals_python
    versions.require(python)
    folder = Path(tempfile.mkdtemp(prefix="zps-"))
    search_path = both_ways.settings().search_path
    swarm = LocalSwarm(python, folder, choose_model(folder, search_path), search_path)
    half = swarm.entry.blocks // 2
    swarm.add({"a": (0, half), "b": (half, swarm.entry.blocks)})
    try:
        yield swarm
    finally:
        swarm.close()


@contextmanager
def _service(swarm: LocalSwarm) -> Iterator[tuple[LocalService, Client]]:
    made = swarm.folder / "model" / "random"
    settings = both_ways.settings().model_copy(
        update={
            "canary": 0,
            "petals_peers": ",".join(one.address for one in swarm.members.values()),
            "petals_models": made if made.exists() else None,
            "petals_listen": f"/ip4/127.0.0.1/tcp/{free_ports(1)[0]}",
        }
    )
    shutil.rmtree(settings.home / "petals", ignore_errors=True)
    service = local.start(settings)
    try:
        with Client(service.url, token=service.token()) as client:
            swarm.others += client.petals.status()["identity"].values()
            swarm.others.append(run(swarm.python, _ID, str(swarm.folder / "peer.id")))
            swarm.list_all()
            swarm.start("a", "b")
            entries = [
                {"id": one.peer_id, "label": name, "rights": ["serve"]}
                for name, one in swarm.members.items()
            ]
            client.petals.set_allowlist(client.petals.allowlist()["counter"], entries)
            yield service, client
    finally:
        local.stop(service)


@contextmanager
def _peer(swarm: LocalSwarm) -> Iterator[Callable[[str | None], float]]:
    """Run the peers; give what asks one: a word, or None for what it says first."""
    spec = {
        "model": str(swarm.files),
        "peers": [one.address for one in swarm.members.values()],
        "dht_prefix": swarm.entry.dht_prefix,
        "identity": str(swarm.folder / "peer.id"),
    }
    path = swarm.folder / "peer.json"
    path.write_text(json.dumps(spec))
    process = subprocess.Popen(
        [swarm.python, "-W", "ignore", "-m", "benchmarks.petals_peer", path],
        cwd=REPOSITORY,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield lambda word: _asked(process.stdin, process.stdout, word)
    finally:
        os.killpg(process.pid, 9)
        process.communicate()


def _asked(stdin: IO[str] | None, stdout: IO[str] | None, word: str | None) -> float:
    assert stdin is not None, "it is a pipe"
    assert stdout is not None, "it is a pipe"
    if word is not None:
        stdin.write(f"{word}\n")
        stdin.flush()
    return float(stdout.readline())
