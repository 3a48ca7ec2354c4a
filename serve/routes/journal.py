"""The audit journal: who did what, when, from where, and what it changed."""

from typing import Annotated

from fastapi import APIRouter, Query

from cluster.asking import answer
from serve import account_schemas as schemas
from serve.context import InContext

router = APIRouter(prefix="/api", tags=["accounts"])

After = Annotated[int, Query(ge=0, le=2**53 - 1, description="Sequence number, exclusive.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most lines.")]
Text = Annotated[str | None, Query(min_length=1, max_length=64, pattern=r"^[ -~]+$")]
Moment = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z)?$",
        description="In UTC, a day or a second: 2026-01-31 or 2026-01-31T12:00:00Z.",
    ),
]


@router.get("/audit")
async def read_audit(  # noqa: PLR0913 - one parameter for each filter
    context: InContext,
    *,
    action: Text = None,
    who: Text = None,
    key: Text = None,
    thing: Text = None,
    since: Moment = None,
    until: Moment = None,
    after: After = 0,
    limit: Limit = 100,
) -> schemas.AuditLines:
    """Return lines of the audit journal, oldest first.

    `action` is one, or what several begin with, with a dot at its end (`run.`); `thing` is the id
    or name of what it was done to. Canonical JSON of a line is the line: `prev` of the next one is
    its SHA-256.
    """
    wanted = {
        "action": action, "who": who, "key": key, "thing": thing, "since": since, "until": until,
    }  # fmt: skip
    page = await answer(context.manager.audit_lines.remote(wanted, after, limit))
    return schemas.AuditLines.model_validate(page)
