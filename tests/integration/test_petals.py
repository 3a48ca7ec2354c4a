"""The bridge in a real service, in a real swarm of real servers, with everything that can go wrong.

One service and one swarm for all tests; a test that kills members starts them again.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from evidence import canonical
from evidence.errors import BlocksMissing, Conflict, NotFound, ServiceError
from petals_bridge import local_swarm
from petals_bridge.local_swarm import LocalSwarm
from serve import local
from serve.client import Client
from serve.local import LocalService
from serve.petals_client import Event
from tests import swarm as swarms
from tests.petals_bridge.proxy import Proxy
from tests.service import base_environment, stop_gently

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LENGTH = 120
GOAL_S = 3.0


@dataclass
class Here:
    """A service with a bridge, and the swarm that it joins."""

    service: LocalService
    client: Client
    swarm: LocalSwarm
    home: Path
    golden: list[int]
    """The first LENGTH tokens of the model's greedy answer to the empty prompt."""

    @property
    def model(self) -> str:
        return self.swarm.entry.name

    def ready(self, *names: str) -> None:
        """Start members, list all, join, and wait until the bridge would use just these."""
        for name, one in self.swarm.members.items():
            if name not in names and one.is_alive:
                one.kill()
        self.swarm.list_all()
        self.swarm.start(*names)
        self.list_members(*self.swarm.members)
        self.client.petals.join(self.model)
        wanted = {self.swarm.members[name].peer_id for name in names}
        wait_until(lambda: self.usable() == wanted, lambda: str(self.client.petals.peers()))

    def usable(self) -> set[str]:
        peers = self.client.petals.peers()["peers"]
        alive = {one.peer_id for one in self.swarm.members.values() if one.is_alive}
        return {
            one["peer_id"]
            for one in peers
            if one["listed"] and one["blocks"] and one["breaker"] == "closed"
        } & alive

    def list_members(self, *names: str) -> None:
        """Write the bridge's own list."""
        entries = [
            {"id": self.swarm.members[name].peer_id, "label": name, "rights": ["serve", "use"]}
            for name in names
        ]
        present = self.client.petals.allowlist()
        same = [{**one, "expires": None} for one in entries]
        if present["peers"] != same:
            self.client.petals.set_allowlist(present["counter"], entries)

    def generate(self, **request: Any) -> list[Event]:
        return list(self.client.petals.generate(**{"max_tokens": LENGTH, **request}))

    def journal(self) -> list[dict[str, Any]]:
        lines = (self.home / "audit.jsonl").read_bytes().splitlines()
        return [canonical.decode_object(line) for line in lines]


def wait_until(holds: Callable[[], bool], told: Callable[[], str], *, most_s: float = 60) -> None:
    deadline = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)


def tokens(events: list[Event]) -> list[int]:
    return [event.data["token"] for event in events if event.kind == "token"]


def of_kind(events: list[Event], kind: str) -> list[dict[str, Any]]:
    return [event.data for event in events if event.kind == kind]


def route(events: list[Event]) -> list[str | None]:
    return [hop["peer_id"] for hop in of_kind(events, "route")[-1]["hops"]]


