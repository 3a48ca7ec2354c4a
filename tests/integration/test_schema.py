"""The OpenAPI document against the real service: no answer that it does not state."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
)

from serve import app
from serve.local import LocalService

pytestmark = pytest.mark.ray

NOT_FUZZED = (
    "/api/events/training",
    "/api/events/proposals",
    "/api/datasets/{name}/fetch",
    "/api/verify",
)
"""Streams do not end by themselves, a fetch would load CIFAR-10, a pack is no JSON; each has tests
of its own."""

EXCLUDED = [
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
]
"""Our own tests are stricter (401 on every route), or they do not fit: a config can be valid by its
schema and over a limit of the service."""

SCHEMA = schemathesis.openapi.from_dict(app.openapi()).exclude(path=list(NOT_FUZZED))


@SCHEMA.parametrize()
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_no_answer_is_undocumented(case: schemathesis.Case[Any], service: LocalService) -> None:
    headers = {"authorization": f"Bearer {service.token()}"}
    answer = case.call(base_url=service.url, headers=headers, timeout=60)
    case.validate_response(answer, excluded_checks=EXCLUDED)


def test_no_run_is_left_behind_by_the_fuzzing(service: LocalService) -> None:
    headers = {"authorization": f"Bearer {service.token()}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as http:
        for status in ("queued", "running"):
            for run in http.get("/api/training/runs", params={"status": status}).json()["runs"]:
                assert http.post(f"/api/training/runs/{run['run_id']}/cancel").status_code == 200
        assert http.get("/api/healthz").status_code == 200
