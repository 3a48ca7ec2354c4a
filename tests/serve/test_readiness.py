"""Readiness: each violation is listed, and what is not known is not called ready."""

import ast
import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from ray.exceptions import RayError

from cluster.audit import AuditJournal
from cluster.datasets import DatasetShelf
from cluster.settings import Settings
from evidence import digest
from evidence.clock import utc_now
from evidence.errors import Unavailable
from serve import app, readiness
from serve.context import Context
from serve.honesty.scan import SHIPPED, Finding, Scan
from serve.readiness import Readiness, Scope
from serve.routes import health as health_routes
from serve.schemas import Health
from tests.serve import inside
from trainers import devices, recipes
from trainers.provenance import REPOSITORY

GOOD, OTHER = "a" * 64, "b" * 64
PUBLISHED = {"mnist": [GOOD]}


def dataset(state: str, found: str | None, **more: Any) -> dict[str, Any]:
    files = {"images": {"bytes": 1, "sha256": GOOD, "found": found}}
    return {"name": "mnist", "state": state, "files": files, **more}


def probe(*, error: float = 1e-6, usable: bool = True) -> dict[str, Any]:
    details = {"device": "CPU", "seconds": 0.1, "largest_error": error, "process": {}}
    return {"device": "CPU", "usable": usable, "reason": None, "details": details}


