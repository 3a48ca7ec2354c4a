"""Proposals over HTTP: drafts completed, votes by those who may, what is told and what is kept."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.manager import Manager
from evidence import canonical, digest
from tests.cluster import small
from tests.cluster.here import Here, until
from tests.governance.proposing import ETHICS, HARMS
from tests.serve import inside
from tests.serve.inside import TOKEN, against
from tests.serve.test_accounts import bearer, made

RUNS, PROPOSALS = "/api/training/runs", "/api/proposals"
UNKNOWN = "prop-00000000000000000000000000"


def draft(**changes: Any) -> dict[str, Any]:
    written = {
        "title": "A longer run",
        "summary": "Train the small model for longer.",
        "change_type": "upgrade",
        "training": {"model": "mlp", "steps": 300, "dataset": "mnist"},
        "ethics": ETHICS,
        **changes,
    }
    return {name: value for name, value in written.items() if value is not None}


async def proposed(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post(PROPOSALS, json=draft(**changes))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def voters(client: httpx.AsyncClient) -> dict[str, dict[str, str]]:
    """Return the headers of a person and of a program that may vote."""
    person = await made(client, "rita", role="reviewer")
    program = await made(client, "robot", role="reviewer", kind="service")
    return {"human": bearer(person["token"]), "ai": bearer(program["token"])}


async def voted(
    client: httpx.AsyncClient, proposal_id: str, side: str, verdict: str, headers: dict[str, str]
) -> httpx.Response:
    body = {"side": side, "verdict": verdict, "reasons": ["because"]}
    return await client.post(f"{PROPOSALS}/{proposal_id}/consensus", json=body, headers=headers)


@pytest.mark.parametrize(
    ("ai", "human", "state"),
    [
        ("pass", "pass", "accepted"),
        ("pass", "fail", "rejected"),
        ("fail", "pass", "rejected"),
        ("fail", "fail", "rejected"),
    ],
)
def test_the_four_cases_of_consensus(tmp_path: Path, ai: str, human: str, state: str) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        headers, proposal = await voters(client), await proposed(client)
        assert proposal["state"] == "pending"
        path = proposal["proposal_id"]
        first = await voted(client, path, "ai", ai, headers["ai"])
        assert first.json()["state"] == ("under_review" if ai == "pass" else "rejected")
        view = (await voted(client, path, "human", human, headers["human"])).json()
        assert view["state"] == state
        assert (view["approval"] is not None) is (state == "accepted")
        assert [vote["verdict"] for vote in view["history"]] == [ai, human]

    against(tmp_path, test)


def test_what_a_proposal_allows_is_bound_to_digests_and_expires(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        headers, proposal = await voters(client), await proposed(client)
        for side in ("ai", "human"):
            await voted(client, proposal["proposal_id"], side, "pass", headers[side])
        (approval,) = manager.proposals.approvals()
        assert approval.dataset_digests == proposal["training"]["dataset_digests"]
        assert approval.model_digest == proposal["training"]["model_digest"]
        assert (approval.most_steps, approval.model) == (300, "mlp")
        assert approval.is_current(approval.accepted_at)
        assert not approval.is_current(approval.expires_at)
        records = manager.notary.entries()
        assert approval.record_digest in {digest.of_bytes(entry) for entry in records}

    against(tmp_path, test)


def test_a_final_proposal_takes_no_further_vote(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        headers, proposal = await voters(client), await proposed(client)
        path = proposal["proposal_id"]
        await voted(client, path, "human", "fail", headers["human"])
        again = await voted(client, path, "human", "pass", headers["human"])
        assert (again.status_code, again.json()["code"]) == (409, "conflict")
        late = await voted(client, path, "ai", "pass", headers["ai"])
        assert (late.status_code, late.json()["state"]) == (200, "rejected")

    against(tmp_path, test)


def test_the_author_does_not_vote_whatever_role_they_have(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        proposal = await proposed(client)
        answer = await voted(client, proposal["proposal_id"], "human", "pass", {})
        assert (answer.status_code, answer.json()["field"]) == (403, "author")

    against(tmp_path, test)


@pytest.mark.parametrize(("side", "of"), [("human", "ai"), ("ai", "human")])
def test_a_program_does_not_cast_the_human_vote_nor_a_person_the_other(
    tmp_path: Path, side: str, of: str
) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        headers, proposal = await voters(client), await proposed(client)
        answer = await voted(client, proposal["proposal_id"], side, "pass", headers[of])
        assert (answer.status_code, answer.json()["field"]) == (403, "side")

    against(tmp_path, test)


def test_votes_are_signed_records_in_the_log_and_are_never_overwritten(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        headers, proposal = await voters(client), await proposed(client)
        path = proposal["proposal_id"]
        await voted(client, path, "human", "pass", headers["human"])
        view = (await voted(client, path, "human", "fail", headers["human"])).json()
        assert [vote["verdict"] for vote in view["history"]] == ["pass", "fail"]
        entries = manager.notary.entries()
        for record in [view["record"], *(vote["record"] for vote in view["history"])]:
            assert digest.of_bytes(entries[record["log_index"]]) == record["sha256"]

    against(tmp_path, test)


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"title": "ab"}, 422, "title"),
        ({"summary": "x" * 9}, 422, "summary"),
        ({"summary": "x" * 501}, 422, "summary"),
        ({"change_type": "rewrite"}, 422, "change_type"),
        ({"training": {"model": "mlp", "steps": 0, "dataset": "mnist"}}, 422, "training.steps"),
        (
            {"training": {"model": "mlp", "steps": 10_001, "dataset": "mnist"}},
            422,
            "training.steps",
        ),
        ({"training": {"model": "llm", "steps": 9, "dataset": "mnist"}}, 422, "training.model"),
        (
            {"training": {"model": "mlp", "steps": 9, "dataset": "imagenet"}},
            422,
            "training.dataset",
        ),
        ({"training": {"model": "gpt", "steps": 9, "dataset": "mnist"}}, 422, "training.model"),
        ({"ethics": {**ETHICS, "compliance_score": 2}}, 422, "ethics.compliance_score"),
        ({"ethics": {**ETHICS, "bias_assessment": "none"}}, 422, "ethics.bias_assessment"),
        ({"ethics": {**ETHICS, "harms": {"security": HARMS["security"]}}}, 422, "ethics"),
        ({"runs": ["0123456789ab"]}, 404, "run_id"),
        ({"runs": ["nonsense"]}, 422, "runs.0"),
        ({"supersedes": UNKNOWN}, 404, "proposal_id"),
        ({"author": "mallory"}, 422, "author"),
        ({"metrics": {"accuracy": 1}}, 422, "metrics"),
        ({"proposal_id": UNKNOWN}, 422, "proposal_id"),
    ],
)
def test_each_bad_field_is_named(
    tmp_path: Path, changes: dict[str, Any], status: int, field: str
) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        answer = await client.post(PROPOSALS, json=draft(**changes))
        assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
        assert manager.proposals.stats()["records"] == 0

    against(tmp_path, test)


def test_a_move_of_the_phase_is_refused_as_nothing_verifies_its_probe(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        move = {"to": "stage2", "probe_sha256": "0" * 64}
        answer = await client.post(PROPOSALS, json=draft(phase=move))
        assert (answer.status_code, answer.json()["field"]) == (409, "phase")
        assert (await client.get(PROPOSALS)).json()["total"] == 0

    against(tmp_path, test)


def test_a_draft_from_a_run_takes_its_training_and_measures(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        run_id = (await client.post(RUNS, json=small.request())).json()["run_id"]
        early = await client.post(PROPOSALS, json=draft(training=None, from_run=run_id))
        assert early.status_code == 409
        run = await until(manager, run_id, "succeeded")
        view = await proposed(client, training=None, from_run=run_id)
        (cited,) = view["runs"]
        assert (cited["run_id"], cited["author"], cited["step"]) == (run_id, "owner", 6)
        assert cited["test_accuracy"] == run["last_metrics"]["test"]["accuracy"]
        assert view["training"]["steps"] == 6
        assert view["training"]["model_digest"] == digest.of_record(run["config"]["model"])

    against(tmp_path, test, cluster=Here())


def test_a_proposal_that_replaces_one_ends_what_that_allowed(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        headers, first = await voters(client), await proposed(client)
        early = await client.post(PROPOSALS, json=draft(supersedes=first["proposal_id"]))
        assert (early.status_code, early.json()["field"]) == (409, "supersedes")
        for side in ("ai", "human"):
            await voted(client, first["proposal_id"], side, "pass", headers[side])
        second = await proposed(client, supersedes=first["proposal_id"])
        assert len(manager.proposals.approvals()) == 1
        for side in ("ai", "human"):
            await voted(client, second["proposal_id"], side, "pass", headers[side])
        (approval,) = manager.proposals.approvals()
        assert approval.proposal_id == second["proposal_id"]
        replaced = (await client.get(f"{PROPOSALS}/{first['proposal_id']}")).json()
        assert replaced["superseded_by"] == second["proposal_id"]

    against(tmp_path, test)


def test_lists_are_filtered_and_paged(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        headers = await voters(client)
        ids = [(await proposed(client, title=f"Number {n}"))["proposal_id"] for n in range(5)]
        await voted(client, ids[0], "human", "fail", headers["human"])
        page = (await client.get(PROPOSALS, params={"limit": 2, "offset": 1})).json()
        assert [one["proposal_id"] for one in page["proposals"]] == [ids[3], ids[2]]
        assert (page["total"], page["next_offset"]) == (5, 3)
        for query, found in (
            ({"state": "rejected"}, 1), ({"author": "owner"}, 5), ({"author": "x"}, 0),
            ({"change_type": "patch"}, 0), ({"dataset": "mnist", "state": "pending"}, 4),
        ):  # fmt: skip
            assert (await client.get(PROPOSALS, params=query)).json()["total"] == found
        stats = (await client.get(f"{PROPOSALS}/stats")).json()
        assert (stats["by_state"]["rejected"], stats["votes"]["human"]["fail"]) == (1, 1)

    against(tmp_path, test)


def test_500_submissions_at_once_each_twice_are_500_proposals(tmp_path: Path) -> None:
    async def submit(client: httpx.AsyncClient, number: int) -> str:
        headers = {"idempotency-key": f"key-{number}"}
        answer = await client.post(PROPOSALS, json=draft(title=f"T {number}"), headers=headers)
        return str(answer.json()["proposal_id"])

    async def test(client: httpx.AsyncClient, manager: Manager) -> None:
        numbers = [*range(500), *range(500)]
        ids = await asyncio.gather(*(submit(client, number) for number in numbers))
        assert ids[:500] == ids[500:]
        assert len(set(ids)) == 500
        stats = (await client.get(f"{PROPOSALS}/stats")).json()
        assert (stats["total"], stats["records"]) == (500, 500)
        assert len(manager.notary.entries()) == 500

    against(tmp_path, test)


def test_a_key_that_was_used_for_another_draft_is_refused(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        headers = {"idempotency-key": "k"}
        await client.post(PROPOSALS, json=draft(), headers=headers)
        answer = await client.post(PROPOSALS, json=draft(title="Other"), headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (409, "Idempotency-Key")

    against(tmp_path, test)


def test_proposals_survive_a_restart_and_the_loss_of_their_folder(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        if not seen:
            headers, proposal = await voters(client), await proposed(client)
            await voted(client, proposal["proposal_id"], "ai", "pass", headers["ai"])
        seen.append((await client.get(PROPOSALS)).json())
        seen.append((await client.get("/api/audit", params={"action": "proposals."})).json())

    against(tmp_path, test)
    shutil.rmtree(tmp_path / "proposals")
    against(tmp_path, test)
    assert seen[0] == seen[2]
    (line,) = seen[3]["lines"]
    assert (line["action"], line["from_log"]) == ("proposals.recovered", 2)


def test_each_move_is_a_line_of_the_journal_and_an_event(tmp_path: Path) -> None:
    async def test(client: httpx.AsyncClient, _: Manager) -> None:
        headers, proposal = await voters(client), await proposed(client)
        path = proposal["proposal_id"]
        await voted(client, path, "ai", "pass", headers["ai"])
        await voted(client, path, "human", "pass", headers["human"])
        lines = (await client.get("/api/audit", params={"thing": path})).json()["lines"]
        assert [(line["action"], line["state"]) for line in lines] == [
            ("proposal.submitted", "pending"),
            ("proposal.voted", "under_review"),
            ("proposal.voted", "accepted"),
        ]
        assert [line["who"] for line in lines] == ["owner", "robot", "rita"]
        assert [line["before"] for line in lines[1:]] == [line["after"] for line in lines[:-1]]
        assert [event["seq"] for event in await events(client, count=3)] == [
            line["seq"] for line in lines
        ]

    against(tmp_path, test)


async def events(client: httpx.AsyncClient, *, count: int) -> list[dict[str, Any]]:
    """Return the first events of the stream of proposals."""
    app = client._transport.app  # type: ignore[attr-defined]  # an ASGITransport
    found: list[dict[str, Any]] = []
    async with (
        inside.served(app) as url,
        httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}) as http,
        http.stream("GET", "/api/events/proposals") as answer,
    ):
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                assert line == "event: proposal"
            if line.startswith("data: "):
                found.append(canonical.decode_object(line.removeprefix("data: ").encode()))
            if len(found) == count:
                break
    assert not [event for event in found if "origin" in event]
    return found
