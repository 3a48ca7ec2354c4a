"""The Petals routes where Petals is not installed: 501 with the command, and nothing pretended."""

import asyncio
from pathlib import Path

import pytest

from serve import app
from tests.cluster.here import Here
from tests.serve.inside import application, client

PETALS = sorted(route for route in app.routes() if "/petals" in route or " /v1/" in route)


@pytest.mark.parametrize("route", PETALS)
def test_without_its_environment_each_route_says_what_to_run(tmp_path: Path, route: str) -> None:
    method, path = route.split(" ")
    body = {"model": "m", "begin": 0, "end": 1, "counter": 0, "peers": [], "prompt": "x"}

    async def go() -> None:
        absent = tmp_path / "nothing"
        async with (
            application(tmp_path, Here(), petals_environment=absent) as (behind, _),
            client(behind) as http,
        ):
            url = path.replace("{generation_id}", "0" * 16)
            has_body = method in {"POST", "PUT"}
            answer = await http.request(method, url, json=body if has_body else None)
            assert answer.status_code == 501, answer.text
            told = answer.json()
            if path.startswith("/v1/"):
                assert told["error"]["code"] == "not_installed"
                assert "make petals" in told["error"]["message"]
            else:
                assert (told["code"], told["cure"]) == ("not_installed", "make petals")

    asyncio.run(go())
