"""Every error has one HTTP status, and no status is there for an error that is not."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from evidence import canonical
from evidence.errors import ConfigError, RateLimited, ServiceError, Unauthenticated, _descendants
from serve import guard, problems
from serve.problems import STATUS_OF
from serve.schemas import Problem

FRAMEWORK = set(problems._CODE_OF.values())
"""Codes of refusals by the framework, before any of our code runs."""

KINDS = _descendants(ServiceError)


def body(response: Response) -> dict[str, Any]:
    return canonical.decode_object(bytes(response.body))


def test_the_tree_is_whole() -> None:
    assert guard.UnsupportedMediaType in KINDS
    assert len(KINDS) > 20


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.code))
def test_every_code_has_a_status(kind: type[ServiceError]) -> None:
    assert 400 <= STATUS_OF[kind.code] < 600


def test_no_code_is_mapped_that_no_error_has() -> None:
    assert set(STATUS_OF) <= {kind.code for kind in KINDS} | FRAMEWORK


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.code))
def test_a_problem_is_what_the_schema_says(kind: type[ServiceError]) -> None:
    error = kind("what happened", field="a.b", expected="x", found="y", cure="do z")
    document = problems.of_error(error, instance="/api/x")
    assert Problem.model_validate(document).model_dump() == document


def test_members_without_value_are_left_out() -> None:
    document = problems.of_error(ConfigError("steps: wrong"), instance="/api/x")
    assert document == {
        "type": "urn:zeropoint:problem:config_error",
        "title": "Invalid configuration",
        "status": 422,
        "detail": "steps: wrong",
        "instance": "/api/x",
        "code": "config_error",
    }


def test_a_problem_says_what_it_is() -> None:
    response = problems.response(problems.of_error(ConfigError("wrong"), instance="/"))
    assert response.headers["content-type"] == "application/problem+json; charset=utf-8"
    assert body(response)["code"] == "config_error"


def test_a_missing_token_asks_for_one() -> None:
    response = problems.response(problems.of_error(Unauthenticated("no"), instance="/"))
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


def test_too_many_are_told_when_to_come_back() -> None:
    response = problems.response(problems.of_error(RateLimited("no"), instance="/"))
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")


def test_a_client_gets_back_the_error_that_was_raised() -> None:
    error = ConfigError("steps: wrong", field="steps", expected="1", found="0", cure="more")
    response = problems.response(problems.of_error(error, instance="/"))
    from serve.client import _require_success  # noqa: PLC0415 - only this test looks at both ends

    with pytest.raises(ConfigError) as caught:
        _require_success(httpx.Response(response.status_code, content=bytes(response.body)))
    told = caught.value
    assert (told.detail, told.field, told.expected, told.found, told.cure) == (
        "steps: wrong",
        "steps",
        "1",
        "0",
        "more",
    )


def test_a_defect_shows_nothing_of_itself() -> None:
    class Request:
        """What the answer looks at."""

        url = httpx.URL("http://127.0.0.1/api/x")

    answer = problems.answer_unknown_error(Request(), ValueError("secret"))  # type: ignore[arg-type]  # it has all that is looked at
    response = asyncio.run(answer)
    assert response.status_code == 500
    assert b"secret" not in bytes(response.body)
