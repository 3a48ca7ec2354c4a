"""Signing a browser in and out: a cookie in place of a token.

The cookie is HttpOnly, so that no script reads it, and SameSite=Strict, so that no other site's
page sends it; with every change the page sends the session's CSRF token beside it.
"""

from fastapi import APIRouter, Request, Response

from cluster.asking import answer
from cluster.settings import Settings
from evidence import digest
from governance.account_reader import csrf_of
from serve import account_schemas as schemas
from serve.context import Asker, InContext
from serve.guard import COOKIE

router = APIRouter(prefix="/api/session", tags=["accounts"])


@router.post("")
async def sign_in(
    context: InContext, request: Request, response: Response, given: schemas.SignIn
) -> schemas.SessionView:
    """Take a token and set the cookie of a session; 401 where it is nobody's, 429 after many."""
    address = request.client.host if request.client is not None else None
    await answer(context.manager.attempt_sign_in.remote(address))
    caller = context.accounts.of_token(given.token, origin=address)
    if caller is None:
        await answer(context.manager.refuse_sign_in.remote(address))
        raise AssertionError("a refusal raises")
    token_sha256 = digest.of_bytes(given.token.encode())
    opened = await answer(context.manager.sign_in.remote(caller, token_sha256))
    response.set_cookie(
        COOKIE,
        opened.pop("cookie"),
        max_age=context.settings.session_s,
        httponly=True,
        samesite="strict",
        secure=_is_secure(context.settings),
    )
    return schemas.SessionView.model_validate(opened)


def _is_secure(settings: Settings) -> bool:
    """Return whether browsers reach the service by TLS only."""
    return settings.tls_certificate is not None or not settings.is_loopback


@router.get("")
async def show_session(context: InContext, request: Request, who: Asker) -> schemas.SessionView:
    """Return who asks; of a browser's session also its CSRF token and its end."""
    csrf = expires = None
    if who.session is not None:
        csrf = csrf_of(request.cookies[COOKIE])
        expires = await answer(context.manager.session_expires.remote(who.session))
    return schemas.SessionView(
        account=who.name, kind=who.kind, role=who.role, csrf=csrf, expires=expires
    )


@router.delete("")
async def sign_out(context: InContext, response: Response, who: Asker) -> schemas.SignedOut:
    """End the session and delete its cookie; with a token there is none, and nothing happens."""
    await answer(context.manager.sign_out.remote(who))
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return schemas.SignedOut(account=who.name, ended=who.session is not None)
