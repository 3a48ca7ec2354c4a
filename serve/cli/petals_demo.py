"""`zpctl petals demo`, which is `make petals-demo`: a real swarm, killed before your eyes.

    swarm      two real servers on loopback, each with all blocks of a model
    service    a service of its own with its bridge, which joins them
    answer     a text through a server, equal to the one computed here alone, token for token
    kill       kill -9 of the server in use, in mid-text: the other goes on
    kill       kill -9 of the last server, in mid-text: blocks from the local cache go on
    clean-up   no process left

Exits with 0 only if every text was equal and each recovery took at most 3 s.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from cluster.settings import Settings
from evidence.errors import ServiceError
from petals_bridge import versions
from petals_bridge.local_swarm import LocalSwarm, choose_model, free_ports
from serve import local
from serve.cli import connection, demo_home, live, options, phases, render, signals
from serve.cli.demo_home import DemoHome
from serve.cli.options import ExitCode
from serve.cli.render import Mark
from serve.cli.terminal import Terminal
from serve.client import Client

LENGTH = 200
"""Tokens of each text."""

KILL_AT = 60
"""Token behind which a server is killed."""

GOAL_S = 3.0
"""Longest silence, from the step that failed to the first answer after it, in seconds."""

_READY_S = 30.0


@dataclass
class Text:
    """One generation as it was seen."""

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    hops: list[dict[str, Any]] = field(default_factory=list)
    """The chain in use at the end."""
    silences_s: list[float] = field(default_factory=list)
    """Of each fallback."""
    took_s: float = 0.0


def first_difference(expected: Sequence[int], found: Sequence[int]) -> int | None:
    """Return the position of the first token that differs, or None where all are equal."""
    for position, (one, other) in enumerate(zip(expected, found, strict=False)):
        if one != other:
            return position
    return None if len(expected) == len(found) else min(len(expected), len(found))


def demo(context: typer.Context) -> int:
    """Kill two real servers in mid-text and show that the text goes on, token for token.

    Needs no service and disturbs none. Exits with 1 if a text differs or a recovery takes too long.
    """
    terminal = options.of(context).terminal
    settings = connection.settings()
    python = settings.petals_python
    versions.require(python)
    failures: list[str] = []
    with signals.stopping_once(), demo_home.held(settings) as own:
        folder = Path(tempfile.mkdtemp(prefix="zps-"))
        swarm = LocalSwarm(
            python, folder, choose_model(folder, settings.search_path), settings.search_path
        )
        try:
            failures += _show(terminal, own, swarm)
        finally:
            failures += _clean_up(terminal, own, swarm)
    for failure in failures:
        terminal.complain(failure)
    return ExitCode.FAILED if failures else ExitCode.GOOD


def _show(terminal: Terminal, own: DemoHome, swarm: LocalSwarm) -> list[str]:
    blocks = swarm.entry.blocks
    with phases.phase(terminal, "swarm", "making two peers") as this:
        swarm.add({"a": (0, blocks), "b": (0, blocks)})
        this.done = f"{swarm.entry.name}, {blocks} blocks, two peers"
    with phases.phase(terminal, "service", "starting Ray and Serve") as this:
        service = local.start(_with_swarm(own.settings, swarm))
        this.done = service.url
    with Client(service.url, token=service.token()) as client:
        with phases.phase(terminal, "join", "starting the servers") as this:
            swarm.others += client.petals.status()["identity"].values()
            swarm.list_all()
            swarm.start("a", "b")
            entries = [
                {"id": one.peer_id, "label": name, "rights": ["serve"]}
                for name, one in swarm.members.items()
            ]
            client.petals.set_allowlist(client.petals.allowlist()["counter"], entries)
            client.petals.join(swarm.entry.name)
            _wait_for(client, peers=len(swarm.members))
            client.petals.warm(swarm.entry.name)
            this.done = "joined as a client; blocks in the cache"
        return _kill_both(terminal, client, swarm)


def _with_swarm(settings: Settings, swarm: LocalSwarm) -> Settings:
    made = swarm.folder / "model" / "random"
    return settings.model_copy(
        update={
            "canary": 0,
            "petals_peers": ",".join(one.address for one in swarm.members.values()),
            "petals_models": made if made.exists() else settings.petals_models,
            "petals_listen": f"/ip4/127.0.0.1/tcp/{free_ports(1)[0]}",
        }
    )


def _wait_for(client: Client, *, peers: int) -> None:
    deadline = time.monotonic() + _READY_S
    while client.petals.status()["swarm"]["announced_peers"] < peers:
        if time.monotonic() > deadline:
            return
        time.sleep(0.2)


def _kill_both(terminal: Terminal, client: Client, swarm: LocalSwarm) -> list[str]:
    frame = live.frame_of(terminal)
    expected = _read(client, prefer="local")
    failures: list[str] = []

    def hold(label: str, found: Text, *, recovers: bool) -> None:
        differs = first_difference(expected.tokens, found.tokens)
        slow = [one for one in found.silences_s if one > GOAL_S]
        wrong = []
        if differs is not None:
            wrong.append(f"{label}: the text differs from token {differs} on")
        if recovers and not found.silences_s:
            wrong.append(f"{label}: nothing fell back")
        wrong += [f"{label}: {one:.2f} s without an answer, the goal is {GOAL_S} s" for one in slow]
        told = f"{len(found.tokens)} tokens, {'equal' if differs is None else 'NOT EQUAL'}"
        told += "".join(f", silent for {one:.2f} s" for one in found.silences_s)
        told += f", {_through(found, swarm)}, {len(found.tokens) / found.took_s:.0f} tokens/s"
        mark = Mark.FAILED if wrong else Mark.DONE
        terminal.progress(render.phase(frame, mark, label, told))
        failures.extend(wrong)

    hold("answer", _read(client), recovers=False)
    for label in ("kill -9", "kill -9"):
        hold(label, _read(client, at=KILL_AT, act=lambda used: _kill(swarm, used)), recovers=True)
    terminal.result(expected.text)
    return failures


def _kill(swarm: LocalSwarm, used: str | None) -> None:
    for one in swarm.members.values():
        if one.peer_id == used:
            one.kill()


def _through(found: Text, swarm: LocalSwarm) -> str:
    names = {one.peer_id: f"server {name}" for name, one in swarm.members.items()}
    return " and ".join(names.get(hop["peer_id"], "the local cache") for hop in found.hops)


def _read(
    client: Client,
    *,
    prefer: str = "swarm",
    at: int | None = None,
    act: Callable[[str | None], None] = lambda _: None,
) -> Text:
    """Return a text; behind token `at`, `act` is told which peer is in use.

    Raises:
        ServiceError: It ended with an error.
    """
    seen, begun = Text(), time.monotonic()
    for event in client.petals.generate(max_tokens=LENGTH, prefer=prefer):
        if event.kind == "token":
            seen.tokens.append(event.data["token"])
            if len(seen.tokens) == at:
                act(seen.hops[0]["peer_id"])
        elif event.kind == "route":
            seen.hops = event.data["hops"]
        elif event.kind == "petals.fallback":
            seen.silences_s.append(event.data["silence_s"])
        elif event.kind == "error":
            raise ServiceError(event.data["detail"])
        elif event.kind == "end":
            seen.text = event.data["text"]
    seen.took_s = time.monotonic() - begun
    return seen


def _clean_up(terminal: Terminal, own: DemoHome, swarm: LocalSwarm) -> list[str]:
    left = own.stop() + swarm.close()
    frame = live.frame_of(terminal)
    if left:
        terminal.progress(render.phase(frame, Mark.FAILED, "clean-up", f"{left} processes left"))
        return [f"clean-up: {left} processes are left"]
    terminal.progress(render.phase(frame, Mark.DONE, "clean-up", "no process left"))
    return []
