"""The API of a real service, as a script or an attacker meets it."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from evidence.errors import Conflict
from serve import app
from serve.client import Client
from serve.local import LocalService

pytestmark = pytest.mark.ray

UNKNOWN = "0" * 12
LONG: dict[str, Any] = {
    "recipe": "mnist_mlp",
    "overrides": {"steps": 9000, "batch_size": 1024, "model": {"architecture": "mlp"}},
}


OWN_TYPES = {
    "/api/docs": "text/html; charset=utf-8",
    "/api/log/checkpoint": "text/plain; charset=utf-8",
    "/.well-known/zeropoint/keys": "application/jsonl",
}


@pytest.fixture
def http(service: LocalService) -> Iterator[httpx.Client]:
    """Plain HTTP with the token."""
    headers = {"authorization": f"Bearer {service.token()}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as one:
        yield one


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json; charset=utf-8"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["status"] == status
    assert "Traceback" not in answer.text
    return body


def test_every_get_route_has_the_stated_headers(http: httpx.Client) -> None:
    for route in sorted(app.routes()):
        method, path = route.split(" ")
        if method != "GET" or path.startswith("/api/events/"):
            continue
        url = path.replace("{run_id}", UNKNOWN).replace("{step}", "1")
        answer = http.get(url)
        assert answer.headers["cache-control"] == "no-store", route
        assert answer.headers["x-content-type-options"] == "nosniff", route
        assert answer.headers["content-disposition"].partition(";")[0] == "inline", route
        kinds = ("application/json; charset=utf-8", "application/problem+json; charset=utf-8")
        own = OWN_TYPES.get(path)
        assert answer.headers["content-type"] in kinds or answer.headers["content-type"] == own, (
            route
        )


def test_every_route_but_the_open_ones_needs_the_token(service: LocalService) -> None:
    open_paths = (
        "/healthz", "/readyz", "/api/health", "/api/openapi.json", "/api/docs",
        "/.well-known/zeropoint/keys",
    )  # fmt: skip
    with httpx.Client(base_url=service.url, timeout=30) as http:
        for route in sorted(app.routes()):
            method, path = route.split(" ")
            if path.removeprefix("/api") in open_paths or path in open_paths:
                assert http.request(method, path).status_code == 200, route
                continue
            answer = http.request(method, path.replace("{run_id}", UNKNOWN).replace("{step}", "1"))
            if route == "POST /api/session":  # where a token is handed in
                assert_problem(answer, 422, "invalid_input")
                continue
            assert_problem(answer, 401, "unauthenticated")


def test_a_wrong_token_is_refused_and_not_repeated(service: LocalService) -> None:
    answer = httpx.get(
        f"{service.url}/api/training/runs", headers={"authorization": "Bearer wrong-guess"}
    )
    assert_problem(answer, 401, "unauthenticated")
    assert "wrong-guess" not in answer.text


def test_a_rebound_host_name_reaches_nothing(http: httpx.Client) -> None:
    answer = http.get("/api/training/runs", headers={"host": "evil.example:8000"})
    assert_problem(answer, 403, "forbidden")


def test_a_page_of_another_origin_can_neither_read_nor_post(http: httpx.Client) -> None:
    headers = {"origin": "https://evil.example"}
    assert_problem(http.get("/api/training/runs", headers=headers), 403, "forbidden")
    answer = http.post("/api/training/runs", json={"recipe": "mnist_mlp"}, headers=headers)
    assert_problem(answer, 403, "forbidden")
    assert "access-control-allow-origin" not in answer.headers


def test_a_body_that_is_not_json_is_refused(http: httpx.Client) -> None:
    plain = http.post(
        "/api/training/runs",
        content='{"recipe": "mnist_mlp"}',
        headers={"content-type": "text/plain"},
    )
    assert_problem(plain, 415, "unsupported_media_type")
    broken = http.post(
        "/api/training/runs",
        content='{"recipe": ',
        headers={"content-type": "application/json"},
    )
    assert_problem(broken, 422, "invalid_input")


def test_a_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    answer = http.post("/api/training/runs", json={"recipe": "x" * (2 << 20)})
    assert_problem(answer, 413, "too_large")


def test_a_chunked_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    pieces = (b"x" * 65536 for _ in range(40))
    answer = http.post(
        "/api/training/runs", content=pieces, headers={"content-type": "application/json"}
    )
    assert_problem(answer, 413, "too_large")


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"steps": 20_000}, "steps"),
        ({"optimizer": {"lr": 11.0}}, "optimizer.lr"),
        ({"batch_size": 5_000}, "batch_size"),
        ({"max_wall_s": 10**6}, "max_wall_s"),
        ({"name": "../../etc"}, "name"),
        ({"unknown": 1}, "unknown"),
        ({"steps": "many"}, "steps"),
    ],
)
def test_a_bad_field_is_named(http: httpx.Client, overrides: dict[str, Any], field: str) -> None:
    answer = http.post("/api/training/runs", json={"recipe": "mnist_mlp", "overrides": overrides})
    assert assert_problem(answer, 422, "config_error")["field"] == field


@pytest.mark.parametrize(
    "path",
    [
        "/api/training/runs/..%2f..%2fetc%2fpasswd",
        "/api/training/runs/%00",
        "/api/training/runs/ABCDEF012345",
        "/api/training/runs/" + "a" * 400,
        "/api/events/training?run_id=../x",
    ],
)
def test_path_tricks_in_ids_are_refused(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code in {404, 422}


def test_an_unknown_run_is_not_found_everywhere(http: httpx.Client) -> None:
    base = f"/api/training/runs/{UNKNOWN}"
    for tail in ("", "/metrics", "/logs", "/checkpoints", "/checkpoints/1", "/evidence"):
        assert_problem(http.get(base + tail), 404, "not_found")
    for tail in ("/cancel", "/resume"):
        assert_problem(http.post(base + tail), 404, "not_found")
    assert_problem(http.get("/api/events/training", params={"run_id": UNKNOWN}), 404, "not_found")


def test_the_same_key_gives_the_same_run_and_another_config_conflicts(client: Client) -> None:
    request = {"recipe": "mnist_mlp", "overrides": {"steps": 9}}
    first = client.submit(request, idempotency_key="key-1")
    again = client.submit(
        {"recipe": "mnist_mlp", "overrides": {"steps": 9, "seed": 0}}, idempotency_key="key-1"
    )
    assert again["run_id"] == first["run_id"]
    with httpx.Client(base_url=client.url) as http:
        http.headers["authorization"] = client._http.headers["authorization"]
        answer = http.post(
            "/api/training/runs",
            json={"recipe": "mnist_mlp", "overrides": {"steps": 10}},
            headers={"idempotency-key": "key-1"},
        )
    assert_problem(answer, 409, "conflict")
    for _ in client.follow(first["run_id"]):
        pass


def test_two_runs_overlap_and_the_third_waits_with_a_reason(client: Client) -> None:
    runs = [client.submit(LONG)["run_id"] for _ in range(3)]
    for run_id in runs[:2]:
        next(event for event in client.follow(run_id) if event.kind == "metric")
    third = client.run(runs[2])
    assert third["status"] == "queued"
    assert "slots" in third["pending_reason"]
    assert [client.run(run_id)["status"] for run_id in runs[:2]] == ["running", "running"]
    client.cancel(runs[0])
    assert next(e for e in client.follow(runs[2]) if e.kind == "metric").data["step"] == 1
    for run_id in runs[1:]:
        client.cancel(run_id)


def test_a_cancelled_run_is_sealed_and_final(client: Client, http: httpx.Client) -> None:
    run_id = client.submit(LONG)["run_id"]
    for event in client.follow(run_id):
        if event.kind == "metric":
            break
    view = client.cancel(run_id)
    assert (view["status"], view["sealed"]) == ("cancelled", True)
    events = list(client.follow(run_id))
    assert events[-1].data["state"] == "cancelled"
    for move in ("cancel", "resume"):
        assert_problem(http.post(f"/api/training/runs/{run_id}/{move}"), 409, "conflict")


def test_a_loss_that_diverges_fails_the_run_with_its_step(client: Client) -> None:
    overrides = {"steps": 60, "optimizer": {"name": "sgd", "lr": 10.0}, "batch_size": 8}
    run_id = client.submit({"recipe": "mnist_mlp", "overrides": overrides})["run_id"]
    events = list(client.follow(run_id))
    view = client.run(run_id)
    assert view["status"] == "failed"
    assert view["error"]["code"] == "training_diverged"
    assert "step" in view["error"]["detail"]
    assert (events[-1].kind, events[-1].seq, events[-1].data["state"]) == ("end", None, "failed")
    told = len([e for e in events if e.kind == "metric" and e.data["split"] == "train"])
    where = view["error"]["detail"].partition(":")[0]  # every step before it was told
    assert where in (f"step {told + 1}", f"evaluation after step {told}")


@pytest.mark.parametrize("waits_s", [0.01, 0.02, 0.05])
def test_a_client_that_leaves_during_a_cancel_leaves_no_run_between_states(
    client: Client, service: LocalService, waits_s: float
) -> None:
    run_id = client.submit(LONG)["run_id"]
    events = client.follow(run_id)
    while next(events).kind != "metric":
        pass
    where = urlsplit(service.url)
    with socket.create_connection((where.hostname or "", where.port or 80)) as connection:
        request = (
            f"POST /api/training/runs/{run_id}/cancel HTTP/1.1\r\nHost: {where.netloc}\r\n"
            f"Authorization: Bearer {service.token()}\r\nContent-Length: 0\r\n\r\n"
        )
        connection.sendall(request.encode())
        time.sleep(waits_s)
    with contextlib.suppress(Conflict):  # unless the request was dropped before it was read
        client.cancel(run_id)
    assert list(events)[-1].data["state"] == "cancelled"
    assert client.run(run_id)["sealed"] is True


def test_a_metal_run_waits_where_no_node_offers_metal(client: Client) -> None:
    request = {"recipe": "mnist_mlp", "overrides": {"device": "METAL", "steps": 9}}
    run_id = client.submit(request)["run_id"]
    while not (reason := client.run(run_id)["pending_reason"]):
        pass
    assert "METAL" in reason
    client.cancel(run_id)


def test_predict_names_what_it_expected(client: Client, http: httpx.Client) -> None:
    run_id = client.runs(status="succeeded")["runs"][0]["run_id"]
    for images in ([[[0] * 27] * 28], [[[0.5] * 28] * 28], [[[256] * 28] * 28], ["x"], [[1, [2]]]):
        answer = http.post(f"/api/training/runs/{run_id}/predict", json={"images": images})
        assert assert_problem(answer, 422, "invalid_input")["field"] == "images"


def test_readiness_rests_on_checks_and_finds_no_mocks(http: httpx.Client) -> None:
    answer = http.get("/api/readyz")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["mocks"] is False
    assert body["phase"] == "stage1"
    assert {check["state"] for check in body["checks"].values()} == {"passed"}


def test_status_changes_of_all_runs_are_streamed(client: Client) -> None:
    run_id = client.submit({"recipe": "mnist_mlp", "overrides": {"steps": 9}})["run_id"]
    states = []
    for event in client.follow(None):
        assert event.kind == "status"
        if event.data["run_id"] == run_id:
            states.append(event.data["state"])
        if states and states[-1] == "succeeded":
            break
    assert states == ["queued", "running", "succeeded"]


def test_runs_page_newest_first(client: Client) -> None:
    total = client.runs(limit=1)["total"]
    listed: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = client.runs(offset=offset, limit=3)
        listed += [run["run_id"] for run in page["runs"]]
        offset = page["next_offset"]
    created = [client.run(run_id)["timings"]["created"] for run_id in listed]
    assert len(listed) == len(set(listed)) == total
    assert created == sorted(created, reverse=True)


def test_the_token_is_in_no_file_but_its_own(service: LocalService) -> None:
    token = service.token().encode()
    for path in Path(service.home).rglob("*"):
        if path.is_file() and path != Path(service.token_file):
            assert token not in path.read_bytes(), path
