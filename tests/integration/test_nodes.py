"""Two nodes without a shared file system, one of which offers a device that it does not have."""

from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def second_node(service: LocalService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Join a node with its own empty folders; yields its home."""
    home = tmp_path_factory.mktemp("node")
    environ = base_environment(home, home / "cache")
    settings = from_environment(environ)
    pid = local.add_node(service, settings, cpus=1, resources={"METAL": 1}, environ=environ)
    with Client(service.url, token=service.token()) as client:
        while len(client.nodes()["nodes"]) < 2:
            pass
    yield home
    node = psutil.Process(pid)
    for process in [*node.children(recursive=True), node]:
        process.kill()


def test_a_node_that_offers_metal_gets_the_run_and_the_run_fails_without_falling_back(
    second_node: Path, client: Client
) -> None:
    assert second_node.is_dir()
    request = {"recipe": "mnist_mlp", "overrides": {"device": "METAL", "steps": 9}}
    run_id = client.submit(request)["run_id"]
    for _ in client.follow(run_id):
        pass
    view = client.run(run_id)
    assert view["status"] == "failed"
    assert view["error"]["code"] == "device_missing"
    assert view["placement"]["device"] == "METAL"
    offered = {
        node["node_id"]
        for node in client.nodes()["nodes"]
        if "METAL" in [device["device"] for device in node["devices"]]
    }
    assert {view["placement"]["node"]} == offered
    assert view["counts"]["metrics"] == 0


def test_a_run_on_another_node_leaves_its_evidence_with_the_manager(
    service: LocalService, second_node: Path, client: Client
) -> None:
    request = {"recipe": "mnist_mlp", "overrides": {"steps": 400, "device": "CPU"}}
    runs = [client.submit(request)["run_id"] for _ in range(3)]
    for run_id in runs:
        for _ in client.follow(run_id):
            pass
    views = [client.run(run_id) for run_id in runs]
    assert [view["error"] for view in views] == [None, None, None]
    assert len({view["placement"]["node"] for view in views}) == 2
    assert not (second_node / "evidence").exists()
    for run_id in runs:
        with open_pack(Path(service.evidence_root, "training", run_id)) as pack:
            assert verify(pack).exit_code == 0
    digests = {
        str(client.checkpoints(run_id)["checkpoints"][-1]["model_digest"]) for run_id in runs
    }
    assert len(digests) == 1
