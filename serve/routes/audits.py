"""Audits that the service does of its own runs, and challenges: train this, now, with my nonce."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from cluster.asking import answer
from serve import schemas
from serve.context import Asker, InContext
from serve.paging import Offset, PageLimit, next_offset

router = APIRouter(prefix="/api", tags=["evidence"])

AuditId = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$")]


@router.post("/audits")
async def request_audit(
    context: InContext, who: Asker, wanted: schemas.AuditRequest
) -> schemas.AuditView:
    """Have windows of a sealed run trained again, on a node that did not train it if there is one.

    Its outcome is signed and logged. Who trusts nobody here runs `zpctl audit` instead.
    """
    windows = {
        "count": wanted.windows,
        "begin": wanted.begin,
        "end": wanted.end,
        "everything": wanted.everything,
    }
    view = await answer(context.manager.audit_run.remote(wanted.run_id, windows, who))
    return schemas.AuditView.model_validate(view)


@router.get("/audits")
async def list_audits(
    context: InContext, offset: Offset = 0, limit: PageLimit = 20
) -> schemas.AuditPage:
    """Return audits, newest first."""
    page = await answer(context.manager.audit_page.remote(offset, limit))
    following = next_offset(offset, len(page["audits"]), total=page["total"])
    return schemas.AuditPage.model_validate({**page, "next_offset": following})


@router.get("/audits/{audit_id}")
async def get_audit(context: InContext, audit_id: AuditId) -> schemas.AuditView:
    """Return one audit: its status, and when it is done its signed report and place in the log."""
    view = await answer(context.manager.audit_view.remote(audit_id))
    return schemas.AuditView.model_validate(view)


@router.post("/challenges")
async def challenge(
    context: InContext, who: Asker, wanted: schemas.Challenge
) -> schemas.ChallengeView:
    """Have a recipe trained now, for a few steps, with a nonce that the service could not know.

    The signed records at `records` tell what came of it, and the pack at `evidence` is what the
    client does again. It goes through the same queue and limits as any run.
    """
    overrides: dict[str, Any] = {
        "name": "challenge",
        "nonce": wanted.nonce,
        "steps": wanted.steps,
        "metric_every": 1,
    }
    request = {"recipe": wanted.recipe, "overrides": overrides}
    view = await answer(context.manager.submit.remote(request, who, None))
    links = view["links"]
    return schemas.ChallengeView(
        run_id=view["run_id"],
        status=view["status"],
        nonce=wanted.nonce,
        links={
            "run": links["self"],
            "events": links["events"],
            "records": f"{links['self']}/records",
            "evidence": f"{links['evidence']}?format=zip",
        },
    )
