"""Event streams through Ray Serve: slow readers, lost replicas, many at once."""

import socket
import time
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from serve.client import Client
from serve.local import LocalService
from tests.conftest import STREAM_BYTES
from tests.service import kill_worker, workers

pytestmark = pytest.mark.ray

STALLED = 30


@pytest.fixture(scope="module")
def long_run(service: LocalService) -> str:
    """A run whose events are more than one stream may send."""
    overrides: dict[str, Any] = {"steps": 700, "model": {"architecture": "mlp", "hidden": [16]}}
    with Client(service.url, token=service.token()) as client:
        run_id: str = client.submit({"recipe": "mnist_mlp", "overrides": overrides})["run_id"]
        for _ in client.follow(run_id):
            pass
    return run_id


def stall(service: LocalService, run_id: str) -> socket.socket:
    """Ask for a stream and read nothing of it."""
    where = urlsplit(service.url)
    assert where.hostname is not None
    connection = socket.create_connection((where.hostname, where.port or 80))
    request = (
        f"GET /api/events/training?run_id={run_id} HTTP/1.1\r\nHost: {where.netloc}\r\n"
        f"Authorization: Bearer {service.token()}\r\n\r\n"
    )
    connection.sendall(request.encode())
    return connection


def resident(service: LocalService) -> int:
    """Return the bytes that the proxy and the stream replica hold."""
    held = [*workers(service, "ServeReplica:events"), *workers(service, "ProxyActor")]
    return sum(psutil.Process(p.pid).memory_info().rss for p in held)


def read_to_end(connection: socket.socket) -> bytes:
    connection.settimeout(30)
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        piece = connection.recv(1 << 16)
        if not piece:
            break
        data += piece
    return data


def test_readers_that_stop_reading_cost_bounded_memory_and_are_told_to_retry(
    service: LocalService, client: Client, long_run: str
) -> None:
    before = resident(service)
    connections = [stall(service, long_run) for _ in range(STALLED)]
    time.sleep(5)
    grown = resident(service) - before
    assert grown < STALLED * STREAM_BYTES * 4 + (64 << 20)
    assert client.health()["status"] == "ok"
    answer = read_to_end(connections[0])
    for connection in connections:
        connection.close()
    assert b"retry: 0" in answer
    assert len(answer) < 2 * STREAM_BYTES
    assert answer.count(b"\nid: ") < client.run(long_run)["last_seq"]


def test_a_stream_that_used_its_allowance_goes_on_without_loss(
    client: Client, long_run: str
) -> None:
    seqs = [event.seq for event in client.follow(long_run)]
    assert seqs == list(range(1, client.run(long_run)["last_seq"] + 1))


def test_a_stream_survives_a_killed_replica(service: LocalService, client: Client) -> None:
    request = {"recipe": "mnist_mlp", "overrides": {"steps": 600}}
    run_id = client.submit(request)["run_id"]
    seqs = []
    for event in client.follow(run_id):
        seqs.append(event.seq)
        if event.data.get("step") == 100:
            kill_worker(service, "ServeReplica:events")
    assert seqs == list(range(1, len(seqs) + 1))
    assert client.run(run_id)["status"] == "succeeded"
