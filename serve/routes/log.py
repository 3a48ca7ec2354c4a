"""The transparency log and the keys of the service, as others watch them (C2SP tlog-tiles)."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from cluster.asking import answer
from serve import schemas
from serve.context import InContext

router = APIRouter(tags=["log"])

TilePath = Annotated[str, Path(max_length=200, description="As in C2SP tlog-tiles: 0/x001/234.")]
Place = Annotated[int, Query(ge=0, le=2**53 - 1)]
Size = Annotated[int | None, Query(ge=0, le=2**53 - 1, description="Without it, the present size.")]
_TEXT = "text/plain; charset=utf-8"
_TEXT_ANSWER: dict[str, Any] = {"content": {_TEXT: {}}}
_BYTES_ANSWER: dict[str, Any] = {"content": {"application/octet-stream": {}}}


@router.get("/api/log")
async def get_log(context: InContext) -> schemas.LogView:
    """Return the log's verifier key, its size, and the witnesses that are asked to cosign it."""
    return schemas.LogView.model_validate(await answer(context.manager.log_view.remote()))


@router.get("/api/log/checkpoint", response_class=Response, responses={200: _TEXT_ANSWER})
async def get_checkpoint(context: InContext) -> Response:
    """Return the present tree head: a signed note, with the cosignatures that it has."""
    head = await answer(context.manager.log_head.remote())
    return Response(head, media_type=_TEXT)


@router.get("/api/log/tile/{path:path}", response_class=Response, responses={200: _BYTES_ANSWER})
async def get_tile(context: InContext, path: TilePath) -> Response:
    """Return a tile of hashes, or a bundle of entries below `entries/`."""
    tile = await answer(context.manager.log_tile.remote(f"tile/{path}"))
    return Response(tile, media_type="application/octet-stream")


@router.get("/api/log/proof/inclusion")
async def prove_inclusion(
    context: InContext, index: Place, size: Size = None
) -> schemas.InclusionProof:
    """Return the proof that an entry is in the log at a size (RFC 6962 §2.1.1)."""
    proof = await answer(context.manager.log_inclusion.remote(index, size))
    return schemas.InclusionProof.model_validate(proof)


@router.get("/api/log/proof/consistency")
async def prove_consistency(
    context: InContext, old_size: Place, size: Size = None
) -> schemas.ConsistencyProof:
    """Return the proof that the log only grew between two sizes (RFC 6962 §2.1.2)."""
    proof = await answer(context.manager.log_consistency.remote(old_size, size))
    return schemas.ConsistencyProof.model_validate(proof)


@router.get(
    "/.well-known/zeropoint/keys", response_class=Response,
    responses={200: {"content": {"application/jsonl": {}}}},
)  # fmt: skip
async def get_keys(context: InContext) -> Response:
    """Return the history of the service's public keys, as `seal/keys.jsonl` of a pack has it."""
    return Response(await answer(context.manager.keys.remote()), media_type="application/jsonl")