def nodes(*devices: tuple[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
    listed = [{"device": "CPU", "state": state, "probe": report} for state, report in devices]
    return [{"node_id": "n1", "resources": {}, "devices": listed}]


def known(**changes: Any) -> dict[str, Any]:
    base = {
        "runs": {"queued": 0},
        "free_bytes": 10,
        "min_free_bytes": 5,
        "key_id": "k",
        "audit_seq": 1,
        "datasets": [dataset("absent", None)],
        "phase": "stage1",
        "canary": {"state": "passed", "detail": "a test"},
    }
    return {**base, **changes}


async def told(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


@dataclass(frozen=True)
class Question:
    """Answers as an actor's method does: `remote()` gives something to await."""

    value: Any

    def remote(self) -> Any:
        return told(self.value)


@dataclass(frozen=True)
class Answers:
    """What a manager would answer."""

    health: Any
    nodes: Any


def answers(*, health: Any = None, of_nodes: Any = None) -> Any:
    usable = nodes(("usable", probe()))
    return Answers(Question(health or known()), Question(of_nodes or usable))


def ready(**options: Any) -> Readiness:
    return Readiness(Settings(), "c" * 40, options.pop("routes", app.routes()), **options)


# -- disk ----------------------------------------------------------------------------------------


def test_enough_space_passes() -> None:
    assert readiness.check_disk(known(free_bytes=5))["state"] == "passed"


def test_too_little_space_fails() -> None:
    assert readiness.check_disk(known(free_bytes=4))["state"] == "failed"


# -- data ----------------------------------------------------------------------------------------


def test_published_data_passes() -> None:
    assert readiness.check_data([dataset("ready", GOOD)], PUBLISHED)["state"] == "passed"


@pytest.mark.parametrize("state", ["absent", "partial", "fetching"])
def test_data_that_is_not_here_yet_passes(state: str) -> None:
    assert readiness.check_data([dataset(state, None)], PUBLISHED)["state"] == "passed"


def test_an_unpublished_digest_is_a_violation() -> None:
    check = readiness.check_data([dataset("ready", OTHER)], PUBLISHED)
    assert check["state"] == "failed"
    assert check["violations"] == [
        f"mnist/images: SHA-256 {OTHER} is neither published nor approved"
    ]


def test_an_unknown_data_set_is_a_violation() -> None:
    assert readiness.check_data([dataset("ready", GOOD)], {})["state"] == "failed"


def test_an_approved_digest_passes() -> None:
    check = readiness.check_data([dataset("ready", OTHER)], PUBLISHED, approved={OTHER})
    assert check["state"] == "passed"


def test_data_marked_synthetic_passes() -> None:
    check = readiness.check_data([dataset("ready", OTHER, synthetic=True)], PUBLISHED)
    assert check["state"] == "passed"


def test_damaged_data_fails() -> None:
    check = readiness.check_data([dataset("damaged", None)], PUBLISHED)
    assert check["violations"] == ["mnist: damaged, fetch it again"]


def test_views_of_the_real_shelf_are_understood(tmp_path: Path) -> None:
    (tmp_path / "cache" / "datasets" / "mnist").mkdir(parents=True)
    wrong = tmp_path / "cache" / "datasets" / "mnist" / "train-labels-idx1-ubyte"
    wrong.write_bytes(b"not the labels")
    audit = AuditJournal(tmp_path / "audit.jsonl", clock=utc_now)
    shelf = DatasetShelf(Settings(home=tmp_path, cache=tmp_path / "cache"), audit)
    check = readiness.check_data(asyncio.run(shelf.views()), readiness.published_digests())
    audit.close()
    found = digest.of_file(wrong)
    assert check["violations"] == [
        "mnist: damaged, fetch it again",
        f"mnist/{wrong.name}: SHA-256 {found} is neither published nor approved",
    ]


def test_the_catalog_publishes_digests_of_every_data_set() -> None:
    assert all(len(digests) >= 1 for digests in readiness.published_digests().values())


# -- devices -------------------------------------------------------------------------------------


def test_a_probed_device_passes() -> None:
    assert readiness.check_devices(nodes(("usable", probe())))["state"] == "passed"


@pytest.mark.parametrize(
    "report",
    [
        None,
        {"device": "CPU", "usable": True, "reason": None, "details": {}},
        probe(error=0.5),
        probe(error=float("nan")),
        probe(usable=False),
        {**probe(), "device": "CUDA"},
    ],
)
def test_a_usable_device_without_a_probe_behind_it_is_a_violation(
    report: dict[str, Any] | None,
) -> None:
    check = readiness.check_devices(nodes(("usable", report), ("usable", probe())))
    assert check["state"] == "failed"
    assert check["violations"] == ["n1/CPU: called usable, but its probe kernel did not run"]


@pytest.mark.slow
def test_the_report_of_a_real_probe_is_proof(tmp_path: Path) -> None:
    report = asdict(devices.probe("CPU", cache=tmp_path))
    assert readiness.is_proven({"device": "CPU", "state": "usable", "probe": report})


def test_devices_being_probed_are_pending() -> None:
    assert readiness.check_devices(nodes(("probing", None)))["state"] == "pending"


def test_a_usable_device_is_enough_while_another_is_probed() -> None:
    check = readiness.check_devices(nodes(("probing", None), ("usable", probe())))
    assert check["state"] == "passed"


def test_no_usable_device_fails_with_the_reason() -> None:
    report = {"device": "CPU", "usable": False, "reason": "no compiler", "details": {}}
    check = readiness.check_devices(nodes(("failed", report)))
    assert check["violations"] == ["no node has a usable device", "n1/CPU: no compiler"]


def test_a_cluster_without_nodes_fails() -> None:
    assert readiness.check_devices([])["state"] == "failed"


def test_the_probe_tolerance_is_that_of_the_probe() -> None:
    tree = ast.parse((REPOSITORY / "trainers" / "kernel_probe.py").read_text(encoding="utf-8"))
    values = {
        ast.unparse(node.targets[0]): ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
    }
    assert float(values["_TOLERANCE"]) == readiness.LARGEST_PROBE_ERROR


# -- scope ---------------------------------------------------------------------------------------


SCOPE = Scope(routes=frozenset({"GET /a"}), recipes=frozenset({"one"}))


def test_an_unlisted_route_is_a_violation() -> None:
    check = readiness.check_scope(SCOPE, routes={"GET /a", "POST /b"}, recipe_names=["one"])
    assert check["state"] == "failed"
    assert check["violations"] == ["route POST /b: offered, not listed"]


def test_an_unlisted_recipe_is_a_violation() -> None:
    check = readiness.check_scope(SCOPE, routes={"GET /a"}, recipe_names=["one", "two"])
    assert check["violations"] == ["recipe two: offered, not listed"]


def test_what_is_listed_and_not_offered_is_a_violation() -> None:
    check = readiness.check_scope(SCOPE, routes=set(), recipe_names=[])
    assert check["violations"] == [
        "route GET /a: listed, not offered",
        "recipe one: listed, not offered",
    ]


def test_the_service_offers_what_its_scope_lists() -> None:
    check = readiness.check_scope(
        readiness.read_scope(), routes=app.routes(), recipe_names=recipes.names()
    )
    assert check.get("violations") == []


# -- honesty -------------------------------------------------------------------------------------


def test_a_clean_scan_passes_and_says_what_it_read() -> None:
    check = readiness.check_honesty(Scan(13, 100, GOOD, 2, ()))
    assert check["state"] == "passed"
    assert (check["rules"], check["files"], check["sha256"]) == (13, 100, GOOD)


def test_a_finding_is_a_violation() -> None:
    finding = Finding("mock-flag", "serve/x.py", 3, "f", "mocks = False", "it is declared")
    check = readiness.check_honesty(Scan(13, 100, GOOD, 2, (finding,)))
    assert check["violations"] == ["serve/x.py:3: mock-flag: it is declared"]


# -- together ------------------------------------------------------------------------------------


def health_of(one: Readiness, manager: Any) -> Health:
    return asyncio.run(one.health(manager))


def test_everything_in_order_is_ok() -> None:
    health = health_of(ready(), answers())
    assert (health.status, health.mocks) == ("ok", False)
    assert {name: check["state"] for name, check in health.checks.items()} == dict.fromkeys(
        ("manager", "disk", "data", "devices", "scope", "honesty", "canary"), "passed"
    )
    assert (health.phase, health.commit) == ("stage1", "c" * 40)


@pytest.mark.parametrize(
    ("state", "status"),
    [("passed", "ok"), ("running", "ok"), ("no data", "ok"), ("failed", "not_ready")],
)
def test_only_a_failed_canary_is_in_the_way(state: str, status: str) -> None:
    canary = {"state": state, "detail": "a test"}
    health = health_of(ready(), answers(health=known(canary=canary)))
    assert (health.status, health.checks["canary"]["state"]) == (status, state)


def plant(root: Path) -> Path:
    for package in SHIPPED:
        (root / package).mkdir()
    (root / "serve" / "planted.py").write_text("mocks = False\n", encoding="utf-8")
    return root


def test_a_planted_finding_makes_mocks_true(tmp_path: Path) -> None:
    health = health_of(ready(root=plant(tmp_path)), answers())
    assert (health.status, health.mocks) == ("not_ready", True)
    assert "serve/planted.py:1: mock-flag" in health.checks["honesty"]["detail"]


def test_an_absent_manager_fails_and_the_rest_goes_on() -> None:
    away = Unavailable("the manager is being restarted")
    health = health_of(ready(), answers(health=away, of_nodes=away))
    states = {name: check["state"] for name, check in health.checks.items()}
    assert health.status == "not_ready"
    assert states == {
        "manager": "failed",
        "disk": "pending",
        "data": "pending",
        "devices": "failed",
        "scope": "passed",
        "honesty": "passed",
        "canary": "pending",
    }
    assert "being restarted" in health.checks["manager"]["detail"]


def test_an_error_of_the_cluster_fails_the_check() -> None:
    health = health_of(ready(), answers(health=RayError("the store is gone")))
    assert health.checks["manager"]["state"] == "failed"
    assert "the store is gone" in health.checks["manager"]["detail"]


class Silent:
    """Never answers in time."""

    def remote(self) -> Any:
        return asyncio.sleep(60)


def test_a_manager_that_says_nothing_fails() -> None:
    manager = Answers(Silent(), Question(nodes(("probing", None))))
    health = health_of(ready(answer_s=0.01), manager)
    assert health.checks["manager"]["detail"] == "no answer from the manager within 0.01 s"
    assert health.checks["devices"]["state"] == "pending"


def test_a_pending_check_is_not_ready() -> None:
    health = health_of(ready(), answers(of_nodes=nodes(("probing", None))))
    assert (health.status, health.mocks) == ("not_ready", False)


def test_the_files_are_read_once(tmp_path: Path) -> None:
    root = plant(tmp_path)

    async def ask_around_a_change() -> tuple[Health, Health]:
        one = ready(root=root)
        first, _ = await asyncio.gather(one.health(answers()), one.health(answers()))
        (root / "serve" / "planted.py").unlink()
        return first, await one.health(answers())

    first, second = asyncio.run(ask_around_a_change())
    assert first.checks["honesty"] == second.checks["honesty"]


def get(path: str, **options: Any) -> Response:
    application = FastAPI()
    application.include_router(health_routes.router)
    accounts = inside.reader(Path("/nonexistent"))
    application.state.context = Context(Settings(), answers(), ready(**options), accounts)

    async def ask() -> Response:
        transport = ASGITransport(application)
        async with AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_readyz_is_200_when_ready() -> None:
    assert get("/api/readyz").status_code == 200


def test_readyz_is_503_when_not_ready_and_healthz_stays_200() -> None:
    routes = app.routes() | {"GET /api/extra"}
    answer, alive = get("/readyz", routes=routes), get("/healthz", routes=routes)
    assert (answer.status_code, alive.status_code) == (503, 200)
    assert answer.json() == alive.json()
    assert answer.json()["checks"]["scope"]["violations"] == [
        "route GET /api/extra: offered, not listed"
    ]


def test_readyz_is_503_on_a_planted_finding(tmp_path: Path) -> None:
    answer = get("/api/readyz", root=plant(tmp_path))
    assert answer.status_code == 503
    assert answer.json()["mocks"] is True