@pytest.fixture(scope="module")
def here() -> Iterator[Here]:
    folder = Path(tempfile.mkdtemp(prefix="zps-"))
    home = folder / "home"
    spans = {"a": (0, 2), "b": (2, 0), "c": (0, 0), "liar": (0, 0), "far": (0, 0)}
    swarm = swarms.make(folder / "swarm", spans)
    swarm.members["liar"].program = "tests.petals_bridge.liar"
    environ = {
        **base_environment(home, folder / "cache"),
        "ZEROPOINT_PETALS_PEERS": ",".join(
            swarm.members[name].address for name in ("a", "b", "c", "liar")
        ),
        "ZEROPOINT_PETALS_MODELS": str(swarm.folder / "model" / "random"),
        "ZEROPOINT_DATA_PATH": os.environ.get("ZEROPOINT_DATA_PATH", ""),
        "ZEROPOINT_PETALS_SPOT_CHECK_RATE": "1.0",
        "ZEROPOINT_PETALS_STEP_TIMEOUT_S": "1.5",
        "ZEROPOINT_PETALS_LISTEN": f"/ip4/127.0.0.1/tcp/{local_swarm.free_ports(1)[0]}",
    }
    service = local.start(environ=environ, cpus=1)
    with Client(service.url, token=service.token()) as client:
        identity = client.petals.status()["identity"]
        swarm.others += identity.values()
        made = Here(service, client, swarm, home, [])
        try:
            made.ready("a", "b")
            client.petals.warm(made.model)
            made.golden += tokens(made.generate(prefer="local"))
            yield made
        finally:
            stop_gently(service)
            swarm.close()
            shutil.rmtree(folder, ignore_errors=True)


def test_two_servers_and_the_bridge_give_the_golden_text(here: Here) -> None:
    here.ready("a", "b")
    events = here.generate(max_tokens=256)
    members = here.swarm.members
    assert route(events) == [members["a"].peer_id, members["b"].peer_id]
    assert tokens(events)[:LENGTH] == here.golden
    assert events[0].data["generation_id"]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    text = "".join(one["text"] for one in of_kind(events, "token"))
    assert events[-1].data["text"] == text + events[-1].data["rest"]
    golden = [p for f in swarms.search_path() for p in f.rglob("stories260K-greedy-golden.txt")]
    for path in golden:
        assert events[-1].data["text"].startswith(path.read_text().rstrip("\n"))


def test_the_spot_checks_of_honest_peers_find_nothing(here: Here) -> None:
    here.ready("a", "b")
    before = here.client.petals.metrics()["metrics"]
    assert tokens(here.generate(max_tokens=20)) == here.golden[:20]
    after = here.client.petals.metrics()["metrics"]
    assert after["spot_checks"] >= before["spot_checks"] + 40
    assert after["lies_found"] == before["lies_found"]


def kill_when(here: Here, count: int, *names: str) -> tuple[list[Event], float]:
    """Generate, kill members once `count` tokens have come; return events and the time of it."""
    events, killed_at = [], 0.0
    for event in here.client.petals.generate(max_tokens=LENGTH):
        events.append(event)
        if event.kind == "token" and len(tokens(events)) == count:
            for name in names:
                here.swarm.members[name].kill()
            killed_at = time.monotonic()
    return events, killed_at


def test_kill_9_of_a_server_in_mid_generation_changes_no_token(here: Here) -> None:
    here.ready("a", "b", "c")
    first = here.generate(max_tokens=1)
    (used,) = [n for n, one in here.swarm.members.items() if one.peer_id == route(first)[0]]
    events, _ = kill_when(here, 40, used)
    (fallback,) = of_kind(events, "petals.fallback")
    assert tokens(events) == here.golden
    assert fallback["peer_id"] == here.swarm.members[used].peer_id
    assert fallback["local_blocks"] == 0
    assert fallback["cause"]
    assert fallback["silence_s"] <= GOAL_S


def test_with_every_server_killed_the_cache_goes_on_with_the_same_tokens(here: Here) -> None:
    here.ready("a", "b")
    events, _ = kill_when(here, 30, "a", "b")
    assert tokens(events) == here.golden
    assert route(events) == [None]
    last = of_kind(events, "petals.fallback")[-1]
    assert last["local_blocks"] == here.swarm.entry.blocks
    assert here.client.petals.status()["fallback"]["state"] == "local"
    wait_until(
        lambda: "petals.fallback" in [line["action"] for line in here.journal()],
        lambda: str(here.journal()[-5:]),
    )


