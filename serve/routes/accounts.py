"""Accounts, their keys, and what they have used."""

from typing import Annotated

from fastapi import APIRouter, Path

from cluster.asking import answer
from governance.accounts import KEY_ID_PATTERN, NAME_PATTERN
from serve import account_schemas as schemas
from serve.context import Asker, InContext

router = APIRouter(prefix="/api", tags=["accounts"])

Name = Annotated[str, Path(pattern=NAME_PATTERN, description="Name of an account.")]
KeyId = Annotated[str, Path(pattern=KEY_ID_PATTERN, description="`key-` and 12 hex digits.")]


@router.get("/users")
async def list_users(context: InContext) -> schemas.UserList:
    """Return every account; the owner, who can read the token file, has no record."""
    found = await answer(context.manager.accounts.remote())
    return schemas.UserList.model_validate({"users": found})


@router.post("/users")
async def add_user(context: InContext, who: Asker, wanted: schemas.NewUser) -> schemas.UserView:
    """Make an account of a person or a program; it needs a key before it can do anything."""
    made = await answer(
        context.manager.add_account.remote(wanted.name, wanted.kind, wanted.role, who)
    )
    return schemas.UserView.model_validate(made)


@router.patch("/users/{name}")
async def change_user(
    context: InContext, who: Asker, name: Name, wanted: schemas.UserChange
) -> schemas.UserView:
    """Give an account another role, or disable it: its keys and sessions are refused at once."""
    changed = await answer(
        context.manager.change_account.remote(name, wanted.model_dump(mode="json"), who)
    )
    return schemas.UserView.model_validate(changed)


@router.get("/keys")
async def list_keys(context: InContext) -> schemas.KeyList:
    """Return every key, without its token, which nobody has but who was shown it."""
    found = await answer(context.manager.account_keys.remote())
    return schemas.KeyList.model_validate({"keys": found})


@router.post("/keys")
async def add_key(context: InContext, who: Asker, wanted: schemas.NewKey) -> schemas.NewKeyView:
    """Make a key of an account. Its token is in this answer and can never be had again."""
    fields = wanted.model_dump(mode="json", exclude={"account"})
    made = await answer(context.manager.add_key.remote(wanted.account, fields, who))
    return schemas.NewKeyView.model_validate(made)


@router.delete("/keys/{key_id}")
async def revoke_key(context: InContext, who: Asker, key_id: KeyId) -> schemas.KeyView:
    """Refuse a key, and the sessions that it opened, from now on; doing it twice is no error."""
    revoked = await answer(context.manager.revoke_key.remote(key_id, who))
    return schemas.KeyView.model_validate(revoked)


@router.get("/usage")
async def show_usage(context: InContext, who: Asker) -> schemas.UsageList:
    """Return what keys have used, with their quotas: all for an admin, else the own account's."""
    found = await answer(context.manager.usage.remote(who))
    return schemas.UsageList.model_validate({"usage": found})
