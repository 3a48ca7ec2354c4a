"""What runs can be made of: data sets, recipes, finished models, nodes."""

from typing import Annotated

from fastapi import APIRouter, Path

from cluster.asking import answer
from serve import schemas
from serve.context import WHO, InContext
from trainers import recipes

router = APIRouter(prefix="/api", tags=["catalog"])

DatasetName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


@router.get("/datasets")
async def list_datasets(context: InContext) -> schemas.DatasetList:
    """Return each data set: digests, licence, whether its files are here."""
    return schemas.DatasetList(datasets=await answer(context.manager.datasets.remote()))


@router.post("/datasets/{name}/fetch")
async def fetch_dataset(context: InContext, name: DatasetName) -> schemas.DatasetView:
    """Start to fetch a data set and verify it; `GET /api/datasets` shows how far it is."""
    view = await answer(context.manager.fetch_dataset.remote(name, WHO))
    return schemas.DatasetView(dataset=view)


@router.get("/recipes")
async def list_recipes() -> schemas.RecipeList:
    """Return the recipes with every default filled in."""
    listed = [schemas.RecipeView(name=name, config=recipes.load(name)) for name in recipes.names()]
    return schemas.RecipeList(recipes=listed)


@router.get("/models")
async def list_models(context: InContext) -> schemas.ModelList:
    """Return the models of runs that succeeded."""
    return schemas.ModelList(models=await answer(context.manager.models.remote()))


@router.get("/nodes")
async def list_nodes(context: InContext) -> schemas.NodeList:
    """Return the nodes and what their devices can do, as probed."""
    return schemas.NodeList(nodes=await answer(context.manager.nodes.remote()))