def test_eight_at_once_each_equal_their_solo_run(here: Here) -> None:
    here.ready("a", "b")
    wanted = [
        {"prompt": "One day", "temperature": t / 10, "seed": t, "max_tokens": 24} for t in range(8)
    ]
    solo = [tokens(here.generate(**one)) for one in wanted]
    found: dict[int, list[int]] = {}

    def work(index: int) -> None:
        with Client(here.service.url, token=here.service.token()) as client:
            found[index] = tokens(list(client.petals.generate(**wanted[index])))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[index] for index in range(8)] == solo


def test_a_peer_that_is_revoked_is_not_used_from_the_next_step_on(here: Here) -> None:
    here.ready("a", "b")
    events = []
    for event in here.client.petals.generate(max_tokens=LENGTH):
        events.append(event)
        if event.kind == "token" and len(tokens(events)) == 30:
            here.client.petals.deny(here.swarm.members["b"].peer_id)
    fallback = of_kind(events, "petals.fallback")[0]
    assert fallback["peer_id"] == here.swarm.members["b"].peer_id
    assert fallback["code"] == "peer_not_allowed"
    assert tokens(events) == here.golden
    assert "petals.allowlist" in [line["action"] for line in here.journal()]


def test_a_server_that_revokes_us_cuts_the_stream_that_is_open(here: Here) -> None:
    here.ready("a", "b")
    ours = here.client.petals.status()["identity"]["client"]
    events = []
    for event in here.client.petals.generate(max_tokens=LENGTH):
        events.append(event)
        if event.kind == "token" and len(tokens(events)) == 30:
            here.swarm.list_all(without=[ours], at=["b"])
    (fallback,) = of_kind(events, "petals.fallback")
    assert fallback["peer_id"] == here.swarm.members["b"].peer_id
    assert tokens(events) == here.golden
    denied = (here.swarm.members["b"].folder / "denied.jsonl").read_text()
    assert ours in denied


def test_a_stale_change_of_the_list_is_refused(here: Here) -> None:
    counter = here.client.petals.allowlist()["counter"]
    with pytest.raises(Conflict) as caught:
        here.client.petals.set_allowlist(counter - 1, [])
    assert caught.value.field == "counter"
    assert here.client.petals.allowlist()["counter"] == counter


STRANGER = """
import asyncio, sys
from pathlib import Path
from petals_bridge.client import TransformerConnectionHandler, hivemind
from hivemind.p2p import P2P
from hivemind.proto import runtime_pb2

async def main():
    address, peer, uid, identity = sys.argv[1:5]
    p2p = await P2P.create(initial_peers=[address], identity_path=identity, use_relay=False,
                           use_auto_relay=False, nat_port_map=False, auto_nat=False)
    handlers = TransformerConnectionHandler.get_stub(p2p, hivemind.PeerID.from_base58(peer))
    try:
        await handlers.rpc_info(runtime_pb2.ExpertUID(uid=uid), timeout=10)
        print("answered")
    except Exception as error:
        print("refused", type(error).__name__, " ".join(str(error).split())[:200])

asyncio.run(main())
import os
sys.stdout.flush()
os._exit(0)
"""

JOIN = """
import os, sys
from pathlib import Path
from evidence.errors import Unavailable
from petals_bridge.client import Swarm, peer_id_of
path = Path(sys.argv[2])
peer_id_of(path)
try:
    Swarm([sys.argv[1]], identity=path, prefix=sys.argv[3], blocks=2)
    print("joined", flush=True)
except Unavailable as error:
    print("refused", error.detail[:200].replace(chr(10), " "), flush=True)
os._exit(0)
"""


def test_an_unlisted_client_is_refused_by_our_server(here: Here, tmp_path: Path) -> None:
    here.ready("a", "b")
    one, swarm = here.swarm.members["a"], here.swarm
    arguments = (one.address, one.peer_id, f"{swarm.entry.dht_prefix}.0", str(tmp_path / "s.id"))
    told = local_swarm.run(swarm.python, STRANGER, *arguments)
    assert told.startswith("refused")
    assert "not on the allowlist" in told


