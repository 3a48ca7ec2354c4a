"""Accounts over HTTP: tokens shown once, sessions of browsers, quotas, usage, the journal."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.manager import Manager
from evidence import canonical, digest
from serve.guard import COOKIE
from tests.cluster import small
from tests.cluster.here import Here, until
from tests.serve.inside import BASE, TOKEN, against

RUNS = "/api/training/runs"


async def made(client: httpx.AsyncClient, name: str = "alice", **key: Any) -> dict[str, Any]:
    """Make an operator with a key and return the key with its token."""
    user = {"name": name, "role": key.pop("role", "operator"), "kind": key.pop("kind", "user")}
    await client.post("/api/users", json=user)
    answer = await client.post("/api/keys", json={"account": name, **key})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_token_is_shown_once(tmp_path: Path) -> None:
    tokens: list[str] = []

    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        key = await made(client, label="laptop")
        tokens.append(key["token"])
        listed = await client.get("/api/keys")
        assert [one["key_id"] for one in listed.json()["keys"]] == [key["key_id"]]
        revoked = await client.delete(f"/api/keys/{key['key_id']}")
        for answer in (listed, revoked, await client.get("/api/audit")):
            assert key["token"] not in answer.text

    against(tmp_path, test)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if tokens[0].encode() in path.read_bytes()] == []


def test_a_key_works_until_it_is_revoked(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        key = await made(client)
        assert (await client.get(RUNS, headers=bearer(key["token"]))).status_code == 200
        assert (await client.delete(f"/api/keys/{key['key_id']}")).json()["in_force"] is False
        assert (await client.get(RUNS, headers=bearer(key["token"]))).status_code == 401

    against(tmp_path, test)


def test_a_role_that_is_too_small_is_told_which_is_needed(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        key = await made(client, role="viewer")
        answer = await client.post(RUNS, json={}, headers=bearer(key["token"]))
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (403, "forbidden")
        assert (problem["expected"], problem["found"]) == ("operator", "viewer")

    against(tmp_path, test)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/users", {"name": "Alice"}, "name"),
        ("/api/users", {"name": "alice", "role": "god"}, "role"),
        ("/api/users", {"name": "alice", "more": 1}, "more"),
        ("/api/keys", {"account": "alice", "days": 0}, "days"),
        ("/api/keys", {"account": "alice", "quota": {"runs": 1}}, "quota.runs"),
        ("/api/session", {}, "token"),
        ("/api/session", {"token": "caf\u00e9"}, "token"),
    ],
)
def test_a_wrong_field_is_named(
    tmp_path: Path, path: str, body: dict[str, Any], field: str
) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await client.post(path, json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, field)

    against(tmp_path, test)


# -- sessions ------------------------------------------------------------------------------------


def browser(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Return a client of the same application with a cookie jar and no token."""
    return httpx.AsyncClient(transport=client._transport, base_url=BASE)


