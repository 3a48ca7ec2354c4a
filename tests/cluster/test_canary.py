"""When the canary is done, what is kept of it, and what is told."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster import canary as module
from cluster.canary import Canary
from evidence.errors import Unavailable
from tests.cluster.here import held
from tests.cluster.small import Watch

GOOD = {"true_labels": 0.91, "shuffled_labels": 0.1, "passed": True, "kernels": "0" * 64}
BAD = {**GOOD, "shuffled_labels": 0.9, "passed": False}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTLE_S", 0.0)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)


class Service:
    """What a canary asks of the service around it."""

    def __init__(self, *outcomes: dict[str, Any] | Unavailable) -> None:
        self.outcomes = list(outcomes)
        self.trained = 0
        self.idle = True
        self.data = True

    async def train(self) -> dict[str, Any]:
        self.trained += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Unavailable):
            raise outcome
        return outcome

    async def has_data(self) -> bool:
        return self.data

    def canary(self, folder: Path, *, code: str | None = "c" * 64, clock: Any = None) -> Canary:
        return Canary(
            folder,
            code=code,
            clock=clock or Watch(),
            train=self.train,
            is_idle=lambda: self.idle,
            has_data=self.has_data,
        )


def run_until(canary: Canary, condition: Callable[[], bool]) -> None:
    async def test() -> None:
        canary.start()
        await held(condition)
        await canary.close()

    asyncio.run(test())


@pytest.mark.parametrize(("outcome", "state"), [(GOOD, "passed"), (BAD, "failed")])
def test_it_is_done_once_and_known_at_the_next_start(
    tmp_path: Path, outcome: dict[str, Any], state: str
) -> None:
    service = Service(outcome)
    canary = service.canary(tmp_path)
    assert canary.view()["state"] == "running"
    run_until(canary, lambda: canary.view()["state"] == state)
    clock = Watch()
    clock.now += timedelta(hours=2)
    again = service.canary(tmp_path, clock=clock)
    assert again.view()["state"] == state
    assert again.view()["age_s"] > 7000
    assert service.trained == 1


def test_other_code_has_another_canary(tmp_path: Path) -> None:
    service = Service(GOOD)
    canary = service.canary(tmp_path)
    run_until(canary, lambda: canary.view()["state"] == "passed")
    assert service.canary(tmp_path, code="d" * 64).view()["state"] == "running"


def test_it_gives_way_to_runs(tmp_path: Path) -> None:
    service = Service(GOOD)
    service.idle = False
    canary = service.canary(tmp_path)

    async def test() -> None:
        canary.start()
        await asyncio.sleep(0.1)
        assert service.trained == 0
        service.idle = True
        await held(lambda: canary.view()["state"] == "passed")
        await canary.close()

    asyncio.run(test())


def test_without_its_data_it_says_so(tmp_path: Path) -> None:
    service = Service(GOOD)
    service.data = False
    canary = service.canary(tmp_path)
    run_until(canary, lambda: canary.view()["state"] == "no data")
    assert service.trained == 0


def test_a_canary_that_could_not_be_done_is_no_failure_and_is_tried_again(tmp_path: Path) -> None:
    service = Service(Unavailable("the node was lost"), GOOD)
    canary = service.canary(tmp_path)
    run_until(canary, lambda: canary.view()["state"] == "passed")
    assert service.trained == 2


def test_asked_for_again_it_is_done_again(tmp_path: Path) -> None:
    service = Service(GOOD, BAD)
    canary = service.canary(tmp_path)
    run_until(canary, lambda: canary.view()["state"] == "passed")
    assert canary.again()["state"] == "passed"
    run_until(canary, lambda: canary.view()["state"] == "failed")


@pytest.mark.parametrize("data", [b"", b"{", b"null"])
def test_a_damaged_outcome_is_not_believed(tmp_path: Path, data: bytes) -> None:
    (tmp_path / f"{'c' * 64}-portable.json").write_bytes(data)
    assert Service().canary(tmp_path).view()["state"] == "running"