@pytest.mark.long
def test_an_unlisted_client_cannot_even_join_the_table(here: Here, tmp_path: Path) -> None:
    here.ready("a", "b")
    address, prefix = here.swarm.members["a"].address, here.swarm.entry.dht_prefix
    told = local_swarm.run(here.swarm.python, JOIN, address, str(tmp_path / "j.id"), prefix)
    assert told.startswith("refused"), told


def test_an_unlisted_server_is_never_routed_through_and_is_counted(here: Here) -> None:
    here.ready("a", "b", "c")
    here.list_members("a", "b", "liar")
    stranger = here.swarm.members["c"].peer_id
    wait_until(
        lambda: here.client.petals.status()["swarm"]["strangers"] >= 1,
        lambda: str(here.client.petals.status()),
    )
    events = here.generate(max_tokens=20)
    assert stranger not in route(events)
    assert tokens(events) == here.golden[:20]
    views = {one["peer_id"]: one for one in here.client.petals.peers()["peers"]}
    assert views[stranger]["listed"] is False
    assert views[stranger]["blocks"] is not None


def test_a_peer_that_lies_is_found_and_expelled(here: Here) -> None:
    here.ready("liar")
    peer = here.swarm.members["liar"].peer_id
    events = here.generate(max_tokens=20)
    assert tokens(events) == here.golden[:20]
    fallback = of_kind(events, "petals.fallback")[0]
    assert (fallback["code"], fallback["peer_id"]) == ("peer_lied", peer)
    assert peer not in [one["id"] for one in here.client.petals.allowlist()["peers"]]
    (expelled,) = [one for one in here.journal() if one["action"] == "petals.expelled"][-1:]
    assert expelled["peer_id"] == peer
    assert peer not in route(here.generate(max_tokens=5))


def actor(here: Here) -> psutil.Process:
    """Return the bridge's process; the fork in which its table lives has the same title."""
    found = [one for one in here.service.processes() if "ray::PetalsActor" in _title(one)]
    return min(found, key=psutil.Process.create_time)


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def test_a_bridge_that_is_killed_in_mid_generation_comes_back_and_goes_on(here: Here) -> None:
    here.ready("a", "b")
    before = here.client.petals.status()["identity"]
    process = actor(here)
    old = swarms.below(process.pid)
    events = []
    for event in here.client.petals.generate(max_tokens=LENGTH):
        events.append(event)
        if event.kind == "token" and len(tokens(events)) == 20:
            process.send_signal(signal.SIGKILL)
    assert tokens(events) == here.golden
    assert len(of_kind(events, "generation")) == 1
    assert here.client.petals.status()["identity"] == before
    assert any("p2pd" in name for name in map(_name, old)) or old
    _, alive = psutil.wait_procs(old, timeout=15)
    assert alive == []


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name()
    return ""


def test_leave_and_join_again_leave_no_process_and_a_damaged_block_is_mended(here: Here) -> None:
    here.ready("a", "b")
    assert here.generate(max_tokens=3, prefer="local")
    here.client.petals.leave()
    left = [one for one in swarms.below(actor(here).pid) if "p2pd" in _name(one)]
    assert left == []
    with pytest.raises(Conflict):
        here.generate()
    blocks = sorted((here.home.parent / "cache").rglob("blocks/*/001.safetensors"))
    data = bytearray(blocks[0].read_bytes())
    data[-1] ^= 1
    blocks[0].write_bytes(data)
    here.client.petals.join(here.model)
    assert tokens(here.generate(prefer="local")) == here.golden
    assert here.client.petals.metrics()["metrics"]["blocks_quarantined"] == 1
    assert here.client.petals.status()["mode"] == "client"


def test_nothing_but_loopback_is_ever_connected_to(here: Here) -> None:
    here.ready("a", "b")
    assert tokens(here.generate(max_tokens=5)) == here.golden[:5]
    members = [one.process for one in here.swarm.members.values() if one.is_alive]
    roots = [actor(here).pid, *(one.pid for one in members if one)]
    everyone = [one for root in roots for one in (psutil.Process(root), *swarms.below(root))]
    remote = {
        connection.raddr.ip
        for one in everyone
        for connection in _connections(one)
        if connection.raddr
    }
    assert remote <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert remote


