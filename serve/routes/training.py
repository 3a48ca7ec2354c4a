"""Runs: submit, list, look, cancel, resume, predict, and take their evidence away."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Path, Query
from fastapi.responses import Response, StreamingResponse

from cluster.asking import answer
from cluster.run_table import Query as TableQuery
from evidence import digest
from evidence.records import RunState
from serve import schemas
from serve.context import Asker, InContext
from serve.paging import Offset, PageLimit, next_offset

router = APIRouter(prefix="/api/training", tags=["runs"])

RunId = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$", description="12 hex digits.")]
After = Annotated[
    int, Query(ge=0, le=2**53 - 1, description="Sequence number, exclusive: only newer records.")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most records.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key and config give the same run; another config gives 409.",
    ),
]
Step = Annotated[int, Path(ge=0, le=2**53 - 1, description="Updates done at the checkpoint.")]
CheckpointFile = Literal["model.safetensors", "optimizer.safetensors", "state.safetensors"]

RUN_REQUEST = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/RecipeRequest"},
                        {"$ref": "#/components/schemas/RunConfig"},
                    ]
                },
                "examples": {
                    "recipe": {"value": {"recipe": "mnist_mlp", "overrides": {"steps": 300}}}
                },
            }
        },
    }
}


@router.post("/runs", openapi_extra=RUN_REQUEST)
async def submit_run(
    context: InContext, who: Asker, request: Annotated[dict[str, Any], Body()], key: Key = None
) -> schemas.RunView:
    """Take in a run: a recipe with overrides, or a full RunConfig."""
    view = await answer(context.manager.submit.remote(request, who, key))
    return schemas.RunView.model_validate(view)


@router.get("/runs")
async def list_runs(
    context: InContext,
    status: Annotated[RunState | None, Query(description="Only runs with it.")] = None,
    offset: Offset = 0,
    limit: PageLimit = 20,
) -> schemas.RunPage:
    """List runs, newest first."""
    page = await answer(context.manager.page.remote(status, offset, limit))
    following = next_offset(offset, len(page["runs"]), total=page["total"])
    return schemas.RunPage.model_validate({**page, "next_offset": following})


@router.get("/table")
async def get_table(
    context: InContext, wanted: Annotated[schemas.TableQuery, Query()]
) -> schemas.RunTable:
    """Search and sort all runs: a few values of each, where `GET .../runs` tells everything."""
    query = TableQuery(
        words=wanted.q,
        state=wanted.status,
        sort=wanted.sort,
        is_ascending=wanted.order == "asc",
        offset=wanted.offset,
        limit=wanted.limit,
    )
    page = await answer(context.manager.table.remote(query))
    following = next_offset(wanted.offset, len(page["rows"]), total=page["total"])
    return schemas.RunTable.model_validate({**page, "next_offset": following})


@router.get("/runs/{run_id}")
async def get_run(context: InContext, run_id: RunId) -> schemas.RunView:
    """Return one run."""
    view = await answer(context.manager.view.remote(run_id))
    return schemas.RunView.model_validate(view)


@router.get("/runs/{run_id}/metrics")
async def get_metrics(
    context: InContext, run_id: RunId, after: After = 0, limit: Limit = 1000
) -> schemas.MetricPage:
    """Return metric records, oldest first."""
    page = await answer(context.manager.metrics.remote(run_id, after, limit))
    return schemas.MetricPage.model_validate(page)


@router.get("/runs/{run_id}/curves")
async def get_curves(
    context: InContext,
    run_id: RunId,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Most records.")] = 10_000,
) -> schemas.CurvePage:
    """Return metrics as columns, oldest first: ten times fewer bytes than the records."""
    page = await answer(context.manager.curves.remote(run_id, after, limit))
    return schemas.CurvePage.model_validate(page)


@router.get("/runs/{run_id}/logs")
async def get_logs(
    context: InContext, run_id: RunId, after: After = 0, limit: Limit = 1000
) -> schemas.LogPage:
    """Return log and status records, oldest first."""
    page = await answer(context.manager.logs.remote(run_id, after, limit))
    return schemas.LogPage.model_validate(page)


@router.get("/runs/{run_id}/checkpoints")
async def list_checkpoints(context: InContext, run_id: RunId) -> schemas.CheckpointList:
    """Return the checkpoint records, oldest first."""
    records = await answer(context.manager.checkpoints.remote(run_id))
    return schemas.CheckpointList(run_id=run_id, checkpoints=records)


@router.get(
    "/runs/{run_id}/checkpoints/{step}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def download_checkpoint(
    context: InContext, run_id: RunId, step: Step, file: CheckpointFile = "model.safetensors"
) -> Response:
    """Return one file of a checkpoint; its digest was checked, and is the ETag."""
    data = await answer(context.manager.checkpoint_file.remote(run_id, step, file))
    return _download(data, name=f"{run_id}-step_{step:06d}-{file}")


@router.get(
    "/runs/{run_id}/records",
    response_class=Response,
    responses={200: {"content": {"application/jsonl": {}}}},
)
async def get_records(context: InContext, run_id: RunId) -> Response:
    """Return the signed records of a run so far, a line each: its commitment, then checkpoints."""
    lines = await answer(context.manager.records.remote(run_id))
    return Response(lines, media_type="application/jsonl")


@router.get(
    "/runs/{run_id}/evidence",
    response_model=schemas.EvidenceView,
    responses={200: {"content": {"application/zip": {}}}},
)
async def get_evidence(
    context: InContext,
    run_id: RunId,
    form: Annotated[
        Literal["json", "zip"], Query(alias="format", description="A list, or the pack.")
    ] = "json",
) -> Response | schemas.EvidenceView:
    """Return the files of the pack with their digests, or the pack as a zip."""
    listed = await answer(context.manager.evidence.remote(run_id))
    if form == "json":
        return schemas.EvidenceView.model_validate(listed)
    return StreamingResponse(
        context.zip_of(run_id),
        media_type="application/zip",
        headers={"content-disposition": f'attachment; filename="{run_id}.zip"'},
    )


@router.post("/runs/{run_id}/cancel")
async def cancel_run(context: InContext, who: Asker, run_id: RunId) -> schemas.RunView:
    """End a run for good and seal what it has; 409 if it has ended."""
    view = await answer(context.manager.cancel.remote(run_id, who))
    return schemas.RunView.model_validate(view)


@router.post("/runs/{run_id}/resume")
async def resume_run(context: InContext, who: Asker, run_id: RunId) -> schemas.RunView:
    """Put an interrupted or failed run back into the queue; 409 otherwise."""
    view = await answer(context.manager.resume.remote(run_id, who))
    return schemas.RunView.model_validate(view)


@router.post("/runs/{run_id}/predict")
async def predict(
    context: InContext, run_id: RunId, request: schemas.PredictRequest
) -> schemas.PredictResponse:
    """Classify images with a checkpoint of the run."""
    result = await answer(context.manager.predict.remote(run_id, request.step, request.images))
    return schemas.PredictResponse.model_validate(result)


@router.post("/collect")
async def collect(
    context: InContext, who: Asker, request: schemas.CollectRequest
) -> schemas.CollectResponse:
    """Delete ended runs beyond a policy; each leaves a tombstone with its seal's digest."""
    policy = request.model_dump(exclude={"dry_run"})
    deleted = await answer(context.manager.collect.remote(policy, who, request.dry_run))
    return schemas.CollectResponse(deleted=deleted, dry_run=request.dry_run)


def _download(data: bytes, *, name: str) -> Response:
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "etag": f'"{digest.of_bytes(data)}"',
    }
    return Response(data, media_type="application/octet-stream", headers=headers)
