"""The manager with a cluster in this process: queue, supervision, doors, restarts."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster import manager as manager_module
from cluster import reading, sealing
from cluster.launching import Ticket
from cluster.manager import Manager
from cluster.placement import Node
from cluster.retention import Retention
from evidence import canonical, pack
from evidence.errors import (
    ConfigError,
    Conflict,
    DeviceMissing,
    NotFound,
    RateLimited,
    ReplayMismatch,
    StorageFull,
    TrainingDiverged,
)
from evidence.records import RunState
from tests.cluster import here, small
from tests.cluster.here import Here, Killed, Trainer, held, managed, started, until
from tests.cluster.small import Watch
from tests.evidence import judging
from tests.evidence.disks import small_disk


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine; all of it ends within a minute."""
    asyncio.run(asyncio.wait_for(test(), 60))


async def submit(manager: Manager, *, key: str | None = None, **overrides: Any) -> str:
    view = await manager.submit(small.request(**overrides), who="api", idempotency_key=key)
    return str(view["run_id"])


async def read(manager: Manager, run_id: str | None, after: int = 0) -> list[dict[str, Any]]:
    lines = await manager.events(run_id, after=after, limit=1000, wait_s=0)
    return [canonical.decode_object(line) for line in lines]


async def told(manager: Manager, run_id: str) -> list[str]:
    """Return the states and log names of a run, in order."""
    records = await read(manager, run_id)
    return [one.get("name") or one["state"] for one in records if "name" in one or "state" in one]


def failed_checks(manager: Manager, run_id: str) -> list[str]:
    return judging.failed(manager.registry.folder(run_id).paths.root)


def raising(error: Exception) -> here.Work:
    async def work(trainer: Trainer) -> None:
        await trainer.describe()
        await trainer.train(until=3)
        raise error

    return work


def lost(times: int, then: here.Work = here.whole) -> here.Work:
    async def work(trainer: Trainer) -> None:
        if trainer.number > times:
            return await then(trainer)
        await trainer.describe()
        await trainer.train(until=3)
        raise Killed

    return work


# -- a run ---------------------------------------------------------------------------------------


def test_a_run_goes_from_queued_to_a_sealed_pack(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here()) as manager:
            run_id = await submit(manager)
            view = await until(manager, run_id, "succeeded")
            assert view["sealed"] is True
            assert await told(manager, run_id) == ["queued", "running", "succeeded", "succeeded"]

    run(test)


def test_the_pack_of_a_run_verifies(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here()) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "succeeded")
            assert failed_checks(manager, run_id) == []

    run(test)


def test_the_pack_of_a_run_whose_trainer_was_lost_twice_verifies(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(lost(2))) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "succeeded")
            assert failed_checks(manager, run_id) == []

    run(test)


def test_readers_do_not_see_the_end_before_the_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []

    async def test() -> None:
        async with managed(tmp_path, Here()) as manager:
            loop = asyncio.get_running_loop()
            really_seal = sealing.seal_run

            async def look(run_id: str) -> None:
                folder = manager.registry.folder(run_id)
                last = manager.last_visible(run_id)
                journal = [one.get("state") for one in await read(manager, None)]
                seen.append(
                    (
                        manager.view(run_id)["status"],
                        await told(manager, run_id),
                        len(reading.logs(folder, after=0, last=last, limit=99)["logs"]),
                        manager.page(state=RunState.SUCCEEDED, offset=0, limit=1)["total"],
                        journal[-1],
                    )
                )

            def seal(folder: Any, notary: Any) -> Any:
                asyncio.run_coroutine_threadsafe(look(folder.run_id), loop).result(10)
                return really_seal(folder, notary)

            monkeypatch.setattr(manager_module, "seal_run", seal)
            await until(manager, await submit(manager), "succeeded")

    run(test)
    assert seen == [("running", ["queued", "running"], 2, 0, "running")]


