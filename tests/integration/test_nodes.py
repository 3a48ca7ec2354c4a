"""Two nodes without a shared file system, one of which offers a device that it does not have."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cluster.settings import from_environment
from evidence.archive import open_pack
from evidence.verify import verify
from serve import local
from serve.client import Client
from serve.local import LocalService
from tests.service import base_environment

pytestmark = pytest.mark.ray


@dataclass
class SecondNode:
    """A node beside the service's own."""

    home: Path
    process: psutil.Process

    def kill(self) -> None:
        """Kill -9 all of it, once."""
        if self.process.is_running():
            for process in [*self.process.children(recursive=True), self.process]:
                process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def second_node(
    service: LocalService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecondNode]:
    """Join a node with its own empty folders; it has left the cluster when the tests are done."""
    home = tmp_path_factory.mktemp("node")
    environ = base_environment(home, home / "cache")
    settings = from_environment(environ)
    pid = local.add_node(service, settings, cpus=1, resources={"METAL": 1}, environ=environ)
    with Client(service.url, token=service.token()) as client:
        wait_for_nodes(client, 2)
        node = SecondNode(home, psutil.Process(pid))
        yield node
        node.kill()
        wait_for_nodes(client, 1)


def wait_for_nodes(client: Client, count: int) -> None:
    while len(client.nodes()["nodes"]) != count:
        time.sleep(0.1)


def nodes_with(client: Client, device: str) -> list[str]:
    return [
        node["node_id"]
        for node in client.nodes()["nodes"]
        if device in [one["device"] for one in node["devices"]]
    ]


def test_a_node_that_offers_metal_gets_the_run_and_the_run_fails_without_falling_back(
    second_node: SecondNode, client: Client
) -> None:
    assert second_node.process.is_running()
    request = {"recipe": "mnist_mlp", "overrides": {"device": "METAL", "steps": 9}}
    run_id = client.submit(request)["run_id"]
    for _ in client.follow(run_id):
        pass
    view = client.run(run_id)
    assert view["status"] == "failed"
    assert view["error"]["code"] == "device_missing"
    assert view["placement"]["device"] == "METAL"
    assert [view["placement"]["node"]] == nodes_with(client, "METAL")
    assert view["counts"]["metrics"] == 0


def test_a_run_on_another_node_leaves_its_evidence_with_the_manager(
    service: LocalService, second_node: SecondNode, client: Client
) -> None:
    request = {"recipe": "mnist_mlp", "overrides": {"steps": 400, "device": "CPU"}}
    runs = [client.submit(request)["run_id"] for _ in range(3)]
    for run_id in runs:
        for _ in client.follow(run_id):
            pass
    views = [client.run(run_id) for run_id in runs]
    assert [view["error"] for view in views] == [None, None, None]
    assert len({view["placement"]["node"] for view in views}) == 2
    assert not (second_node.home / "evidence").exists()
    for run_id in runs:
        with open_pack(Path(service.evidence_root, "training", run_id)) as pack:
            assert verify(pack).exit_code == 0
    digests = {
        str(client.checkpoints(run_id)["checkpoints"][-1]["model_digest"]) for run_id in runs
    }
    assert len(digests) == 1


def test_a_run_goes_on_elsewhere_when_its_node_is_killed(
    service: LocalService, second_node: SecondNode, client: Client
) -> None:
    overrides = {"steps": 900, "checkpoint_every": 100, "device": "CPU"}
    request = {"recipe": "mnist_mlp", "overrides": overrides}
    runs = [client.submit(request)["run_id"] for _ in range(3)]
    for run_id in runs:  # all are under way: three slots on two nodes
        for event in client.follow(run_id):
            if event.kind == "checkpoint":
                break
    (doomed,) = nodes_with(client, "METAL")
    (lost,) = [run for run in runs if client.run(run)["placement"]["node"] == doomed]
    second_node.kill()
    for run_id in runs:
        for _ in client.follow(run_id):
            pass
    assert [client.run(run_id)["status"] for run_id in runs] == ["succeeded"] * 3
    assert client.run(lost)["placement"]["node"] != doomed
    states = [event.data["state"] for event in client.follow(lost) if event.kind == "status"]
    assert states == ["queued", "running", "interrupted", "queued", "running", "succeeded"]
    digests = {
        str(client.checkpoints(run_id)["checkpoints"][-1]["model_digest"]) for run_id in runs
    }
    assert len(digests) == 1
    with open_pack(Path(service.evidence_root, "training", lost)) as pack:
        assert verify(pack).exit_code == 0
