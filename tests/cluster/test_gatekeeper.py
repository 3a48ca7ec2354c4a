"""The gate in the way of every run: what it stops, at which door, and what it leaves behind."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.gatekeeper import POLICY, VERDICT
from cluster.manager import Manager
from evidence import canonical, pack
from evidence.errors import ApprovalNeeded, PolicyDenied, PolicyUnreadable, ServiceError
from evidence.signing import unverified_statement
from evidence.verdict import Outcome, Verdict, of_statement
from governance import policy as policies
from governance.approvals import Approval, digest_of_model
from tests.cluster import here, small
from tests.cluster.here import Here, managed, opened, until
from tests.evidence import judging
from tests.governance.small import PROPOSAL

TEXT = policies.SHIPPED.read_text()
NO_MNIST = TEXT.replace("denied = []", 'denied = ["mnist"]', 2).replace(
    '"local:*"]\ndenied = ["mnist"]', '"local:*"]\ndenied = []'
)
WANTS_PROPOSAL = TEXT.replace("datasets = []", 'datasets = ["mnist"]')


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def obey(manager: Manager, home: Path, text: str) -> Path:
    """Put another policy in force."""
    path = home / "policy.toml"
    path.write_text(text)
    manager.gate._path = path
    return path


def approval(**changes: Any) -> Approval:
    config = small.config()
    whole: dict[str, Any] = {
        "proposal_id": PROPOSAL,
        "dataset": "mnist",
        "dataset_digests": small.DATA,
        "model": "mlp",
        "model_digest": digest_of_model(config.model.model_dump(mode="json")),
        "most_steps": config.steps,
        "accepted_at": "2026-01-01T00:00:00.000Z",
        "expires_at": "2026-12-01T00:00:00.000Z",
        "record_digest": "b" * 64,
    }
    return Approval.model_validate({**whole, **changes})


async def submit(manager: Manager, **overrides: Any) -> str:
    view = await manager.submit(small.request(**overrides), who="api")
    return str(view["run_id"])


def verdicts(manager: Manager, run_id: str) -> list[Verdict]:
    lines = manager.registry.folder(run_id).verdicts.lines
    return [of_statement(unverified_statement(line)) for line in lines]


def journal(manager: Manager, action: str) -> list[dict[str, Any]]:
    records = [canonical.decode_object(line) for line in manager.audit]
    return [record for record in records if record["action"] == action]


# -- a run that it lets through ----------------------------------------------------------------


def test_the_verdict_is_signed_before_the_commitment_which_names_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "succeeded")
            folder = manager.registry.folder(run_id)
            (said,) = verdicts(manager, run_id)
            assert (said.verdict, said.run_id, said.attempt) == (Outcome.ALLOW, run_id, 1)
            assert said.data == small.DATA
            commitment = folder.records.commitment()
            assert commitment is not None
            assert commitment.previous == folder.verdicts.last_sha256
            first, second = manager.notary.enter(
                [folder.verdicts.lines[0], folder.records.lines[0]]
            )
            assert first < second

    run(test)


def test_the_pack_has_the_verdict_and_check_21_passes(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "succeeded")
            root = manager.registry.folder(run_id).paths.root
            assert pack.format_of(pack.list_files(root)) == 3
            checks = {check.id: check for check in judging.judge(root).checks}
            assert checks["governance.verdict"].result == "passed"
            assert judging.failed(root) == []

    run(test)


def test_a_resumed_run_comes_to_the_gate_again_and_its_pack_verifies(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(here.committed_endless)
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager)
            await here.started(cluster, 1)
            await here.held(lambda: manager.view(run_id)["step"] == 1)
        cluster.work = here.committed
        async with managed(tmp_path, cluster, session="two") as manager:
            await until(manager, run_id, "interrupted")
            await manager.resume(run_id, who="api")
            await until(manager, run_id, "succeeded")
            assert [one.attempt for one in verdicts(manager, run_id)] == [1, 2]
            assert judging.failed(manager.registry.folder(run_id).paths.root) == []

    run(test)


# -- what it stops at the door -----------------------------------------------------------------


def test_a_denied_run_is_refused_with_its_rules_and_cures_and_leaves_no_folder(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            obey(manager, tmp_path, NO_MNIST)
            size = manager.notary.log_view()["size"]
            with pytest.raises(PolicyDenied) as caught:
                await submit(manager)
            (rule,) = caught.value.rules or ()
            assert (rule["rule"], rule["outcome"]) == ("dataset", "deny")
            assert rule["cure"]
            assert manager.page(state=None, offset=0, limit=10)["total"] == 0
            assert manager.notary.log_view()["size"] == size + 1
            (told,) = journal(manager, VERDICT)
            assert (told["verdict"], told["run_id"], told["rules"]) == ("deny", None, ["dataset"])

    run(test)


@pytest.mark.parametrize(
    "overrides",
    [
        {"name": "cifar10"},
        {"recipe": "mnist_mlp"},
        {"device": "CPU", "seed": 2},
        {"approval": PROPOSAL},
    ],
)
def test_no_other_field_of_a_config_leads_around_the_gate(
    tmp_path: Path, overrides: dict[str, Any]
) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            obey(manager, tmp_path, NO_MNIST)
            with pytest.raises(PolicyDenied):
                await submit(manager, **overrides)

    run(test)


def test_an_override_of_the_data_set_is_judged_and_not_the_recipe(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            obey(manager, tmp_path, NO_MNIST)
            request = {"recipe": "cifar10_resnet", "overrides": {"dataset": "mnist"}}
            with pytest.raises(PolicyDenied):
                await manager.submit(request, who="api")

    run(test)


def test_a_run_that_needs_a_proposal_is_refused_until_it_cites_an_accepted_one(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            obey(manager, tmp_path, WANTS_PROPOSAL)
            with pytest.raises(ApprovalNeeded, match="cites no proposal"):
                await submit(manager)
            with pytest.raises(ApprovalNeeded, match="was accepted"):
                await submit(manager, approval=PROPOSAL)
            manager.gate.approvals = lambda: (approval(),)
            run_id = await submit(manager, approval=PROPOSAL)
            await until(manager, run_id, "succeeded")
            (said,) = verdicts(manager, run_id)
            assert [one.record_digest for one in said.approvals] == ["b" * 64]
            root = manager.registry.folder(run_id).paths.root
            checks = {check.id: check for check in judging.judge(root).checks}
            assert PROPOSAL in checks["governance.verdict"].detail

    run(test)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset_digests": {"data.npy": "c" * 64}},
        {"expires_at": "2026-01-02T00:00:00.000Z"},
        {"dataset": "cifar10"},
    ],
)
def test_an_approval_of_other_bytes_or_of_the_past_is_none(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            obey(manager, tmp_path, WANTS_PROPOSAL)
            manager.gate.approvals = lambda: (approval(**changes),)
            with pytest.raises(ApprovalNeeded):
                await submit(manager, approval=PROPOSAL)

    run(test)


# -- what it stops later -----------------------------------------------------------------------


def test_a_run_that_waits_is_judged_by_the_policy_of_its_placement(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(here.committed_endless, cpus=1)
        async with managed(tmp_path, cluster) as manager:
            first = await submit(manager)
            await here.started(cluster, 1)
            second = await submit(manager)
            obey(manager, tmp_path, NO_MNIST)
            await manager.cancel(first, who="api")
            view = await until(manager, second, "failed")
            assert view["error"]["code"] == "policy_denied"
            assert [one.verdict for one in verdicts(manager, second)] == [Outcome.DENY]

    run(test)


def test_a_run_that_failed_at_the_gate_cannot_be_resumed_past_it(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(here.committed_endless, cpus=1)
        async with managed(tmp_path, cluster) as manager:
            first = await submit(manager)
            await here.started(cluster, 1)
            second = await submit(manager)
            obey(manager, tmp_path, NO_MNIST)
            await manager.cancel(first, who="api")
            await until(manager, second, "failed")
            with pytest.raises(PolicyDenied):
                await manager.resume(second, who="api")
            cluster.work = here.committed
            obey(manager, tmp_path, TEXT)
            await manager.resume(second, who="api")
            await until(manager, second, "succeeded")
            said = [one.verdict for one in verdicts(manager, second)]
            assert said == [Outcome.DENY, Outcome.ALLOW]
            assert judging.failed(manager.registry.folder(second).paths.root) == []

    run(test)


def test_other_bytes_on_the_disk_are_denied(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            shelf = manager.shelf
            assert isinstance(shelf, here.Stocked)
            shelf.on_disk = {"data.npy": "c" * 64}
            with pytest.raises(PolicyDenied, match="rule digests"):
                await submit(manager)

    run(test)


def test_bytes_that_change_behind_the_gate_end_the_run_before_step_1(tmp_path: Path) -> None:
    async def swapped(trainer: here.Trainer) -> None:
        told = small.described(trainer.config, {"data.npy": "c" * 64})
        ticket = trainer.ticket
        await trainer._manager.attempt_started(ticket.run_id, ticket.attempt, **told)
        await trainer.train()

    async def test() -> None:
        async with managed(tmp_path, Here(swapped)) as manager:
            run_id = await submit(manager)
            view = await until(manager, run_id, "failed")
            assert view["error"]["code"] == "digest_mismatch"
            assert "the data gate let" in view["error"]["detail"]
            assert view["step"] == 0
            assert manager.registry.folder(run_id).records.lines == []

    run(test)


# -- the policy --------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["v = ", "", 'v = 1\n[licences]\nallowed = ["Free"]\n', None])
def test_a_policy_that_cannot_be_read_stops_new_runs(tmp_path: Path, damage: str | None) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            path = obey(manager, tmp_path, damage or "")
            if damage is None:
                path.unlink()
            with pytest.raises(PolicyUnreadable):
                await submit(manager)

    run(test)


def test_a_queued_run_waits_while_the_policy_cannot_be_read(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(here.committed_endless, cpus=1)
        async with managed(tmp_path, cluster) as manager:
            first = await submit(manager)
            await here.started(cluster, 1)
            second = await submit(manager)
            path = obey(manager, tmp_path, "v = ")
            await manager.cancel(first, who="api")
            await here.held(lambda: "policy" in str(manager.view(second)["pending_reason"]))
            cluster.work = here.committed
            path.write_text(TEXT)
            await until(manager, second, "succeeded")

    run(test)


def test_a_change_of_the_policy_is_a_line_of_the_journal_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            await submit(manager)
            path = obey(manager, tmp_path, TEXT + "# another\n")
            await submit(manager)
            await submit(manager)
            first, second = journal(manager, POLICY)
            assert (first["before"], second["before"]) == (None, first["after"])
            assert second["after"] == policies.read(path).sha256
        manager = opened(tmp_path, Here())
        manager.gate._path = path
        manager.gate.policy()
        assert len(journal(manager, POLICY)) == 2
        await here.killed(manager)

    run(test)


def test_what_the_gate_said_of_a_data_set_can_be_read_newest_first(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.committed)) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "succeeded")
            obey(manager, tmp_path, NO_MNIST)
            with pytest.raises(ServiceError):
                await submit(manager)
            told = manager.gate.verdicts("mnist", limit=5)
            assert [one["verdict"] for one in told] == ["deny", "allow"]
            assert manager.gate.verdicts("cifar10", limit=5) == []

    run(test)