def test_a_waiting_reader_is_woken_by_the_next_event(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.endless)) as manager:
            run_id = await submit(manager)
            lines = await manager.events(run_id, after=1, limit=10, wait_s=30)
            assert canonical.decode_object(lines[0])["seq"] == 2

    run(test)


def test_a_reader_of_a_silent_run_gets_nothing_after_its_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=0)) as manager:
            run_id = await submit(manager)
            assert await manager.events(run_id, after=1, limit=10, wait_s=0.01) == []

    run(test)


def test_an_unknown_run_is_not_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here()) as manager:
            with pytest.raises(NotFound):
                await manager.events("000000000000", after=0, limit=1, wait_s=1)

    run(test)


def test_the_service_journal_tells_every_change_of_state(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here()) as manager:
            await until(manager, await submit(manager), "succeeded")
            records = await read(manager, None)
            states = [one["state"] for one in records if one["action"] == "run.status"]
            assert states == ["queued", "running", "succeeded"]

    run(test)


# -- the door ------------------------------------------------------------------------------------


def test_a_config_over_a_limit_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(), max_steps=5) as manager:
            with pytest.raises(ConfigError, match="ZEROPOINT_MAX_STEPS"):
                await submit(manager)

    run(test)


def test_a_full_queue_takes_no_more(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=0), max_live_runs=2) as manager:
            await submit(manager)
            await submit(manager)
            with pytest.raises(RateLimited, match="max_live_runs"):
                await submit(manager)

    run(test)


def test_a_key_finds_its_run_though_the_queue_is_full(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=0), max_live_runs=1) as manager:
            made = await submit(manager, key="k")
            assert await submit(manager, key="k") == made

    run(test)


def test_a_nearly_full_disk_takes_no_run(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(), min_free_bytes=1 << 60) as manager:
            with pytest.raises(StorageFull, match="min_free_bytes"):
                await submit(manager)

    run(test)


# -- the queue -----------------------------------------------------------------------------------


def test_two_runs_train_at_once_on_two_slots(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(here.endless)
        async with managed(tmp_path, cluster) as manager:
            ids = [await submit(manager) for _ in range(3)]
            await started(cluster, 2)
            await manager._schedule()
            assert cluster.most_at_once == 2
            assert (
                manager.view(ids[2])["pending_reason"] == "all 2 CPU slots of 1 node(s) are taken"
            )
        await cluster.close()

    run(test)


def test_runs_start_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(cpus=1)
        async with managed(tmp_path, cluster) as manager:
            ids = [await submit(manager) for _ in range(4)]
            for run_id in ids:
                await until(manager, run_id, "succeeded")
            assert [ticket.run_id for ticket in cluster.started] == ids
            assert cluster.most_at_once == 1

    run(test)


def test_a_run_behind_one_that_waits_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=0)) as manager:
            first, second = await submit(manager), await submit(manager)
            await manager._schedule()
            assert manager.view(first)["pending_reason"] == "no node offers CPU for the device CPU"
            assert "no node offers" in str(manager.view(second)["pending_reason"])

    run(test)


def test_a_run_for_another_device_does_not_wait_behind(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here()) as manager:
            metal = await submit(manager, device="METAL")
            await until(manager, await submit(manager, device="CPU"), "succeeded")
            reason = manager.view(metal)["pending_reason"]
            assert reason == "no node offers METAL for the device METAL"

    run(test)


def test_a_run_with_more_threads_than_any_node_has_holds_up_no_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here()) as manager:
            wide = await submit(manager, kernel_set="native", threads=3)
            await until(manager, await submit(manager), "succeeded")
            reason = manager.view(wide)["pending_reason"]
            assert reason == "no node has CPU:3, which threads = 3 reserves; the largest has 2"

    run(test)