async def signed_in(page: httpx.AsyncClient, token: str = TOKEN) -> dict[str, Any]:
    answer = await page.post("/api/session", json={"token": token})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_browser_signs_in_changes_something_and_signs_out(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        page = browser(client)
        session = await signed_in(page)
        assert (session["account"], session["role"]) == ("owner", "admin")
        assert (await page.get("/api/session")).json() == session
        csrf = {"x-csrf-token": session["csrf"]}
        done = await page.post("/api/users", json={"name": "bob"}, headers=csrf)
        assert done.status_code == 200
        assert (await page.delete("/api/session", headers=csrf)).json()["ended"] is True
        assert (await page.get("/api/session")).status_code == 401

    against(tmp_path, test)


def test_the_cookie_is_for_no_script_and_no_other_site(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await browser(client).post("/api/session", json={"token": TOKEN})
        parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
        assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= parts
        assert answer.cookies[COOKIE] not in answer.text

    against(tmp_path, test)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - a setting, nothing binds
def test_beyond_loopback_the_cookie_travels_by_tls_only(tmp_path: Path, host: str) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        answer = await browser(client).post("/api/session", json={"token": TOKEN})
        is_secure = "secure" in answer.headers["set-cookie"].lower()
        assert is_secure is (host != "127.0.0.1")

    against(tmp_path, test, host=host)


@pytest.mark.parametrize("csrf", [None, "", "0" * 64])
def test_a_page_without_the_csrf_token_changes_nothing(tmp_path: Path, csrf: str | None) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        page = browser(client)
        await signed_in(page)
        headers = {} if csrf is None else {"x-csrf-token": csrf}
        answers = [
            await page.post("/api/users", json={"name": "bob"}, headers=headers),
            await page.delete("/api/session", headers=headers),
        ]
        for answer in answers:
            assert (answer.status_code, answer.json()["field"]) == (403, "x-csrf-token")
        assert (await page.get("/api/users")).json()["users"] == []

    against(tmp_path, test)


def test_the_csrf_token_of_one_session_is_none_of_another(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        first, second = browser(client), browser(client)
        csrf = (await signed_in(first))["csrf"]
        await signed_in(second)
        answer = await second.delete("/api/session", headers={"x-csrf-token": csrf})
        assert answer.status_code == 403

    against(tmp_path, test)


def test_a_wrong_token_is_not_made_good_by_a_cookie(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        page = browser(client)
        await signed_in(page)
        assert (await page.get(RUNS, headers=bearer("wrong"))).status_code == 401

    against(tmp_path, test)


def test_a_page_of_another_origin_cannot_sign_in(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        headers = {"origin": "http://evil.example"}
        answer = await client.post("/api/session", json={"token": TOKEN}, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)

    against(tmp_path, test)


def test_guesses_are_refused_and_then_limited_and_a_good_token_with_them(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        page = browser(client)
        most = manager.settings.max_sign_ins
        tried = [
            (await page.post("/api/session", json={"token": f"guess-{n}"})).status_code
            for n in range(most)
        ]
        assert tried == [401] * most
        answer = await page.post("/api/session", json={"token": TOKEN})
        assert (answer.status_code, answer.json()["field"]) == (429, "max_sign_ins")
        refused = await client.get("/api/audit", params={"action": "session.refused"})
        assert len(refused.json()["lines"]) == most
        assert "guess-" not in refused.text

    against(tmp_path, test)


def test_many_guesses_at_once_are_counted_before_they_are_looked_up(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        page = browser(client)
        guesses = [page.post("/api/session", json={"token": f"g{n}"}) for n in range(50)]
        answers = [one.status_code for one in await asyncio.gather(*guesses)]
        assert answers.count(401) == manager.settings.max_sign_ins
        assert answers.count(429) == 50 - manager.settings.max_sign_ins

    against(tmp_path, test)


def test_a_token_has_no_session(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        view = (await client.get("/api/session")).json()
        assert (view["account"], view["csrf"], view["expires"]) == ("owner", None, None)
        assert (await client.delete("/api/session")).json()["ended"] is False

    against(tmp_path, test)


# -- quotas and usage ----------------------------------------------------------------------------


def test_a_quota_stops_the_run_after_the_last_that_fits(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        key = await made(client, quota={"steps_per_day": 12})
        statuses = []
        for _attempt in range(3):
            answer = await client.post(RUNS, json=small.request(), headers=bearer(key["token"]))
            statuses.append((answer.status_code, answer.json().get("field")))
        assert statuses == [(200, None), (200, None), (429, "quota.steps_per_day")]
        assert (await client.post(RUNS, json=small.request())).status_code == 200

    against(tmp_path, test)


def test_usage_is_by_key_and_a_user_sees_only_the_own(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        alice, bob = await made(client), await made(client, "bob")
        for key in (alice, alice, bob):
            answer = await client.post(RUNS, json=small.request(), headers=bearer(key["token"]))
            await until(manager, answer.json()["run_id"], "succeeded")
        told = (await client.get("/api/usage")).json()["usage"]
        assert [(one["account"], one["runs"], one["steps"]) for one in told] == [
            ("alice", 2, 12), ("bob", 1, 6),
        ]  # fmt: skip
        assert all(one["bytes"] > 0 for one in told)
        own = (await client.get("/api/usage", headers=bearer(bob["token"]))).json()["usage"]
        assert [one["key_id"] for one in own] == [bob["key_id"]]

    against(tmp_path, test, cluster=Here())


def test_usage_survives_a_restart(tmp_path: Path) -> None:
    told: list[Any] = []

    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        if not told:
            answer = await client.post(RUNS, json=small.request())
            await until(manager, answer.json()["run_id"], "succeeded")
        told.append((await client.get("/api/usage")).json())

    against(tmp_path, test, cluster=Here())
    against(tmp_path, test, cluster=Here())
    assert told[0] == told[1]


# -- the audit journal ---------------------------------------------------------------------------


def test_each_change_of_an_account_is_a_line_with_who_where_and_digests(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        key = await made(client)
        await client.patch("/api/users/alice", json={"role": "viewer"})
        await client.delete(f"/api/keys/{key['key_id']}")
        lines = (await client.get("/api/audit", params={"who": "owner"})).json()["lines"]
        assert [line["action"] for line in lines] == [
            "account.added", "key.added", "account.changed", "key.revoked",
        ]  # fmt: skip
        assert {(line["key"], line["origin"]) for line in lines} == {("file", "127.0.0.1")}
        added, changed = lines[0], lines[2]
        assert (added["before"], changed["before"]) == (None, added["after"])
        assert changed["after"] != changed["before"]

    against(tmp_path, test)


def test_a_run_names_who_submitted_it_and_its_states_follow_each_other(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        key = await made(client)
        answer = await client.post(RUNS, json=small.request(), headers=bearer(key["token"]))
        run_id = answer.json()["run_id"]
        await until(manager, run_id, "succeeded")
        lines = (await client.get("/api/audit", params={"thing": run_id})).json()["lines"]
        assert [line["state"] for line in lines] == ["queued", "running", "succeeded"]
        assert (lines[0]["who"], lines[0]["key"]) == ("alice", key["key_id"])
        assert [line["before"] for line in lines] == [None, lines[0]["after"], lines[1]["after"]]
        state = {"run_id": run_id, "state": "succeeded"}
        assert lines[-1]["after"] == digest.of_record(state)

    against(tmp_path, test, cluster=Here())


def test_pages_follow_each_other_and_give_the_file(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        for name in ("a", "b", "c", "d"):
            await client.post("/api/users", json={"name": name})
        lines: list[Any] = []
        after = 0
        while after < manager.audit.last_seq:
            page = (await client.get("/api/audit", params={"after": after, "limit": 2})).json()
            lines += page["lines"]
            after = page["next_after"]
        data = b"".join(canonical.encode(line) + b"\n" for line in lines)
        assert data == (tmp_path / "audit.jsonl").read_bytes()

    against(tmp_path, test)


def test_lines_are_found_by_moment(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        await client.post("/api/users", json={"name": "a"})
        (line,) = (await client.get("/api/audit", params={"action": "account."})).json()["lines"]
        second = line["timestamp"][:19] + "Z"
        for query, found in (
            ({"since": second}, 1), ({"until": second}, 0), ({"since": "2999-01-01"}, 0),
        ):  # fmt: skip
            page = await client.get("/api/audit", params={"action": "account.", **query})
            assert len(page.json()["lines"]) == found

    against(tmp_path, test)
