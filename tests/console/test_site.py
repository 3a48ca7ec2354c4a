"""How the console's files are served: types, caching, policy, and nothing of the API hidden."""

import asyncio
import gzip
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from serve import app
from serve.console import site
from serve.console.site import STATIC, Site
from serve.roles import OPEN
from tests.cluster.here import Here
from tests.docs.tables import DOCS
from tests.serve import inside

Test = Callable[[httpx.AsyncClient], Awaitable[None]]
ROUTES = Path(__file__).parents[2] / "web" / "src" / "routes"
RUN = "7f3a91c20b1d"


def against(home: Path, test: Test) -> None:
    """Run a test's coroutine with a client that has no token."""

    async def go() -> None:
        async with inside.application(home, Here(cpus=0)) as (behind, _):
            transport = httpx.ASGITransport(behind, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=inside.BASE) as client:
                await asyncio.wait_for(test(client), 30)

    asyncio.run(go())


def script() -> str:
    (path,) = (STATIC / "_app" / "immutable").glob("bundle.*.js")
    return f"/{path.relative_to(STATIC).as_posix()}"


@pytest.mark.parametrize("path", ["/", f"/runs/{RUN}", "/new", "/evidence", "/system"])
def test_a_page_is_the_index_and_is_asked_for_again_each_time(tmp_path: Path, path: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        answer = await client.get(path)
        assert answer.status_code == 200
        assert answer.content == (STATIC / "index.html").read_bytes()
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        again = await client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

    against(tmp_path, test)


def test_a_file_named_by_its_content_is_kept_for_a_year(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        answer = await client.get(script())
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["content-encoding"] == "gzip"
        plain = await client.get(script(), headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == answer.content
        refused = await client.get(script(), headers={"accept-encoding": "gzip;q=0, br"})
        assert "content-encoding" not in refused.headers

    against(tmp_path, test)


def test_head_says_what_get_would_send(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        head, got = await client.head(script()), await client.get(script())
        assert head.content == b""
        assert head.headers["content-length"] == got.headers["content-length"]

    against(tmp_path, test)


def test_the_policy_lets_in_the_page_itself_and_its_one_script(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        policy = (await client.get("/")).headers["content-security-policy"]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'"
        assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/=]{44}'", rules["script-src"])
        assert rules["connect-src"] == "'self'"
        assert rules["frame-ancestors"] == "'none'"
        assert "unsafe-inline" not in policy
        assert "unsafe-eval" not in policy
        assert "http" not in policy

    against(tmp_path, test)


def test_the_page_loads_nothing_from_elsewhere() -> None:
    index = (STATIC / "index.html").read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', index)
    assert addresses
    assert [one for one in addresses if not one.startswith("/")] == []


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/nothing", "/api/training/runs", "/runs/x/api"]
)
def test_the_api_is_never_hidden_by_a_page(tmp_path: Path, path: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        answer = await client.get(path)
        assert answer.status_code in {401, 404}
        assert answer.headers["content-type"].startswith("application/problem+json")

    against(tmp_path, test)


def test_no_route_of_the_api_is_a_page_or_a_file() -> None:
    paths = [route.split()[1] for route in app.routes()]
    assert [path for path in paths if site.is_console(path)] == []


@pytest.mark.parametrize(
    "path",
    [
        "/_app/../../site.py",
        "/_app/%2e%2e/%2e%2e/site.py",
        "/console/../../../token",
        "/index.html/",
    ],
)
def test_a_path_that_climbs_finds_nothing(tmp_path: Path, path: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        answer = await client.get(httpx.URL(inside.BASE).copy_with(raw_path=path.encode()))
        assert answer.status_code in {401, 404}

    against(tmp_path, test)


def test_writing_to_a_page_is_no_matter_of_the_console(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        assert (await client.post("/new")).status_code in {401, 404, 405}

    against(tmp_path, test)


def test_a_page_of_another_host_name_is_refused(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        assert (await client.get("/", headers={"host": "evil.example"})).status_code == 403

    against(tmp_path, test)


def test_only_the_console_is_open_besides_the_open_routes() -> None:
    role_of = app.role_of()
    for path in ("/", "/new", script(), "/console/icon.svg"):
        assert role_of("GET", path) is OPEN
        assert role_of("HEAD", path) is OPEN
        assert role_of("POST", path) is not OPEN
    for path in ("/api/training/runs", "/apix", "/metrics", "/runs", "/_ap"):
        assert role_of("GET", path) is not OPEN


def test_every_page_of_the_sources_is_served_and_no_other() -> None:
    folders = {path.parent.relative_to(ROUTES).as_posix() for path in ROUTES.rglob("+page.svelte")}
    pages = {"/" if one == "." else f"/{one}" for one in folders}
    served = {pattern.replace("[0-9a-f]{12}", "[run_id]") for pattern in site.PAGES}
    assert served == pages


def test_without_built_files_everything_goes_on(tmp_path: Path) -> None:
    seen = []

    async def behind(scope: object, receive: object, send: object) -> None:
        seen.append((scope, receive, send))

    async def nothing() -> dict[str, str]:
        return {"type": "http.request"}

    async def drop(_: object) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(Site(behind, tmp_path)(scope, nothing, drop))
    assert len(seen) == 1


def test_the_bundle_is_below_150_kb() -> None:
    files = [*STATIC.rglob("*.js"), *STATIC.rglob("*.css")]
    assert 0 < sum(len(gzip.compress(path.read_bytes(), 9)) for path in files) < 150_000


def test_the_headers_of_every_kind_of_file_stand_in_the_docs() -> None:
    text = (DOCS / "console.md").read_text(encoding="utf-8")
    told = [site.IMMUTABLE, site.REVALIDATED, *site.CONTENT_TYPES.values()]
    assert [one for one in told if f"`{one}`" not in text] == []


def test_every_page_and_key_stands_in_the_docs() -> None:
    text = (DOCS / "console.md").read_text(encoding="utf-8")
    source = (ROUTES.parent / "lib" / "keys.ts").read_text(encoding="utf-8")
    keys = re.findall(r"^\t\['([^']+)'", source, re.MULTILINE)
    pages = [pattern.replace("[0-9a-f]{12}", "RUN") for pattern in site.PAGES]
    assert len(keys) > 15
    assert [one for one in (*keys, *pages) if f"`{one}" not in text] == []