def test_a_run_starts_when_all_of_its_threads_have_slots(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here()
        async with managed(tmp_path, cluster) as manager:
            ids = [await submit(manager, kernel_set="native", threads=2) for _ in range(3)]
            for run_id in ids:
                await until(manager, run_id, "succeeded")
            assert cluster.most_at_once == 1
            assert [dict(t.place.resources) for t in cluster.started] == [{"CPU": 2.0}] * 3

    run(test)


def test_the_next_run_starts_when_one_is_cancelled(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(here.endless, cpus=1)
        async with managed(tmp_path, cluster) as manager:
            first, second = await submit(manager), await submit(manager)
            await until(manager, first, "running")
            await manager.cancel(first, who="api")
            await until(manager, second, "running")
        await cluster.close()

    run(test)


# -- trainers that end badly ---------------------------------------------------------------------


def test_a_lost_trainer_is_started_again_from_the_last_checkpoint(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(lost(1))
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "succeeded")
            assert [here._step(ticket.start) for ticket in cluster.started] == [0, 2]
            assert [ticket.attempt for ticket in cluster.started] == [1, 2]
            resumed = [one for one in await read(manager, run_id) if one.get("name") == "resumed"]
            assert [one["step"] for one in resumed] == [2]

    run(test)


def test_a_run_whose_trainer_is_lost_too_often_fails(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(lost(99))
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager, max_restarts=2)
            view = await until(manager, run_id, "failed")
            assert view["error"]["code"] == "trainer_lost"
            assert "lost 3 times, max_restarts = 2" in view["error"]["detail"]
            assert len(cluster.started) == 3

    run(test)


def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(raising(Killed()))) as manager:

            async def spoil_then_die(trainer: Trainer) -> None:
                await trainer.describe()
                await trainer.train(until=4)
                folder = manager.registry.folder(trainer.ticket.run_id)
                newest = folder.paths.checkpoints / "step_000004" / "model.safetensors"
                newest.write_bytes(b"other")
                raise Killed

            async def work(trainer: Trainer) -> None:
                await (spoil_then_die if trainer.number == 1 else here.whole)(trainer)

            manager._launcher.work = work  # type: ignore[attr-defined]  # it is a Here
            run_id = await submit(manager)
            await until(manager, run_id, "succeeded")
            damaged = [
                one["step"]
                for one in await read(manager, run_id)
                if one.get("name") == "checkpoint_damaged"
            ]
            assert damaged == [4]

    run(test)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (TrainingDiverged("loss is NaN at step 3"), "failed"),
        (DeviceMissing("METAL runs no kernel here"), "failed"),
        (ReplayMismatch("step 3 was done again"), "failed"),
        (StorageFull("no space"), "interrupted"),
    ],
)
def test_how_a_trainer_ends_decides_the_state(
    tmp_path: Path,
    error: TrainingDiverged | DeviceMissing | ReplayMismatch | StorageFull,
    state: str,
) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(raising(error))) as manager:
            view = await until(manager, await submit(manager), "failed", "interrupted")
            assert (view["status"], view["error"]) == (
                state,
                {"code": error.code, "detail": error.detail},
            )

    run(test)


def test_a_step_done_again_otherwise_fails_the_run(tmp_path: Path) -> None:
    async def other(trainer: Trainer) -> None:
        await trainer.describe()
        await trainer.train(data_seed=2)

    async def test() -> None:
        async with managed(tmp_path, Here(lost(1, other))) as manager:
            view = await until(manager, await submit(manager), "failed")
            assert view["error"]["code"] == "replay_mismatch"

    run(test)


def test_a_run_that_takes_too_long_fails(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.endless)) as manager:
            view = await until(manager, await submit(manager, max_wall_s=1), "failed")
            assert view["error"] == {
                "code": "limit_exceeded",
                "detail": "longer than max_wall_s = 1",
            }

    run(test)


def test_a_run_that_grows_too_large_fails(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(), max_run_bytes=5000) as manager:
            view = await until(manager, await submit(manager), "failed")
            assert view["error"]["code"] == "limit_exceeded"

    run(test)


