"""The whole application before a real manager, without Ray: every route's good and bad answers."""

import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi.routing import APIRoute

from cluster.manager import Manager
from evidence import canonical, digest
from serve import app
from serve.routes import docs
from tests.cluster import small
from tests.cluster.here import Here, until
from tests.serve.inside import against
from trainers.recipes import names

RUNS = "/api/training/runs"


async def submitted(client: httpx.AsyncClient, **overrides: Any) -> str:
    answer = await client.post(RUNS, json=small.request(**overrides))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


async def succeeded(client: httpx.AsyncClient, manager: Manager) -> str:
    run_id = await submitted(client)
    await until(manager, run_id, "succeeded")
    return run_id


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(RUNS, "GET, POST"), (f"{RUNS}/{small.RUN_ID}/cancel", "POST"), ("/api/nodes", "GET")],
)
def test_another_method_is_told_the_ones_that_the_path_takes(
    tmp_path: Path, path: str, allowed: str
) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await client.delete(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.json()["code"] == "method_not_allowed"

    against(tmp_path, test)


# -- submitting ----------------------------------------------------------------------------------


def test_a_recipe_with_overrides_makes_a_run(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        body = {"recipe": "mnist_mlp", "overrides": {"steps": 300}}
        view = (await client.post(RUNS, json=body)).json()
        assert (view["status"], view["recipe"], view["steps"]) == ("queued", "mnist_mlp", 300)
        assert (await client.get(view["links"]["self"])).json()["run_id"] == view["run_id"]

    against(tmp_path, test)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 422, "body"),
        (b"[]", 422, "body"),
        (b"{}", 422, "recipe"),
        (b'{"recipe": "mnist_mlp", "x": 1}', 422, "x"),
        (b'{"recipe": "none"}', 422, "recipe"),
        (b'{"recipe": "mnist_mlp", "overrides": 3}', 422, "overrides"),
        (b'{"recipe": "mnist_mlp", "overrides": {"stepz": 3}}', 422, "stepz"),
        (b'{"recipe": "mnist_mlp", "overrides": {"steps": "10"}}', 422, "steps"),
        (b'{"recipe": "mnist_mlp", "overrides": {"steps": 10001}}', 422, "steps"),
        (b'{"recipe": "mnist_mlp", "unknown": 1}', 422, None),
        (b'{"recipe": "mnist_mlp", "overrides": {"recipe": "other"}}', 422, "overrides.recipe"),
        (b'{"recipe": "mnist_mlp", "overrides": {"\\ud800": 1}}', 422, None),
        (b"\xff\xfe", 422, None),
    ],
)
def test_a_bad_request_names_what_is_wrong(
    tmp_path: Path, body: bytes, status: int, field: str | None
) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        headers = {"content-type": "application/json"}
        answer = await client.post(RUNS, content=body, headers=headers)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert field is None or answer.json()["field"] == field

    against(tmp_path, test)


