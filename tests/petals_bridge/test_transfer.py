"""Measured bytes against those that a proxy saw, for one large transfer."""

import subprocess
from pathlib import Path

import pytest

from petals_bridge import local_swarm, random_model
from petals_bridge.local_swarm import LocalSwarm
from tests import swarm as swarms
from tests.petals_bridge.proxy import Proxy

WIDTH = 1024
ROWS = 255

PROGRAM = """
import sys, time
from pathlib import Path
from petals_bridge.bandwidth import Allowance, Guardrail
from petals_bridge.client import Swarm, torch

address, identity, prefix, rows, width = sys.argv[1:6]
swarm = Swarm([address], identity=Path(identity), prefix=prefix, blocks=4)
guard = Guardrail(Allowance(), seconds=time.monotonic)
(peer,) = [one.peer_id for one in swarm.survey()]
session = swarm.open(peer, 0, 4, max_length=256, guard=guard, timeout_s=60)
print(flush=True)
sys.stdin.readline()
session.step(torch.randn(1, int(rows), int(width)))
counts = guard.counts()[peer]
print(counts["bytes_sent"], counts["bytes_received"], flush=True)
sys.stdin.readline()
import os
os._exit(0)
"""

OWN_ID = """
import sys
from pathlib import Path
from petals_bridge.client import peer_id_of
print(peer_id_of(Path(sys.argv[1])))
"""


@pytest.mark.long
def test_measured_bytes_are_within_a_tenth_of_those_at_a_proxy(tmp_path: Path) -> None:
    python = swarms.require_python()
    entry = random_model.make(tmp_path / "s" / "model" / "random", hidden=WIDTH)
    swarm = LocalSwarm(python, tmp_path / "s", entry)
    swarm.add({"m": (0, entry.blocks)})
    member = swarm.members["m"]
    proxy = Proxy(member.port)
    member.announce = f"/ip4/127.0.0.1/tcp/{proxy.port}"
    identity = tmp_path / "client.id"
    swarm.others.append(local_swarm.run(python, OWN_ID, str(identity)))
    swarm.list_all()
    try:
        swarm.start("m")
        arguments = [member.address, str(identity), entry.dht_prefix, str(ROWS), str(WIDTH)]
        client = subprocess.Popen(
            [python, "-W", "ignore", "-c", PROGRAM, *arguments],
            cwd=local_swarm.ROOT,
            env=local_swarm.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdout.readline()
        before = (proxy.bytes_in, proxy.bytes_out)
        client.stdin.write("go\n")
        client.stdin.flush()
        sent, received = map(int, client.stdout.readline().split())
        seen = (proxy.bytes_in - before[0], proxy.bytes_out - before[1])
        client.communicate("end\n", timeout=30)
    finally:
        swarm.close()
        proxy.close()
    assert min(sent, received) >= 1_000_000
    assert sent == pytest.approx(seen[0], rel=0.1)
    assert received == pytest.approx(seen[1], rel=0.1)