def test_a_defect_of_the_cluster_fails_the_run_and_frees_its_slot(tmp_path: Path) -> None:
    class Broken(Here):
        async def start(self, ticket: Ticket) -> None:
            if not self.started:
                self.started.append(ticket)
                raise RuntimeError("no such node")
            await super().start(ticket)

    async def test() -> None:
        async with managed(tmp_path, Broken(cpus=1)) as manager:
            view = await until(manager, await submit(manager), "failed")
            assert view["error"] == {
                "code": "service_error",
                "detail": "RuntimeError: no such node",
            }
            await until(manager, await submit(manager), "succeeded")

    run(test)


def test_errors_and_events_are_counted(tmp_path: Path) -> None:
    counted: list[tuple[str, str]] = []

    async def test() -> None:
        cluster = Here(raising(TrainingDiverged("loss is NaN")))
        async with managed(tmp_path, cluster) as manager:
            manager._count = lambda name, label: counted.append((name, label))
            await until(manager, await submit(manager), "failed")

    run(test)
    assert counted.count(("event", "metric")) == 4
    assert counted.count(("event", "checkpoint")) == 1
    assert counted[-1] == ("error", "training_diverged")


# -- the loss of a node --------------------------------------------------------------------------


def leaving(cluster: Here, *others: Node, after_step: int) -> here.Work:
    """Return work whose first trainer dies with its node, in whose place `others` are there."""

    async def work(trainer: Trainer) -> None:
        if trainer.number > 1:
            return await here.whole(trainer)
        if after_step:
            await trainer.describe()
            await trainer.train(until=after_step)
        cluster.listed = list(others)
        raise Killed

    return work


def test_a_run_whose_node_is_lost_goes_on_elsewhere(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here()
        cluster.work = leaving(cluster, here.node("there", CPU=2), after_step=3)
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager, max_restarts=0)
            view = await until(manager, run_id, "succeeded")
            assert view["placement"]["node"] == "there"
            assert await told(manager, run_id) == [
                "queued", "running", "trainer_lost", "interrupted", "queued", "running", "resumed",
                "succeeded", "succeeded",
            ]  # fmt: skip
            assert cluster.started[1].start
            assert failed_checks(manager, run_id) == []

    run(test)


def test_a_run_whose_node_is_lost_waits_for_another_one(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here()
        cluster.work = leaving(cluster, after_step=3)
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager)
            await held(lambda: manager.view(run_id)["pending_reason"] is not None)
            assert manager.view(run_id)["pending_reason"] == "no node offers CPU for the device CPU"
            cluster.listed = [here.node("there", CPU=2)]
            await until(manager, run_id, "succeeded")

    run(test)


@pytest.mark.parametrize(("after_step", "status"), [(0, "succeeded"), (3, "queued")])
def test_a_run_changes_its_device_only_while_no_trainer_has_begun(
    tmp_path: Path, after_step: int, status: str
) -> None:
    async def test() -> None:
        cluster = Here()
        cluster.listed = [here.node("mac", CPU=2, METAL=1)]
        cluster.work = leaving(cluster, here.node("plain", CPU=2), after_step=after_step)
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager, device="auto")
            await started(cluster, 1)
            assert cluster.started[0].place.device == "METAL"
            await held(lambda: len(cluster.listed) == 1 and cluster.listed[0].node_id == "plain")
            await until(manager, run_id, status)

    run(test)


# -- cancel and resume ---------------------------------------------------------------------------


def test_a_queued_run_is_cancelled_and_sealed(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=0)) as manager:
            view = await manager.cancel(await submit(manager), who="api")
            assert (view["status"], view["sealed"], view["reason"]) == (
                "cancelled",
                True,
                "cancelled by api",
            )

    run(test)


def test_a_running_run_is_cancelled_and_its_trainer_ended(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(here.endless)
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "running")
            view = await manager.cancel(run_id, who="api")
            assert (view["status"], view["sealed"]) == ("cancelled", True)
            await asyncio.sleep(0)
            assert all(task.done() for task in cluster._tasks.values())

    run(test)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
