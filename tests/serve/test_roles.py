"""Every route with every role and with none: the whole table."""

import asyncio
from pathlib import Path

import httpx

from cluster.manager import Manager
from governance.accounts import Caller, Role
from serve import app
from serve.roles import OPEN, ROLE_OF
from tests.cluster.here import Here
from tests.serve import inside

NOT_ENTERED = {"/api/events/training", "/api/events/proposals"}
"""Streams do not end by themselves; whether they are let in is seen before they begin."""

VALUES = {
    "run_id": "0123456789ab", "audit_id": "0123456789ab", "step": "1", "name": "nobody",
    "key_id": "key-0123456789ab", "path": "0/000.p/1",
    "proposal_id": "prop-00000000000000000000000000", "generation_id": "0123456789abcdef",
}  # fmt: skip


def test_the_table_has_every_route_and_no_other() -> None:
    assert set(ROLE_OF) == app.routes()


def tokens_of(manager: Manager) -> dict[Role, str]:
    owner = Caller.owner()
    tokens = {}
    for role in Role:
        manager.accounts.add_account(f"the-{role}", "user", role, who=owner)
        key = manager.accounts.add_key(f"the-{role}", label="", days=1, quota={}, who=owner)
        tokens[role] = str(key["token"])
    return tokens


async def asked(client: httpx.AsyncClient, route: str, token: str | None) -> int:
    """Return the status of a route's answer, asked with nothing but a token."""
    method, _, path = route.partition(" ")
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    answer = client.request(method, path.format(**VALUES), headers=headers)
    if path in NOT_ENTERED:
        try:
            return (await asyncio.wait_for(answer, 0.5)).status_code
        except TimeoutError:
            return 200
    return (await answer).status_code


def test_every_route_lets_in_its_role_and_those_above_and_nobody_else(tmp_path: Path) -> None:
    async def go() -> dict[str, list[int]]:
        async with inside.application(tmp_path, Here(cpus=0)) as (behind, manager):
            tokens = [None, *tokens_of(manager).values()]
            async with inside.client(behind) as client:
                del client.headers["authorization"]
                return {
                    route: [await asked(client, route, token) for token in tokens]
                    for route in sorted(ROLE_OF)
                }

    statuses = asyncio.run(go())
    assert {route: [refusal(one) for one in found] for route, found in statuses.items()} == {
        route: [expected(needed, role) for role in (None, *Role)]
        for route, needed in sorted(ROLE_OF.items())
    }


def refusal(status: int) -> int | None:
    """Return a status that tells a refusal for who one is, else None."""
    return status if status in {401, 403} else None


def expected(needed: Role | None, role: Role | None) -> int | None:
    """Return the refusal that a role must meet where another is needed."""
    if needed is OPEN:
        return None
    if role is None:
        return 401
    return None if role.covers(needed) else 403
