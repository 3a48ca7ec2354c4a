"""What reaches a route, and what every response carries: the guard before a small application."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from evidence.errors import NotFound, ServiceError
from serve import problems
from serve.guard import LOOPBACK_HOSTS
from serve.roles import OPEN_PATHS
from tests.serve import inside
from tests.serve.inside import BASE, MOST_BYTES, TOKEN

SECURITY = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


async def echo(request: Request) -> Response:
    """Answer with the size of the body."""
    return JSONResponse({"bytes": len(await request.body())})


async def swallowing(request: Request) -> Response:
    """Take any trouble with the body for a bad request, as frameworks do."""
    try:
        await request.body()
    except Exception:  # noqa: BLE001 - that is the point
        return Response("cannot read the body", status_code=400)
    return Response()


async def download(_: Request) -> Response:
    headers = {"content-disposition": 'attachment; filename="a.bin"'}
    return Response(b"x", media_type="application/octet-stream", headers=headers)


async def missing(_: Request) -> Response:
    raise NotFound("there is no run 1", field="run_id")


async def broken(_: Request) -> Response:
    raise RuntimeError("a secret of the inside")


async def half(_: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise NotFound("gone in the middle")

    return StreamingResponse(pieces())


APP = Starlette(
    routes=[
        Route("/echo", echo, methods=["GET", "POST"]),
        Route("/swallowing", swallowing, methods=["POST"]),
        Route("/download", download),
        Route("/missing", missing),
        Route("/broken", broken),
        Route("/half", half),
        Route("/api/healthz", echo),
    ],
    exception_handlers={
        ServiceError: problems.answer_service_error,
        Exception: problems.answer_unknown_error,
    },
)


def ask(method: str, path: str, *, drop: str = "", **options: Any) -> httpx.Response:
    """Send one request through the guard; `drop` names a header that is left out."""

    async def go() -> httpx.Response:
        async with inside.client(inside.guarded(APP)) as client:
            request = client.build_request(method, path, **options)
            request.headers.pop(drop, None)
            return await client.send(request)

    return asyncio.run(go())


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


# -- (1) host ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]:8000"]
)
def test_our_own_names_are_let_in(host: str) -> None:
    assert ask("GET", "/echo", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8000",
        "",
        "[",
        "127.0.0.1@evil.example",
        "evil.example@127.0.0.1",
        "localhost/evil.example",
        "localhost?x",
        "localhost#x",
    ],
)
def test_a_name_that_was_rebound_to_this_address_is_refused(host: str) -> None:
    answer = ask("GET", "/api/healthz", headers={"host": host})
    assert (answer.status_code, answer.json()["field"]) == (403, "Host")


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_no_other_host_is_let_in(host: str) -> None:
    answer = ask("GET", "/echo", headers={"host": f"{host}.example"})
    assert answer.status_code == 403


# -- (2) origin ----------------------------------------------------------------------------------


def test_a_page_of_this_service_is_let_in() -> None:
    assert ask("GET", "/echo", headers={"origin": BASE}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:9999",
        "http://localhost:8000",
        "file://",
        "[",
    ],
)
@pytest.mark.parametrize("path", ["/echo", "/api/healthz"])
def test_a_page_from_elsewhere_is_refused(origin: str, path: str) -> None:
    answer = ask("GET", path, headers={"origin": origin})
    assert (answer.status_code, answer.json()["field"]) == (403, "Origin")


# -- (3) token -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/echo", "/api/healthz/", "/API/HEALTHZ", "/x"])
def test_no_token_no_answer(path: str) -> None:
    answer = ask("GET", path, drop="authorization")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "given_",
    ["Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é"],
)
def test_a_wrong_token_is_no_token(given_: str) -> None:
    headers = {"authorization": given_.encode("latin-1")}
    assert ask("GET", "/echo", headers=headers).status_code == 401


def test_the_scheme_may_be_in_any_case() -> None:
    headers = {"authorization": f"bearer {TOKEN}"}
    assert ask("GET", "/echo", headers=headers).status_code == 200


def test_the_token_is_in_no_answer() -> None:
    answer = ask("GET", "/echo", headers={"authorization": "Bearer a-wrong-secret"})
    assert "a-wrong-secret" not in answer.text + str(answer.headers)


def test_health_needs_no_token() -> None:
    assert ask("GET", "/api/healthz", drop="authorization").status_code == 200


def test_nothing_that_trains_is_open() -> None:
    assert not [path for path in OPEN_PATHS if "training" in path]


# -- (4) content type ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"]
)
def test_a_json_body_is_let_in(kind: str) -> None:
    answer = ask("POST", "/echo", content=b"{}", headers={"content-type": kind})
    assert answer.json() == {"bytes": 2}


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_form_of_another_site_is_refused(kind: str) -> None:
    answer = ask("POST", "/echo", content=b"{}", headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_body_in_pieces_must_be_json_too() -> None:
    answer = ask("POST", "/echo", content=in_pieces(b"{}"), headers={"content-type": "text/plain"})
    assert answer.status_code == 415


def test_a_post_without_body_needs_no_content_type() -> None:
    assert ask("POST", "/echo").status_code == 200


# -- (5) size ------------------------------------------------------------------------------------

JSON = {"content-type": "application/json"}


def test_a_body_at_the_limit_is_let_in() -> None:
    answer = ask("POST", "/echo", content=bytes(MOST_BYTES), headers=JSON)
    assert answer.json() == {"bytes": MOST_BYTES}


@pytest.mark.parametrize("path", ["/echo", "/swallowing"])
def test_a_body_that_says_it_is_too_large_is_refused(path: str) -> None:
    answer = ask("POST", path, content=bytes(MOST_BYTES + 1), headers=JSON)
    assert (answer.status_code, answer.json()["expected"]) == (413, "at most 4096")


@pytest.mark.parametrize("path", ["/echo", "/swallowing"])
def test_a_body_that_turns_out_too_large_is_refused(path: str) -> None:
    pieces = in_pieces(*[bytes(1024)] * 5)
    answer = ask("POST", path, content=pieces, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_body_in_pieces_at_the_limit_is_let_in() -> None:
    pieces = in_pieces(*[bytes(1024)] * 4)
    assert ask("POST", "/echo", content=pieces, headers=JSON).json() == {"bytes": MOST_BYTES}


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "1" * 5000])
def test_a_length_that_is_no_number_in_bounds_is_refused(length: str) -> None:
    headers = {**JSON, "content-length": length}
    assert ask("POST", "/echo", headers=headers).status_code == 413


# -- every answer --------------------------------------------------------------------------------

ANSWERS: dict[str, dict[str, Any]] = {
    "good": {"method": "GET", "path": "/echo"},
    "download": {"method": "GET", "path": "/download"},
    "no such route": {"method": "GET", "path": "/nowhere"},
    "no such method": {"method": "DELETE", "path": "/echo"},
    "an error of ours": {"method": "GET", "path": "/missing"},
    "a defect": {"method": "GET", "path": "/broken"},
    "refused by host": {"method": "GET", "path": "/echo", "headers": {"host": "evil.example"}},
    "refused by token": {"method": "GET", "path": "/echo", "headers": {"authorization": "no"}},
    "too large": {"method": "POST", "path": "/echo", "content": bytes(5000), "headers": JSON},
}


@pytest.mark.parametrize("answer", sorted(ANSWERS))
def test_every_answer_has_the_security_headers(answer: str) -> None:
    headers = ask(**ANSWERS[answer]).headers
    assert {name: headers.get(name) for name in SECURITY} == SECURITY


def test_json_says_its_charset_and_is_shown_inline() -> None:
    headers = ask("GET", "/echo").headers
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["content-disposition"] == "inline"


def test_a_download_stays_an_attachment() -> None:
    assert ask("GET", "/download").headers["content-disposition"].startswith("attachment")


def test_a_defect_shows_no_trace() -> None:
    answer = ask("GET", "/broken")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_an_error_of_ours_is_a_problem() -> None:
    answer = ask("GET", "/missing")
    assert (answer.status_code, answer.json()["field"]) == (404, "run_id")
    assert answer.headers["content-type"] == "application/problem+json; charset=utf-8"


def test_an_answer_that_breaks_in_the_middle_is_not_completed_with_a_problem() -> None:
    assert ask("GET", "/half").text == "one"


def test_what_is_no_request_passes_the_guard() -> None:
    seen: list[str] = []

    async def behind(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    async def never(*_: Any) -> Any:
        raise AssertionError

    asyncio.run(inside.guarded(behind)({"type": "lifespan"}, never, never))
    assert seen == ["lifespan"]


def test_loopback_names_are_the_three() -> None:
    assert frozenset({"127.0.0.1", "localhost", "::1"}) == LOOPBACK_HOSTS
