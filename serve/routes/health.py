"""Health: alive, and ready. What `mocks: false` rests on stands in `checks`."""

from fastapi import APIRouter, Response

from cluster.asking import answer
from serve import schemas
from serve.context import InContext

router = APIRouter(tags=["health"])


@router.get("/api/health")
@router.get("/api/healthz")
@router.get("/healthz")
async def healthz(context: InContext) -> schemas.Health:
    """Say that the service answers, and what it knows of its dependencies."""
    return await context.readiness.health(context.manager)


@router.get("/api/readyz", responses={503: {"model": schemas.Health}})
@router.get("/readyz", responses={503: {"model": schemas.Health}})
async def readyz(context: InContext, response: Response) -> schemas.Health:
    """Say whether runs can be taken in and trained: 200, or 503 with the failed checks."""
    health = await context.readiness.health(context.manager)
    if health.status != "ok":
        response.status_code = 503
    return health


@router.post("/api/canary", tags=["evidence"])
async def do_canary(context: InContext) -> schemas.CanaryView:
    """Have the canary done again, when no run is active; `checks.canary` of health tells it."""
    return schemas.CanaryView(canary=await answer(context.manager.canary.remote()))
