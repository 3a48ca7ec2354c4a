"""What each route asks of who calls it: the one table. A test walks all routes with every role."""

from collections.abc import Callable, Iterable
from typing import Final

from fastapi.routing import APIRoute

from governance.accounts import Role
from serve.console.site import is_console

OPEN: Final = None
"""Needs no token."""

_VIEWER, _OPERATOR, _REVIEWER, _ADMIN = Role

ROLE_OF: dict[str, Role | None] = {
    # open: whether it lives, what it offers, whose it is, and how to sign in
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "GET /api/health": OPEN,
    "GET /api/healthz": OPEN,
    "GET /api/readyz": OPEN,
    "GET /api/openapi.json": OPEN,
    "GET /api/docs": OPEN,
    "GET /.well-known/zeropoint/keys": OPEN,
    "POST /api/session": OPEN,
    # reading
    "GET /api/session": _VIEWER,
    "DELETE /api/session": _VIEWER,
    "GET /api/usage": _VIEWER,
    "GET /api/training/runs": _VIEWER,
    "GET /api/training/table": _VIEWER,
    "GET /api/training/runs/{run_id}": _VIEWER,
    "GET /api/training/runs/{run_id}/curves": _VIEWER,
    "GET /api/training/runs/{run_id}/metrics": _VIEWER,
    "GET /api/training/runs/{run_id}/logs": _VIEWER,
    "GET /api/training/runs/{run_id}/checkpoints": _VIEWER,
    "GET /api/training/runs/{run_id}/checkpoints/{step}": _VIEWER,
    "GET /api/training/runs/{run_id}/records": _VIEWER,
    "GET /api/training/runs/{run_id}/evidence": _VIEWER,
    "POST /api/training/runs/{run_id}/verify": _VIEWER,
    "GET /api/checks": _VIEWER,
    "GET /api/events/training": _VIEWER,
    "GET /api/datasets": _VIEWER,
    "GET /api/recipes": _VIEWER,
    "GET /api/models": _VIEWER,
    "GET /api/nodes": _VIEWER,
    "GET /api/audits": _VIEWER,
    "GET /api/audits/{audit_id}": _VIEWER,
    "GET /api/log": _VIEWER,
    "GET /api/log/checkpoint": _VIEWER,
    "GET /api/log/tile/{path}": _VIEWER,
    "GET /api/log/proof/inclusion": _VIEWER,
    "GET /api/log/proof/consistency": _VIEWER,
    "GET /api/events/proposals": _VIEWER,
    "GET /api/proposals": _VIEWER,
    "GET /api/proposals/stats": _VIEWER,
    "GET /api/proposals/{proposal_id}": _VIEWER,
    # doing
    "POST /api/training/runs": _OPERATOR,
    "POST /api/training/runs/{run_id}/cancel": _OPERATOR,
    "POST /api/training/runs/{run_id}/resume": _OPERATOR,
    "POST /api/training/runs/{run_id}/predict": _OPERATOR,
    "POST /api/datasets/{name}/fetch": _OPERATOR,
    "POST /api/verify": _OPERATOR,
    "POST /api/audits": _OPERATOR,
    "POST /api/canary": _OPERATOR,
    "POST /api/challenges": _OPERATOR,
    "POST /api/proposals": _OPERATOR,
    # judging
    "POST /api/proposals/{proposal_id}/consensus": _REVIEWER,
    "GET /api/audit": _REVIEWER,
    # managing
    "POST /api/training/collect": _ADMIN,
    "GET /api/users": _ADMIN,
    "POST /api/users": _ADMIN,
    "PATCH /api/users/{name}": _ADMIN,
    "GET /api/keys": _ADMIN,
    "POST /api/keys": _ADMIN,
    "DELETE /api/keys/{key_id}": _ADMIN,
}  # fmt: skip
"""The least role of every route, as `METHOD /path`; OPEN where none is needed."""

OPEN_PATHS: frozenset[str] = frozenset(
    name.partition(" ")[2] for name, role in ROLE_OF.items() if role is OPEN
)
"""Paths of which some method needs no token."""

RoleOf = Callable[[str, str], Role | None]
"""(method, path of a request) -> the least role; OPEN where none is needed."""


def role_finder(routes: Iterable[APIRoute]) -> RoleOf:
    """Return what tells the role that a request needs.

    A path or method that no route has needs a token too, so that only who may ask learns of it.
    """
    table = [
        (route.path_regex, method, ROLE_OF[f"{method} {route.path_format}"])
        for route in routes
        for method in route.methods or ()
    ]

    def role_of(method: str, path: str) -> Role | None:
        if path == "/api/openapi.json" and method == "GET":
            return OPEN
        if method in {"GET", "HEAD"} and is_console(path):
            return OPEN
        for pattern, known, role in table:
            if method == known and pattern.fullmatch(path):
                return role
        return Role.VIEWER

    return role_of
