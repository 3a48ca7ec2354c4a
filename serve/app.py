"""The HTTP application: routes, guard, problems and OpenAPI, put together. No Ray in here."""

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request

from evidence.errors import ServiceError
from serve import problems, schemas
from serve.context import Context
from serve.guard import COOKIE
from serve.roles import OPEN, ROLE_OF, RoleOf, role_finder
from serve.routes import (
    accounts,
    audits,
    catalog,
    docs,
    events,
    health,
    journal,
    log,
    openai,
    petals,
    proposals,
    session,
    training,
    verify,
)
from serve.version import VERSION
from trainers.config import RunConfig

ROUTERS = (
    health.router,
    training.router,
    catalog.router,
    events.router,
    log.router,
    verify.router,
    audits.router,
    accounts.router,
    session.router,
    journal.router,
    proposals.router,
    petals.router,
    openai.router,
    docs.router,
)
"""Every router of the API."""

_UNDOCUMENTED = ("GET /api/openapi.json",)


class Json(JSONResponse):
    """JSON that says its charset."""

    media_type = "application/json; charset=utf-8"


def routes() -> frozenset[str]:
    """Return every route as `METHOD /path`."""
    return frozenset(
        f"{method} {route.path_format}"
        for route in _routes_of(ROUTERS)
        for method in route.methods or ()
    ) | frozenset(_UNDOCUMENTED)


def role_of() -> RoleOf:
    """Return what tells the role that a request to any route of the API needs."""
    return role_finder(_routes_of(ROUTERS))


def _routes_of(routers: tuple[APIRouter, ...]) -> list[APIRoute]:
    return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]


def create_app(context: Context, *, routers: tuple[APIRouter, ...] = ROUTERS) -> FastAPI:
    """Return the ASGI application.

    Args:
        context: What routes need.
        routers: Which routes; OpenAPI always tells all of them.
    """
    app = FastAPI(
        title="Zeropoint",
        version=VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        default_response_class=Json,
        redirect_slashes=False,
    )
    app.state.context = context
    app.state.openapi = openapi
    app.state.routes = _routes_of(routers)
    for router in routers:
        app.include_router(router, responses=_PROBLEMS)
    app.add_exception_handler(ServiceError, problems.answer_service_error)
    app.add_exception_handler(RequestValidationError, problems.answer_invalid_request)
    app.add_exception_handler(HTTPException, problems.answer_http_exception)
    app.add_exception_handler(Exception, problems.answer_unknown_error)
    if routers is ROUTERS or health.router in routers:
        app.add_api_route(
            "/api/openapi.json", _openapi_route, include_in_schema=False, response_class=Json
        )
    return app


async def _openapi_route(_: Request) -> Response:
    """Return the OpenAPI document of the whole API."""
    return Json(openapi())


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of the whole API, event streams included."""
    app = FastAPI(title="Zeropoint", version=VERSION)
    for router in ROUTERS:
        app.include_router(router, responses=_PROBLEMS)
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    models = [(schemas.RecipeRequest, "validation"), (RunConfig, "validation")]
    _, definitions = models_json_schema(
        models,  # type: ignore[arg-type]  # a list of pairs, as documented
        ref_template="#/components/schemas/{model}",
    )
    components = document["components"]
    components["schemas"] = {**definitions["$defs"], **components["schemas"]}
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    document["security"] = [{"token": []}, {"session": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            role = ROLE_OF[f"{method.upper()} {path}"]
            if role is OPEN:
                operation["security"] = []
            operation["x-role"] = role.value if role is not None else "none"
    return document


_PROBLEM_CONTENT = {
    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
}

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "model": schemas.Problem, "content": _PROBLEM_CONTENT}
    for status, description in (
        (400, "The request is not HTTP as it should be."),
        (401, "No token, or an unknown one."),
        (403, "Host or Origin is not this service, or the role is too small."),
        (404, "There is no such thing."),
        (405, "Another method is needed."),
        (409, "It does not fit the present state."),
        (413, "The body is too large."),
        (415, "The body is not JSON."),
        (422, "A value is wrong; `field` names it."),
        (429, "Too many at once."),
        (500, "A stored file is not what its record says; `code` tells which way."),
        (501, "An extra is not installed; `cure` names the command."),
        (503, "Not ready, or a dependency is away."),
    )
}
