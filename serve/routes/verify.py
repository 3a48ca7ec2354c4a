"""Verification over HTTP: of a run of this service, and of any pack that is sent."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from cluster.asking import answer
from evidence.keyring import read_history
from evidence.log.note import Verifier
from evidence.report import Report
from evidence.subject import KnownLog
from evidence.trust import Trusted
from evidence.verify import planned
from serve import schemas, verifying
from serve.context import Asker, Context, InContext
from serve.verifying import Told

router = APIRouter(tags=["evidence"])

RunId = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{12}$")]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An event `check` for each check, then `report`, or `problem`.",
        "content": {"text/event-stream": {}},
    }
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/api/checks")
async def list_checks() -> schemas.CheckList:
    """Return the checks that a verification makes, in their order, as they stand before it."""
    return schemas.CheckList(checks=planned())


@router.post(
    "/api/verify", response_class=Response, responses=_STREAM, openapi_extra=_UPLOAD
)  # fmt: skip
async def verify_pack(context: InContext, request: Request) -> Response:
    """Make every check of a pack, a zip in the body, whoever sealed it; each is told when made.

    No key is trusted: the report names the one that signed.
    """

    async def fill(target: Path) -> Trusted:
        most = context.settings.max_pack_bytes
        await verifying.take_in(request.stream(), target, at_most=most)
        return Trusted()

    return await _stream(context, fill)


@router.post(
    "/api/training/runs/{run_id}/verify", response_class=Response, responses=_STREAM
)  # fmt: skip
async def verify_run(context: InContext, who: Asker, run_id: RunId) -> Response:
    """Make every check of a run's pack; the key and the log of this service are required."""
    await answer(context.manager.view.remote(run_id))

    async def fill(target: Path) -> Trusted:
        await verifying.take_in(context.zip_of(run_id), target, at_most=1 << 40)
        return await _own_trust(context)

    async def note(report: Report) -> None:
        await answer(context.manager.verified.remote(run_id, report.verdict, report.summary, who))

    return await _stream(context, fill, told=note)


async def _stream(
    context: Context, fill: Callable[[Path], Awaitable[Trusted]], *, told: Told | None = None
) -> Response:
    """Return the stream of a verification; what is wrong with the request is told before it."""
    async with AsyncExitStack() as stack:
        scratch = await stack.enter_async_context(context.desk.seat())
        pack = scratch / "pack.zip"
        trusted = await fill(pack)
        kept = stack.pop_all()
    return _Stream(context.desk.checks(pack, trusted, scratch=scratch, told=told), kept)


class _Stream(StreamingResponse):
    """An event stream that gives its seat back, whether or not anybody read it."""

    def __init__(self, events: AsyncIterator[bytes], kept: AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._kept:
            await super().__call__(scope, receive, send)


async def _own_trust(context: Context) -> Trusted:
    keys = read_history(await answer(context.manager.keys.remote()))
    log = Verifier.parse((await answer(context.manager.log_view.remote()))["key"])
    return Trusted(keys[-1], KnownLog(verifier=log), frozenset({"seal.signature"}))
