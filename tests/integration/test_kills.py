"""Kill -9 of the trainer, the manager and the whole cluster: the same bits in the end."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evidence.archive import open_pack
from evidence.records import REPEATABLE
from evidence.verify import verify
from serve import local, ports
from serve.client import Client, Event
from serve.local import LocalService
from tests.cluster.small import fill
from tests.conftest import MakeService
from tests.evidence.disks import small_disk
from tests.service import COVERAGE, kill_worker, stop_gently, workers

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SPACING = 60
KILLS = int(os.environ.get("ZEROPOINT_TEST_KILLS", "20"))
MANAGER_KILLS = int(os.environ.get("ZEROPOINT_TEST_MANAGER_KILLS", "1"))
CLUSTER_KILLS = int(os.environ.get("ZEROPOINT_TEST_CLUSTER_KILLS", "1"))
STEPS = SPACING * KILLS
CHECKPOINT_EVERY = 100

RNG = np.random.default_rng(7)

REQUEST: dict[str, Any] = {
    "recipe": "mnist_mlp",
    "overrides": {
        "model": {"architecture": "mlp", "hidden": [16]},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "batch_size": 4096,  # so slow that a stream on a busy machine keeps up
        "steps": STEPS,
        "checkpoint_every": CHECKPOINT_EVERY,
        "max_restarts": 100,
    },
}

Result = tuple[list[tuple[str, str]], list[tuple[Any, ...]]]


def lasting_port() -> int:
    """Return a free port that the system gives to nobody meanwhile: below those for connections."""
    return next(port for port in range(21_000 + os.getpid() % 5_000, 32_000) if ports.is_free(port))


class Restartable:
    """A service of its own that comes back on the same port, with the same files."""

    def __init__(self, make_service: MakeService, home: Path, **variables: str | None) -> None:
        self._make = make_service
        self._home = home
        self._variables: dict[str, str | None] = {
            "ZEROPOINT_PORT": str(lasting_port()),
            **variables,
        }
        self.service = self._start()

    def _start(self) -> LocalService:
        return self._make(self._home, **self._variables)

    def kill(self) -> None:
        """Kill -9 the whole cluster; nothing of it is left."""
        local.kill(self.service)
        assert self.service.processes() == []
        assert local.find(self._home) is None

    def restart(self) -> None:
        """Start it anew on what the kill left."""
        self.service = self._start()


@pytest.fixture(scope="module")
def restartable(
    make_service: MakeService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Restartable]:
    """A service of its own whose evidence is on a disk of 64 MB, where one can be mounted.

    Its coverage is not measured: that would double the time of each of the many restarts.
    """
    folder = tmp_path_factory.mktemp("own")
    with ExitStack() as mounted:
        disk = folder
        with suppress(pytest.skip.Exception):
            disk = mounted.enter_context(small_disk(folder, size="64m"))
        variables = {"EVIDENCE_ROOT": str(disk / "evidence"), **dict.fromkeys(COVERAGE)}
        own = Restartable(make_service, folder / "home", **variables)
        yield own
        stop_gently(own.service)


@pytest.fixture
def service(restartable: Restartable) -> LocalService:
    """The service of this module as it runs now; the shared one is left alone."""
    return restartable.service


@pytest.fixture(scope="module")
def uninterrupted(restartable: Restartable) -> Result:
    """What the config comes to when nothing happens."""
    service = restartable.service
    with Client(service.url, token=service.token()) as client:
        run_id = client.submit(REQUEST)["run_id"]
        for _ in client.follow(run_id):
            pass
        return result_of(client, run_id)


def result_of(client: Client, run_id: str) -> Result:
    """Return the state digests of all checkpoints, and what all steps measured."""
    records = client.checkpoints(run_id)["checkpoints"]
    digests = [(r["model_digest"], r["optimizer_digest"]) for r in records]
    metrics: list[dict[str, Any]] = []
    while page := client.metrics(run_id, after=metrics[-1]["seq"] if metrics else 0)["metrics"]:
        metrics += page
    measured = [(m["step"], m["split"], *(m[name] for name in REPEATABLE)) for m in metrics]
    return digests, measured


def assert_pack_verifies(service: LocalService, run_id: str) -> None:
    with open_pack(Path(service.evidence_root, "training", run_id)) as pack:
        report = verify(pack)
    assert report.exit_code == 0, report


def steps_of(client: Client, run_id: str, after: int = 0) -> Iterator[int]:
    """Yield the step of each training metric of the stream."""
    for event in client.follow(run_id, after=after):
        if event.kind == "metric" and event.data["split"] == "train":
            yield event.data["step"]


def test_a_run_killed_many_times_ends_in_the_same_bits(
    service: LocalService, client: Client, uninterrupted: Result
) -> None:
    points = [SPACING * n + int(m) for n, m in enumerate(RNG.integers(10, 45, size=KILLS))]
    between = [point for point in points if point % CHECKPOINT_EVERY]
    assert len(between) >= KILLS * 3 // 4
    killed = []
    run_id = client.submit(REQUEST)["run_id"]
    for step in steps_of(client, run_id):
        if points and step >= points[0]:
            points.pop(0)
            killed.append(kill_worker(service, "TrainerActor"))
    assert client.run(run_id)["status"] == "succeeded"
    assert len(set(killed)) == KILLS
    assert result_of(client, run_id) == uninterrupted
    names = [record.get("name") for record in client.logs(run_id)["logs"]]
    assert names.count("resumed") == names.count("trainer_lost") == KILLS
    assert_pack_verifies(service, run_id)


@pytest.mark.parametrize(
    "point", [STEPS * (n + 1) // (MANAGER_KILLS + 1) for n in range(MANAGER_KILLS)]
)
def test_a_killed_manager_adopts_the_live_trainer(
    service: LocalService, client: Client, uninterrupted: Result, point: int
) -> None:
    run_id = client.submit(REQUEST)["run_id"]
    steps = []
    for step in steps_of(client, run_id):
        steps.append(step)
        if step == point:
            assert len(workers(service, "TrainerActor")) == 1
            kill_worker(service, "ManagerActor")
    assert steps == list(range(1, STEPS + 1))
    view = client.run(run_id)
    assert (view["status"], view["attempt"]) == ("succeeded", 1)
    assert result_of(client, run_id) == uninterrupted
    assert_pack_verifies(service, run_id)


def test_a_stream_survives_the_loss_of_the_cluster_and_the_run_resumes_to_the_same_bits(
    restartable: Restartable, uninterrupted: Result
) -> None:
    service = restartable.service
    with Client(service.url, token=service.token()) as client:
        run_id = client.submit(REQUEST)["run_id"]
        events: list[Event] = []
        for n in range(CLUSTER_KILLS):
            stream = client.follow(run_id, after=events[-1].seq or 0 if events else 0)
            target = STEPS * (n + 1) // (CLUSTER_KILLS + 1)
            while not events or events[-1].data.get("step", 0) < target:
                events.append(next(stream))
            restartable.kill()
            restartable.restart()
            events += list(stream)
            end = events.pop()
            assert (end.kind, end.data["state"]) == ("end", "interrupted")
            assert client.run(run_id)["status"] == "interrupted"
            client.resume(run_id)
        events += client.follow(run_id, after=events[-1].seq or 0)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert events[-1].data["state"] == "succeeded"
        assert result_of(client, run_id) == uninterrupted
    assert_pack_verifies(restartable.service, run_id)


def test_a_full_disk_interrupts_the_run_which_resumes_to_the_same_bits(
    restartable: Restartable, uninterrupted: Result
) -> None:
    service = restartable.service
    disk = Path(service.evidence_root).parent
    if not disk.is_mount():
        pytest.skip("a small disk cannot be mounted here; it needs root")
    with Client(service.url, token=service.token()) as client:
        run_id = client.submit(REQUEST)["run_id"]
        steps = steps_of(client, run_id)
        while next(steps) < STEPS // 2:
            pass
        filler = fill(disk)
        while workers(service, "TrainerActor"):  # it ends when the manager cannot write
            time.sleep(0.1)
        assert client.readiness()["status"] != "ok"
        filler.unlink()
        (*_, last) = client.follow(run_id)
        assert (last.kind, last.data["state"]) == ("end", "interrupted")
        assert client.run(run_id)["error"]["code"] == "storage_full"
        client.resume(run_id)
        (*_, last) = client.follow(run_id)
        assert last.data["state"] == "succeeded"
        assert result_of(client, run_id) == uninterrupted
    assert_pack_verifies(service, run_id)
