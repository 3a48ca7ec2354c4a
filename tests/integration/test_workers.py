"""Runs of several workers through the service: the same bits wherever they sit and whoever dies."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.settings import from_environment
from evidence.archive import open_pack
from evidence.verify import verify
from serve import local
from serve.client import Client
from serve.local import LocalService
from tests.cluster.part import Digests, train_in_processes
from tests.service import base_environment, workers

pytestmark = [pytest.mark.ray, pytest.mark.slow]

REQUEST: dict[str, Any] = {
    "recipe": "mnist_mlp",
    "overrides": {
        "model": {"architecture": "mlp", "hidden": [16]},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "batch_size": 2048,
        "steps": 400,
        "checkpoint_every": 100,
        "workers": 2,
    },
}
WORKER = "RayTrainWorker"


@pytest.fixture(scope="module")
def uninterrupted(data_cache: Path) -> Digests:
    """What each of two plain processes comes to, in shared memory and without Ray."""
    first, second = train_in_processes(REQUEST, data_cache)
    assert first == second
    return first


def digests_of(client: Client, run_id: str) -> Digests:
    records = client.checkpoints(run_id)["checkpoints"]
    return [[r["model_digest"], r["optimizer_digest"], r["state_digest"]] for r in records]


def assert_pack_verifies(service: LocalService, run_id: str) -> None:
    with open_pack(Path(service.evidence_root, "training", run_id)) as pack:
        report = verify(pack)
    assert report.exit_code == 0, report


def until_checkpoint(client: Client, run_id: str, count: int = 1) -> None:
    """Return when so many checkpoints are there."""
    while client.run(run_id)["counts"]["checkpoints"] < count:
        assert client.run(run_id)["status"] in ("queued", "running", "interrupted")
        time.sleep(0.05)


def states(client: Client, run_id: str) -> list[str]:
    return [event.data["state"] for event in client.follow(run_id) if event.kind == "status"]


def test_a_group_whose_worker_is_killed_ends_in_the_same_bits(
    service: LocalService, client: Client, uninterrupted: Digests
) -> None:
    run_id = client.submit(REQUEST)["run_id"]
    until_checkpoint(client, run_id)
    killed = workers(service, WORKER)
    assert len(killed) == 2
    killed[-1].kill()
    assert states(client, run_id) == ["queued", "running", "succeeded"]
    names = [record.get("name") for record in client.logs(run_id)["logs"]]
    assert names.count("trainer_lost") == names.count("resumed") == 1
    assert digests_of(client, run_id) == uninterrupted
    assert_pack_verifies(service, run_id)


def test_a_cancelled_group_leaves_no_worker(service: LocalService, client: Client) -> None:
    run_id = client.submit(REQUEST)["run_id"]
    until_checkpoint(client, run_id)
    assert client.cancel(run_id)["status"] == "cancelled"
    while workers(service, WORKER):
        time.sleep(0.1)


def test_a_group_that_never_fits_says_so_and_holds_nobody_back(client: Client) -> None:
    request = {"recipe": "mnist_mlp", "overrides": {"workers": 16}}
    waiting = client.submit(request)["run_id"]
    small = client.submit({"recipe": "mnist_mlp", "overrides": {"steps": 3}})["run_id"]
    (*_, end) = client.follow(small)
    assert end.data["state"] == "succeeded"
    view = client.run(waiting)
    assert view["status"] == "queued"
    assert "16 workers reserve CPU:1 each" in view["pending_reason"]
    assert "room for 2 in all" in view["pending_reason"]
    client.cancel(waiting)


class Nodes:
    """Nodes with one slot each, which join the service and are lost."""

    def __init__(self, service: LocalService, client: Client, folder: Path) -> None:
        self._service = service
        self._client = client
        self._folder = folder
        self._process: psutil.Process | None = None

    def join(self, name: str) -> None:
        """Join a node with folders of its own, empty at the first time."""
        home = self._folder / name
        environ = base_environment(home, home / "cache")
        settings = from_environment(environ)
        pid = local.add_node(self._service, settings, cpus=1, resources={}, environ=environ)
        self._process = psutil.Process(pid)
        self._until_there_are(2)

    def lose(self) -> None:
        """Kill -9 all of the node that is there."""
        if self._process is not None:
            for process in [*self._process.children(recursive=True), self._process]:
                process.kill()
            self._process.wait()
            self._process = None
        self._until_there_are(1)

    def _until_there_are(self, count: int) -> None:
        while len(self._client.nodes()["nodes"]) != count:
            time.sleep(0.1)


@pytest.fixture
def nodes(service: LocalService, client: Client, tmp_path: Path) -> Iterator[Nodes]:
    """Nodes beside the service's own; none is left when the test is done."""
    joined = Nodes(service, client, tmp_path)
    yield joined
    joined.lose()


@pytest.mark.long
def test_a_group_on_two_nodes_waits_for_a_lost_one_and_ends_in_the_bits_of_one_node(
    client: Client, nodes: Nodes, data_cache: Path
) -> None:
    overrides = {**REQUEST["overrides"], "workers": 3, "batch_size": 192}
    request = {**REQUEST, "overrides": overrides}
    nodes.join("one")
    run_id = client.submit(request)["run_id"]
    until_checkpoint(client, run_id)
    assert len(set(client.run(run_id)["placement"]["nodes"])) == 2
    nodes.lose()
    while not client.run(run_id)["pending_reason"]:
        time.sleep(0.1)
    assert "room for 2 in all" in client.run(run_id)["pending_reason"]
    nodes.join("one")
    expected = ["queued", "running", "interrupted", "queued", "running", "succeeded"]
    assert states(client, run_id) == expected
    on_one_node, *others = train_in_processes(request, data_cache)
    assert others == [on_one_node] * 2
    assert digests_of(client, run_id) == on_one_node