def test_a_cancel_whose_asker_went_away_is_carried_through(tmp_path: Path, turns: int) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.endless)) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "running")
            change = manager.cancel(run_id, who="api")
            asker = asyncio.create_task(manager.carry_through(change))
            for _ in range(turns + 1):
                await asyncio.sleep(0)
            asker.cancel()
            await held(lambda: manager.view(run_id)["sealed"])
            assert manager.view(run_id)["status"] == "cancelled"

    run(test)


def test_an_interrupted_run_is_cancelled(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(raising(StorageFull("no space")))) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "interrupted")
            assert (await manager.cancel(run_id, who="api"))["status"] == "cancelled"

    run(test)


@pytest.mark.parametrize(
    ("work", "state"),
    [(here.whole, "succeeded"), (raising(TrainingDiverged("loss is NaN")), "failed")],
)
def test_a_run_that_has_ended_is_not_cancelled(tmp_path: Path, work: here.Work, state: str) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(work)) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, state)
            with pytest.raises(Conflict, match=f"is {state}"):
                await manager.cancel(run_id, who="api")

    run(test)


def test_of_two_cancels_at_once_one_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(here.endless)) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "running")
            answers = await asyncio.gather(
                *(manager.cancel(run_id, who="api") for _ in range(2)), return_exceptions=True
            )
            assert sorted(isinstance(answer, Conflict) for answer in answers) == [False, True]
            view = manager.view(run_id)
            assert (view["status"], view["sealed"]) == ("cancelled", True)

    run(test)


def test_a_cancelled_run_is_cancelled_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=0)) as manager:
            run_id = await submit(manager)
            await manager.cancel(run_id, who="api")
            with pytest.raises(Conflict):
                await manager.cancel(run_id, who="api")

    run(test)


def test_a_failed_run_is_resumed_and_goes_on(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(raising(TrainingDiverged("loss is NaN")))
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "failed")
            cluster.work = here.whole
            assert (await manager.resume(run_id, who="api"))["status"] == "queued"
            view = await until(manager, run_id, "succeeded")
            assert (view["attempt"], here._step(cluster.started[-1].start)) == (2, 2)
            assert failed_checks(manager, run_id) == []

    run(test)


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "cancelled"])
def test_only_interrupted_and_failed_runs_are_resumed(tmp_path: Path, state: str) -> None:
    work = here.endless if state == "running" else here.whole

    async def test() -> None:
        cluster = Here(work, cpus=0 if state in {"queued", "cancelled"} else 1)
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager)
            if state == "cancelled":
                await manager.cancel(run_id, who="api")
            await until(manager, run_id, state)
            with pytest.raises(Conflict, match=f"is {state}; only an interrupted or failed"):
                await manager.resume(run_id, who="api")
        await cluster.close()

    run(test)


# -- restarts ------------------------------------------------------------------------------------


def test_a_manager_of_the_same_session_adopts_the_trainer(tmp_path: Path) -> None:
    async def test() -> None:
        go_on = asyncio.Event()

        async def work(trainer: Trainer) -> None:
            await trainer.describe()
            await go_on.wait()
            trainer.manager = cluster.manager or trainer.manager
            await trainer.train()

        cluster = Here(work)
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager)
            await started(cluster, 1)
        async with managed(tmp_path, cluster) as manager:
            assert manager.view(run_id)["status"] == "running"
            go_on.set()
            view = await until(manager, run_id, "succeeded")
            assert (view["attempt"], len(cluster.started)) == (1, 1)

    run(test)


def test_an_adopting_manager_goes_on_counting_losses(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(lost(1, here.endless))
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager, max_restarts=1)
            await started(cluster, 2)
            await held(lambda: cluster._tasks.keys() == {(run_id, 1), (run_id, 2)})
        cluster._tasks[run_id, 2].cancel()
        async with managed(tmp_path, cluster) as manager:
            view = await until(manager, run_id, "failed")
            assert view["error"]["detail"].startswith("lost 2 times, max_restarts = 1")

    run(test)


