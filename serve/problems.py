"""Errors as HTTP: RFC 9457 problem JSON. The one place that maps a code to a status."""

from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from evidence.errors import ServiceError

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

STATUS_OF = {
    "service_error": 500,
    "invalid_input": 422,
    "config_error": 422,
    "unauthenticated": 401,
    "forbidden": 403,
    "policy_denied": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "approval_needed": 409,
    "stale_tree_head": 409,
    "forked_log": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "integrity_error": 500,
    "digest_mismatch": 500,
    "broken_chain": 500,
    "bad_signature": 500,
    "bad_proof": 500,
    "replay_mismatch": 500,
    "unavailable": 503,
    "device_missing": 503,
    "storage_full": 503,
    "sources_exhausted": 503,
    "policy_unreadable": 503,
    "limit_exceeded": 500,
    "trainer_lost": 500,
    "training_diverged": 500,
    "not_installed": 501,
}
"""HTTP status of every stable code."""

MEDIA_TYPE = "application/problem+json; charset=utf-8"


def problem(code: str, *, title: str, detail: str, instance: str, **more: Any) -> dict[str, Any]:
    """Return a problem document; `more` are members with a value, e.g. field, expected, found."""
    return {
        "type": f"urn:zeropoint:problem:{code}",
        "title": title,
        "status": STATUS_OF[code],
        "detail": detail,
        "instance": instance,
        "code": code,
        **{name: value for name, value in more.items() if value is not None},
    }


def of_error(error: ServiceError, *, instance: str) -> dict[str, Any]:
    """Return the problem document of an error of our own."""
    return problem(
        error.code,
        title=error.title,
        detail=error.detail,
        instance=instance,
        field=error.field,
        expected=error.expected,
        found=error.found,
        cure=error.cure,
        rules=error.rules,
    )


def response(document: dict[str, Any], *, headers: dict[str, str] | None = None) -> Response:
    """Return the HTTP response of a problem document."""
    more = dict(headers or {})
    if document["status"] == STATUS_OF["unauthenticated"]:
        more["www-authenticate"] = "Bearer"
    if document["status"] == STATUS_OF["rate_limited"]:
        more["retry-after"] = "1"
    return JSONResponse(document, document["status"], headers=more, media_type=MEDIA_TYPE)


async def answer_service_error(request: Request, error: Exception) -> Response:
    """Turn an error of our own into a problem."""
    assert isinstance(error, ServiceError)
    return response(of_error(error, instance=request.url.path))


async def answer_unknown_error(request: Request, _: Exception) -> Response:
    """Turn a defect into a problem that shows no stack trace; the log has it."""
    document = problem(
        "service_error",
        title="Service error",
        detail="an error that should not happen; the service's log has its trace",
        instance=request.url.path,
    )
    return response(document)


async def answer_invalid_request(request: Request, error: Exception) -> Response:
    """Turn FastAPI's complaint about a request into a problem that names the first field."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _not_json(request, first)
    where, *path = [str(part) for part in first["loc"]]
    field = ".".join(path) or where
    found = repr(first.get("input"))[:200]
    document = problem(
        "invalid_input",
        title="Invalid input",
        detail=f"{field} ({where}): {first['msg']}, found {found}",
        instance=request.url.path,
        field=field,
        expected=first["msg"],
        found=found,
    )
    return response(document)


def _not_json(request: Request, first: dict[str, Any]) -> Response:
    reason = first.get("ctx", {}).get("error", first["msg"])
    found = f"{reason}, at character {first['loc'][-1]}"
    document = problem(
        "invalid_input",
        title="Invalid input",
        detail=f"body: expected JSON, found: {found}",
        instance=request.url.path,
        field="body",
        expected="JSON",
        found=found,
    )
    return response(document)


_CODE_OF = {404: "not_found", 405: "method_not_allowed", 400: "invalid_input"}


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Turn the framework's own refusals (no such route or method) into a problem."""
    assert isinstance(error, HTTPException)
    code = _CODE_OF.get(error.status_code, "service_error")
    document = problem(
        code,
        title=code.replace("_", " ").capitalize(),
        detail=f"{request.method} {request.url.path}: {error.detail}",
        instance=request.url.path,
    )
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == STATUS_OF["method_not_allowed"]:
        headers["allow"] = ", ".join(_methods_of(request))
    if code == "service_error":
        document["status"] = error.status_code
    return response(document, headers=headers)


def _methods_of(request: Request) -> list[str]:
    """Return the methods that the request's path takes; the framework names one route's only."""
    routes: list[APIRoute] = request.app.state.routes
    matching = [route for route in routes if route.path_regex.fullmatch(request.url.path)]
    return sorted({method for route in matching for method in route.methods or ()})