def test_the_same_key_gives_the_same_run_and_another_config_a_conflict(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        key = {"idempotency-key": "k1"}
        first = await client.post(RUNS, json=small.request(), headers=key)
        second = await client.post(RUNS, json=small.request(), headers=key)
        other = await client.post(RUNS, json=small.request(steps=9), headers=key)
        assert first.json()["run_id"] == second.json()["run_id"]
        assert (other.status_code, other.json()["field"]) == (409, "Idempotency-Key")

    against(tmp_path, test)


@pytest.mark.parametrize("key", ["", "two words", "x" * 201])
def test_a_key_that_is_no_key_is_refused(tmp_path: Path, key: str) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await client.post(RUNS, json=small.request(), headers={"idempotency-key": key})
        assert answer.status_code == 422

    against(tmp_path, test)


# -- looking -------------------------------------------------------------------------------------


def test_runs_are_paged_and_the_last_page_names_no_next(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        for number in range(3):
            await submitted(client, name=f"run{number}")
        first = (await client.get(RUNS, params={"limit": 2})).json()
        last = (await client.get(RUNS, params={"limit": 2, "offset": 2})).json()
        assert [one["name"] for one in first["runs"] + last["runs"]] == ["run2", "run1", "run0"]
        assert (first["next_offset"], last["next_offset"], last["total"]) == (2, None, 3)

    against(tmp_path, test)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=-1", "status=odd", "limit=x"])
def test_a_page_that_cannot_be_is_refused(tmp_path: Path, query: str) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        assert (await client.get(f"{RUNS}?{query}")).status_code == 422

    against(tmp_path, test)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/metrics",
        "/logs",
        "/checkpoints",
        "/checkpoints/2",
        "/evidence",
        "/evidence?format=zip",
    ],
)
def test_an_unknown_run_is_not_found_anywhere(tmp_path: Path, path: str) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await client.get(f"{RUNS}/{'0' * 12}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    against(tmp_path, test)


@pytest.mark.parametrize("run_id", ["..%2F..%2Fetc", "ABCDEF012345", "0" * 13, "%00", "a.b"])
def test_an_id_that_is_no_id_reaches_no_file(tmp_path: Path, run_id: str) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        assert (await client.get(f"{RUNS}/{run_id}")).status_code in {404, 422}

    against(tmp_path, test)


def test_a_run_that_has_ended_gives_everything_that_it_has(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        run_id = await succeeded(client, manager)
        base = f"{RUNS}/{run_id}"
        metrics = (await client.get(f"{base}/metrics", params={"limit": 1000})).json()
        assert (metrics["total"], metrics["trend"]["decreasing"]) == (9, True)
        logs = (await client.get(f"{base}/logs")).json()
        assert [one["state"] for one in logs["logs"]] == ["queued", "running", "succeeded"]
        steps = [
            one["step"] for one in (await client.get(f"{base}/checkpoints")).json()["checkpoints"]
        ]
        assert steps == [2, 4, 6]
        assert (await client.get(f"{base}/evidence")).json()["sealed"] is True
        models = (await client.get("/api/models")).json()
        assert [model["run_id"] for model in models["models"]] == [run_id]
        assert (models["total"], models["next_offset"]) == (1, None)

    against(tmp_path, test, cluster=Here())


def test_a_checkpoint_is_downloaded_with_its_digest(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        run_id = await succeeded(client, manager)
        answer = await client.get(f"{RUNS}/{run_id}/checkpoints/4")
        assert answer.headers["etag"] == f'"{digest.of_bytes(answer.content)}"'
        assert answer.headers["content-disposition"] == (
            f'attachment; filename="{run_id}-step_000004-model.safetensors"'
        )

    against(tmp_path, test, cluster=Here())


def test_the_pack_is_downloaded_as_a_zip(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        run_id = await succeeded(client, manager)
        answer = await client.get(f"{RUNS}/{run_id}/evidence", params={"format": "zip"})
        assert answer.headers["content-disposition"] == f'attachment; filename="{run_id}.zip"'
        with zipfile.ZipFile(io.BytesIO(answer.content)) as pack:
            assert pack.testzip() is None
            assert "manifest.json" in pack.namelist()

    against(tmp_path, test, cluster=Here())


# -- acting --------------------------------------------------------------------------------------


def test_a_run_is_cancelled_once(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        run_id = await submitted(client)
        first = await client.post(f"{RUNS}/{run_id}/cancel")
        second = await client.post(f"{RUNS}/{run_id}/cancel")
        assert (first.json()["status"], second.status_code) == ("cancelled", 409)

    against(tmp_path, test)


def test_a_queued_run_is_not_resumed(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await client.post(f"{RUNS}/{await submitted(client)}/resume")
        assert (answer.status_code, answer.json()["found"]) == (409, "queued")

    against(tmp_path, test)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_age_s": "1"}, "max_age_s"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"keep_runs": True}, "keep_runs"),
        ({"keep_runs": -1}, "keep_runs"),
    ],
)
def test_a_retention_of_another_type_is_refused(
    tmp_path: Path, body: dict[str, Any], field: str
) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await client.post("/api/training/collect", json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, field)

    against(tmp_path, test)


def test_ages_beyond_all_time_collect_nothing(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        await succeeded(client, manager)
        answer = await client.post("/api/training/collect", json={"max_age_s": 1e308})
        assert (answer.status_code, answer.json()["deleted"]) == (200, [])

    against(tmp_path, test, cluster=Here())


def test_ended_runs_are_collected(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        run_id = await succeeded(client, manager)
        body = {"keep_runs": 0}
        told = (await client.post("/api/training/collect", json={**body, "dry_run": True})).json()
        done = (await client.post("/api/training/collect", json=body)).json()
        assert [one["run_id"] for one in told["deleted"] + done["deleted"]] == [run_id] * 2
        gone = await client.get(f"{RUNS}/{run_id}")
        assert "was deleted (keep_runs = 0)" in gone.json()["detail"]

    against(tmp_path, test, cluster=Here())


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([[[0] * 28] * 27], "found shape [1, 27, 28]"),
        ([[[256] * 28] * 28], "values from 256 to 256"),
        ([[[0.5] * 28] * 28], "values of type float64"),
        ([[[0] * 28] * 27 + [[0]]], "lists of unequal length"),
        (["x"], "found"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, images: list[Any], words: str) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        run_id = await submitted(client)
        answer = await client.post(f"{RUNS}/{run_id}/predict", json={"images": images})
        assert answer.status_code == 422, answer.text
        assert words in answer.json()["detail"]

    against(tmp_path, test)


def test_a_run_without_checkpoint_predicts_nothing(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        run_id = await submitted(client)
        body = {"images": [[[0] * 28] * 28]}
        answer = await client.post(f"{RUNS}/{run_id}/predict", json=body)
        assert (answer.status_code, answer.json()["field"]) == (404, "step")

    against(tmp_path, test)


# -- the catalogue -------------------------------------------------------------------------------


def test_recipes_are_listed_with_every_default(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        recipes = (await client.get("/api/recipes")).json()["recipes"]
        assert [one["name"] for one in recipes] == names()
        assert all(one["config"]["checkpoint_every"] for one in recipes)

    against(tmp_path, test)


def test_data_sets_are_listed_with_licence_and_digests(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        listed = (await client.get("/api/datasets")).json()["datasets"]
        assert {one["name"] for one in listed} == {"mnist", "cifar10", "tinyshakespeare"}
        assert {one["state"] for one in listed} == {"absent"}
        assert all(len(file["sha256"]) == 64 for one in listed for file in one["files"].values())

    against(tmp_path, test, cluster=Here())


def test_an_unknown_data_set_is_not_fetched(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        assert (await client.post("/api/datasets/imagenet/fetch")).status_code == 404

    against(tmp_path, test)


def test_nodes_are_listed_with_their_devices(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        nodes = (await client.get("/api/nodes")).json()["nodes"]
        devices = [one["device"] for node in nodes for one in node["devices"]]
        assert devices == ["CPU"]

    against(tmp_path, test, cluster=Here(cpus=1))


def test_health_tells_the_state_of_each_dependency_to_anyone(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        del client.headers["authorization"]
        paths = ("/healthz", "/api/healthz", "/readyz", "/api/readyz")
        answers = [await client.get(path) for path in paths]
        health = answers[0].json()
        assert (health["mocks"], health["status"]) == (False, "not_ready")
        assert {name: check["state"] for name, check in health["checks"].items()} == {
            "manager": "passed",
            "disk": "passed",
            "data": "passed",
            "devices": "pending",
            "scope": "passed",
            "honesty": "passed",
            "canary": "no data",
        }
        assert [answer.status_code for answer in answers] == [200, 200, 503, 503]

    against(tmp_path, test, cluster=Here(cpus=1))


# -- event streams -------------------------------------------------------------------------------


def test_a_stream_of_an_ended_run_gives_its_journal(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        run_id = await succeeded(client, manager)
        answer = await client.get("/api/events/training", params={"run_id": run_id})
        assert answer.headers["content-type"] == "text/event-stream"
        told = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        events = manager.registry.folder(run_id).paths.events.read_text().splitlines()
        assert told == events

    against(tmp_path, test, cluster=Here())


@pytest.mark.parametrize("where", ["header", "query", "both"])
def test_a_stream_goes_on_behind_the_number_that_the_client_has(tmp_path: Path, where: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "header": {"headers": {"last-event-id": "14"}},
        "query": {"params": {"after": 14}},
        "both": {"headers": {"last-event-id": "14"}, "params": {"after": 3}},
    }

    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        run_id = await succeeded(client, manager)
        chosen = options[where]
        params = {"run_id": run_id, **chosen.get("params", {})}
        headers = chosen.get("headers", {})
        answer = await client.get("/api/events/training", params=params, headers=headers)
        ids = [int(line[4:]) for line in answer.text.splitlines() if line.startswith("id: ")]
        assert ids == list(range(15, manager.view(run_id)["last_seq"] + 1))

    against(tmp_path, test, cluster=Here())


def test_a_client_that_has_seen_all_is_told_not_to_come_back(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        run_id = await succeeded(client, manager)
        params: dict[str, Any] = {"run_id": run_id, "after": manager.view(run_id)["last_seq"]}
        answer = await client.get("/api/events/training", params=params)
        assert (answer.status_code, answer.content) == (204, b"")

    against(tmp_path, test, cluster=Here())


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "9" * 21])
def test_a_number_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        run_id = await submitted(client)
        answer = await client.get(
            "/api/events/training", params={"run_id": run_id}, headers={"last-event-id": value}
        )
        assert answer.status_code == 422

    against(tmp_path, test)


def test_too_many_streams_are_refused(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        run_id = await submitted(client)
        answer = await client.get("/api/events/training", params={"run_id": run_id})
        assert (answer.status_code, answer.json()["field"]) == (429, "max_streams")

    against(tmp_path, test, max_streams=0)


def test_a_stream_of_an_unknown_run_is_not_found(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await client.get("/api/events/training", params={"run_id": "0" * 12})
        assert answer.status_code == 404

    against(tmp_path, test)


# -- errors at the edge --------------------------------------------------------------------------


def test_a_defect_in_a_route_shows_no_trace(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        del manager._clock  # a defect
        answer = await client.post(
            "/api/training/collect", json={"keep_runs": 1}, headers={"accept": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (500, "service_error")
        assert "_clock" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"

    against(tmp_path, test)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/nowhere", "not_found"),
        ("GET", f"{RUNS}/", "not_found"),
        ("DELETE", RUNS, "method_not_allowed"),
    ],
)
def test_the_frameworks_own_refusals_are_problems(
    tmp_path: Path, method: str, path: str, code: str
) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await client.request(method, path)
        assert answer.json()["code"] == code
        assert answer.json()["status"] == answer.status_code

    against(tmp_path, test)


# -- what the API says of itself -----------------------------------------------------------------


def test_openapi_is_valid() -> None:
    schemathesis.openapi.from_dict(app.openapi()).validate()


def test_openapi_lists_every_route_and_no_other() -> None:
    listed = {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert listed | set(app._UNDOCUMENTED) == app.routes()


def test_every_route_documents_the_refusals_of_the_guard() -> None:
    operations = [one for methods in app.openapi()["paths"].values() for one in methods.values()]
    assert all({"401", "403", "413", "415"} <= set(one["responses"]) for one in operations)


def test_every_route_says_what_it_does() -> None:
    routes = [route for router in app.ROUTERS for route in router.routes]
    silent = [
        route.path for route in routes if isinstance(route, APIRoute) and not route.description
    ]
    assert silent == []


def test_openapi_is_served_without_token(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        del client.headers["authorization"]
        answer = await client.get("/api/openapi.json")
        assert canonical.decode_object(answer.content)["openapi"].startswith("3.")

    against(tmp_path, test)


def test_the_documentation_shows_every_route_and_runs_no_script(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await client.get("/api/docs")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "<script" not in answer.text
        missing = [one for one in app.routes() if one.split()[1] not in answer.text]
        assert missing == []

    against(tmp_path, test)


def test_the_documentation_escapes_what_it_shows() -> None:
    operation = {"description": "<script>", "responses": {"200": {}}}
    document = {"info": {"title": "<b>", "version": "1"}, "paths": {"/<i>": {"get": operation}}}
    page = docs.render(document)
    assert not [tag for tag in ("<script>", "<b>", "<i>") if tag in page]