def test_an_adopting_manager_does_not_renew_the_wall_time(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(here.endless)
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager, max_wall_s=3600)
            await started(cluster, 1)
        manager = here.opened(tmp_path, cluster, clock=Watch(now=Watch.now + timedelta(hours=1)))
        await manager.start(session="one")
        view = await until(manager, run_id, "failed")
        assert view["error"]["detail"] == "longer than max_wall_s = 3600"
        await here.killed(manager)

    run(test)


def test_an_adopted_group_holds_its_slots_on_every_node_and_waits_for_a_lost_one(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        cluster = Here(here.endless)
        one, other = here.node("one", CPU=2), here.node("other", CPU=1)
        cluster.listed = [one, other]
        async with managed(tmp_path, cluster) as manager:
            group = await submit(manager, workers=3, batch_size=63)
            await started(cluster, 1)
        async with managed(tmp_path, cluster) as manager:
            second = await submit(manager)
            await manager._schedule()
            assert manager.view(second)["pending_reason"].startswith("all 3 CPU slots")
            await manager.cancel(second, who="api")
            cluster.listed = [one]
            view = await until(manager, group, "queued")
            await manager._schedule()
            assert "room for 2 in all" in manager.view(group)["pending_reason"]
            cluster.listed = [one, other]
            await started(cluster, 2)
            view = await until(manager, group, "running")
            assert (view["placement"]["nodes"], view["attempt"]) == (("one", "one", "other"), 3)
        await cluster.close()

    run(test)


def test_an_adopted_run_holds_its_slot(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(here.endless, cpus=1)
        async with managed(tmp_path, cluster) as manager:
            await until(manager, await submit(manager), "running")
        async with managed(tmp_path, cluster) as manager:
            second = await submit(manager)
            await manager._schedule()
            assert (
                manager.view(second)["pending_reason"] == "all 1 CPU slots of 1 node(s) are taken"
            )
        await cluster.close()

    run(test)


def test_a_trainer_that_died_with_its_manager_is_started_again(tmp_path: Path) -> None:
    async def test() -> None:
        first = Here(here.endless)
        async with managed(tmp_path, first) as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "running")
        await first.close()
        async with managed(tmp_path, Here()) as manager:
            await until(manager, run_id, "succeeded")
            assert "trainer_lost" in await told(manager, run_id)

    run(test)


def test_a_manager_of_another_session_interrupts_what_ran(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(here.endless)
        async with managed(tmp_path, cluster, session="one") as manager:
            run_id = await submit(manager)
            await until(manager, run_id, "running")
        await cluster.close()
        async with managed(tmp_path, Here(), session="two") as manager:
            view = manager.view(run_id)
            assert view["status"] == "interrupted"
            assert view["reason"] == "the cluster was lost while it ran; resume it"
            await manager.resume(run_id, who="api")
            await until(manager, run_id, "succeeded")

    run(test)


def test_queued_runs_survive_a_restart_in_order(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=0)) as manager:
            ids = [await submit(manager) for _ in range(3)]
        cluster = Here(cpus=1)
        async with managed(tmp_path, cluster, session="two") as manager:
            for run_id in ids:
                await until(manager, run_id, "succeeded")
        assert [ticket.run_id for ticket in cluster.started] == ids

    run(test)


@pytest.mark.parametrize("has_end", [True, False])
def test_a_crash_between_end_and_seal_is_completed(tmp_path: Path, *, has_end: bool) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=0)) as manager:
            run_id = await submit(manager)
            folder = manager.registry.folder(run_id)
            folder.move(RunState.CANCELLED, "a test")
            manager.registry.moved(folder, who="api")
            if has_end:
                folder.complete_end()
        async with managed(tmp_path, Here(), session="two") as manager:
            view = await until(manager, run_id, "cancelled")
            assert view["sealed"] is True
            assert await told(manager, run_id) == ["queued", "cancelled", "cancelled"]
            assert failed_checks(manager, run_id) == []

    run(test)