def _connections(process: psutil.Process) -> list[Any]:
    with contextlib.suppress(psutil.Error):
        return list(process.net_connections("inet"))
    return []


def test_a_reader_goes_on_behind_its_last_event_and_gets_204_at_the_end(here: Here) -> None:
    here.ready("a", "b")
    events = here.generate(max_tokens=10)
    generation = events[0].data["generation_id"]
    again = list(here.client.petals.resume(generation, after=5))
    assert [event.seq for event in again] == [event.seq for event in events[5:]]
    headers = {
        "authorization": f"Bearer {here.service.token()}",
        "last-event-id": str(events[-1].seq),
    }
    url = f"{here.service.url}/api/petals/generate/{generation}"
    assert httpx.get(url, headers=headers).status_code == 204
    with pytest.raises(NotFound):
        list(here.client.petals.resume("0" * 16))


def test_the_unmodified_openai_client_works(here: Here) -> None:
    openai = pytest.importorskip("openai")  # here: it takes 100 MB
    here.ready("a", "b")
    client = openai.OpenAI(
        base_url=f"{here.service.url}/v1", api_key=here.service.token(), max_retries=0
    )
    expected = here.generate(max_tokens=20)[-1].data["text"]
    whole = client.completions.create(model=here.model, prompt="", max_tokens=20, temperature=0)
    assert whole.choices[0].text == expected
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 20
    pieces = client.completions.create(
        model=here.model, prompt="", max_tokens=20, temperature=0, stream=True
    )
    assert "".join(piece.choices[0].text for piece in pieces) == expected
    assert [one.id for one in client.models.list()] == [here.model]
    messages: Any = [{"role": "user", "content": "Hello"}]
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        client.chat.completions.create(model=here.model, messages=messages)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=here.model, prompt="", n=2)
    assert caught.value.param == "n"
    stranger = openai.OpenAI(base_url=f"{here.service.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.completions.create(model=here.model, prompt="")


def test_everything_dead_and_nothing_cached_says_what_is_missing(here: Here) -> None:
    here.ready("a")
    here.client.petals.leave()
    (folder,) = (here.home.parent / "cache" / "petals" / "blocks").iterdir()
    kept = here.home.parent / "kept"
    here.client.petals.join(here.model)
    folder.rename(kept)
    try:
        here.swarm.members["a"].kill()
        with pytest.raises(BlocksMissing) as caught:
            here.generate()
        assert caught.value.found is not None
        assert caught.value.found.startswith("without: 0, 1")
        assert caught.value.cure
    finally:
        kept.rename(folder)


@pytest.mark.long
def test_a_slow_peer_changes_no_token(here: Here) -> None:
    one = here.swarm.members["far"]  # not named in the settings: known by its announcement alone
    proxy = Proxy(one.port, delay_s=0.1)
    one.announce = f"/ip4/127.0.0.1/tcp/{proxy.port}"
    try:
        here.ready("a", "far")
        assert tokens(here.generate(max_tokens=15)) == here.golden[:15]
        views = {view["peer_id"]: view for view in here.client.petals.peers()["peers"]}
        assert views[one.peer_id]["bytes_sent"] > 0
        assert proxy.bytes_in > views[one.peer_id]["bytes_sent"]
    finally:
        one.announce = None
        one.kill()
        proxy.close()


def test_an_error_of_the_bridge_is_a_problem(here: Here) -> None:
    with pytest.raises(ServiceError) as caught:
        here.client.petals.join("nothing-like-this")
    assert caught.value.code == "not_found"
    with pytest.raises(ServiceError) as caught:
        here.client.petals.host(here.model, 3, 2)
    assert (caught.value.code, caught.value.field) == ("invalid_input", "blocks")
