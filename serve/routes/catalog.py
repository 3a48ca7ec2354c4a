"""What runs can be made of: data sets, recipes, finished models, nodes."""

from typing import Annotated

from fastapi import APIRouter, Path

from cluster.asking import answer
from serve import schemas
from serve.context import Asker, InContext
from serve.paging import Offset, PageLimit, next_offset
from trainers import recipes

router = APIRouter(prefix="/api", tags=["catalog"])

DatasetName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


@router.get("/datasets")
async def list_datasets(context: InContext) -> schemas.DatasetList:
    """Return each data set: digests, licence, whether its files are here."""
    return schemas.DatasetList(datasets=await answer(context.manager.datasets.remote()))


@router.post("/datasets")
async def add_dataset(
    context: InContext, who: Asker, request: schemas.DatasetRequest
) -> schemas.Dossier:
    """Take in data of your own; its files are found by SHA-256, and nobody approved it yet."""
    entry = request.manifest.model_copy(update={"digests": request.name, "approved": None})
    told = await answer(context.manager.add_dataset.remote(request.name, request.data, entry, who))
    return schemas.Dossier.model_validate(told)


@router.post("/datasets/{name}/approve")
async def approve_dataset(context: InContext, who: Asker, name: DatasetName) -> schemas.Dossier:
    """Approve exactly the bytes that a data set has now; 409 for a shipped one."""
    told = await answer(context.manager.approve_dataset.remote(name, who))
    return schemas.Dossier.model_validate(told)


@router.get("/datasets/{name}")
async def get_dataset(context: InContext, name: DatasetName) -> schemas.Dossier:
    """Return all that is known of a data set, and what the data gate says of it now."""
    return schemas.Dossier.model_validate(await answer(context.manager.dossier.remote(name)))


@router.post("/datasets/{name}/fetch")
async def fetch_dataset(context: InContext, who: Asker, name: DatasetName) -> schemas.DatasetView:
    """Start to fetch a data set and verify it; `GET /api/datasets` shows how far it is."""
    view = await answer(context.manager.fetch_dataset.remote(name, who))
    return schemas.DatasetView(dataset=view)


@router.get("/recipes")
async def list_recipes() -> schemas.RecipeList:
    """Return the recipes with every default filled in."""
    listed = [schemas.RecipeView(name=name, config=recipes.load(name)) for name in recipes.names()]
    return schemas.RecipeList(recipes=listed)


@router.get("/models")
async def list_models(
    context: InContext, offset: Offset = 0, limit: PageLimit = 20
) -> schemas.ModelPage:
    """Return the models of runs that succeeded, newest first."""
    page = await answer(context.manager.models.remote(offset, limit))
    following = next_offset(offset, len(page["models"]), total=page["total"])
    return schemas.ModelPage.model_validate({**page, "next_offset": following})


@router.get("/nodes")
async def list_nodes(context: InContext) -> schemas.NodeList:
    """Return the nodes and what their devices can do, as probed."""
    return schemas.NodeList(nodes=await answer(context.manager.nodes.remote()))