def test_a_manager_that_starts_on_a_full_disk_answers_and_seals_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_module, "_START_S", 0.05)
    monkeypatch.setattr(manager_module, "_STORAGE_RETRY_S", 0.02)

    async def test(disk: Path) -> None:
        async with managed(disk, Here(cpus=0)) as manager:
            run_id = await submit(manager)
            folder = manager.registry.folder(run_id)
            folder.move(RunState.CANCELLED, "a test")
            manager.registry.moved(folder, who="api")
        filler = small.fill(disk)
        async with managed(disk, Here(), session="two") as manager:
            view = manager.view(run_id)
            assert (view["status"], view["reason"]) == ("running", "sealing the evidence pack")
            assert await told(manager, run_id) == ["queued"]
            filler.unlink()
            assert (await until(manager, run_id, "cancelled"))["sealed"] is True

    with small_disk(tmp_path) as mount:
        run(lambda: test(mount))


def test_a_disk_that_fills_during_a_run_interrupts_it_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_module, "_STORAGE_RETRY_S", 0.02)

    async def test(disk: Path) -> None:
        cluster = Here()

        async def work(trainer: Trainer) -> None:
            await trainer.describe()
            await trainer.train(until=3)
            small.fill(disk)
            await trainer.train()

        cluster.work = work
        async with managed(disk, cluster) as manager:
            run_id = await submit(manager)
            await held(lambda: (disk / "filler").exists() and not manager._places)
            small.enlarge(disk)
            view = await until(manager, run_id, "interrupted")
            assert view["error"]["code"] == "storage_full"
            cluster.work = here.whole
            await manager.resume(run_id, who="api")
            await until(manager, run_id, "succeeded")
            assert failed_checks(manager, run_id) == []

    with small_disk(tmp_path) as mount:
        run(lambda: test(mount))


# -- late words ----------------------------------------------------------------------------------


def test_late_words_of_a_dead_attempt_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Here(lost(1, here.endless))
        async with managed(tmp_path, cluster) as manager:
            run_id = await submit(manager)
            await started(cluster, 2)
            with pytest.raises(Conflict, match="attempt 1 may not report"):
                await manager.report(run_id, 1, 0, [small.metric(1)])
            with pytest.raises(Conflict, match="attempt 1 may not report"):
                await manager.attempt_started(run_id, 1, model={}, provenance={})
        await cluster.close()

    run(test)


# -- collecting ----------------------------------------------------------------------------------


def test_collecting_deletes_ended_runs_and_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=1)) as manager:
            ids = [await submit(manager) for _ in range(3)]
            for run_id in ids:
                await until(manager, run_id, "succeeded")
            deleted = manager.collect(Retention(keep_runs=1), who="api", dry_run=False)
            assert {one["run_id"] for one in deleted} == set(ids[:2])
            assert manager.page(state=None, offset=0, limit=9)["total"] == 1

    run(test)


def test_a_dry_run_deletes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here()) as manager:
            run_id = await submit(manager)
            view = await until(manager, run_id, "succeeded")
            chosen = manager.collect(Retention(keep_runs=0), who="api", dry_run=True)
            assert chosen == [{"run_id": run_id, "reason": "keep_runs = 0"}]
            assert manager.view(run_id) == view

    run(test)


def test_runs_that_have_not_ended_are_never_collected(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=0)) as manager:
            await submit(manager)
            assert manager.collect(Retention(keep_runs=0), who="api", dry_run=False) == []

    run(test)


def test_health_names_runs_space_and_key(tmp_path: Path) -> None:
    async def test() -> None:
        async with managed(tmp_path, Here(cpus=0)) as manager:
            await submit(manager)
            health = await manager.health()
            assert (health["runs"]["queued"], health["audit_seq"]) == (1, 2)
            assert health["free_bytes"] > 0
            assert pack.is_sealed(tmp_path) is False

    run(test)
