import json

import pytest

from evidence.errors import Unavailable
from serve import app
from serve.probe import contract as contracts
from serve.probe.contract import JSON, PROBLEM, Contract

CONTRACT = Contract(app.openapi())
LOG = {"key": "log+1+a", "size": 3, "witnesses": []}
NOT_FOUND = {
    "type": "urn:zeropoint:problem:not_found", "title": "Not found", "status": 404,
    "detail": "no", "instance": "/api/log", "code": "not_found",
}  # fmt: skip


def breaches(
    body: bytes, *, route: str = "/api/log", status: int = 200, content_type: str = JSON
) -> list[str]:
    found = CONTRACT.breaches("GET", route, status=status, content_type=content_type, body=body)
    return [one.field for one in found]


def test_an_answer_as_stated_breaks_nothing() -> None:
    assert breaches(json.dumps(LOG).encode(), content_type=f"{JSON}; charset=utf-8") == []
    assert breaches(json.dumps(NOT_FOUND).encode(), status=404, content_type=PROBLEM) == []


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({**LOG, "size": "3"}, "/size"),
        ({**LOG, "more": 1}, ""),
        ({"key": "x", "size": 1}, ""),
        ({**LOG, "witnesses": [1]}, "/witnesses/0"),
    ],
)
def test_a_value_that_breaks_its_schema_is_found_where_it_stands(value: object, field: str) -> None:
    assert breaches(json.dumps(value).encode()) == [field]


def test_two_keys_of_one_name_are_no_json() -> None:
    assert breaches(b'{"key":"a","key":"b","size":1,"witnesses":[]}') == [""]


def test_an_undocumented_status_or_media_type_is_found() -> None:
    good = json.dumps(LOG).encode()
    assert breaches(good, status=302) == ["status"]
    assert breaches(good, content_type="text/html") == ["content-type"]
    assert set(breaches(good, status=404)) == {""}
    assert breaches(good, route="/api/bogus") == ["status"]


def test_a_204_has_no_body() -> None:
    route = "/api/events/training"
    assert breaches(b"", route=route, status=204, content_type="") == []
    assert breaches(b"x", route=route, status=204, content_type="") == [""]


def test_every_get_route_of_the_application_is_in_it() -> None:
    offered = {one.removeprefix("GET ") for one in app.routes() if one.startswith("GET ")}
    assert {route.replace(":path", "") for route in offered} == set(CONTRACT.get_routes)


@pytest.mark.slow
def test_the_contract_of_this_checkout_comes_from_a_process_of_its_own() -> None:
    assert Contract.of_this_checkout().document == CONTRACT.document


def test_a_process_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contracts, "_TIMEOUT_S", 0.001)
    with pytest.raises(Unavailable, match="the OpenAPI document of this checkout"):
        Contract.of_this_checkout()
