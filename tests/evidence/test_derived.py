from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import canonical, digest
from evidence.derived import complete_metrics, trend
from evidence.errors import BrokenChain
from evidence.journal import Journal
from tests.evidence import genuine


@pytest.mark.parametrize(
    ("values", "decreasing"),
    [
        ([], None),
        ([2.0, 1.0], None),
        ([3.0, 2.0, 1.0], True),
        ([1.0, 2.0, 3.0], False),
        ([3.0, 0.0, 0.0, 2.9, 2.9], False),
        ([1.0, 1.0, 1.0], False),
        ([3.0, None, 2.0, 1.0], True),
        ([3.0, None, 1.0], None),
    ],
)
def test_the_trend_follows_its_rule(values: Sequence[float | None], decreasing: object) -> None:
    found = trend(values)
    assert found["decreasing"] is decreasing
    assert found["values"] == list(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=3))
def test_what_decreases_does_not_when_reversed(values: list[float]) -> None:
    assert not (trend(values)["decreasing"] and trend(values[::-1])["decreasing"])


@pytest.mark.parametrize("kept", range(10))
def test_recovery_completes_the_metrics_to_the_same_bytes(kept: int, tmp_path: Path) -> None:
    root = genuine.write(tmp_path / "run")
    path, genesis = root / "metrics.jsonl", digest.of_file(root / "config.json")
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:kept]))
    with Journal(path, genesis=genesis, owns_sequence=False) as metrics:
        added = complete_metrics(root / "events.jsonl", metrics, genesis=genesis)
    assert added == 9 - kept
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("values", "decreasing"),
    [
        ([1.7e308, -1.7e308, 1.7e308, -1.7e308], True),
        ([-1.7e308, 1.7e308, -1.7e308, 1.7e308], False),
        ([1.7e308, 1.7e308, 1.6e308], True),
        ([1e308, 1.7e308, 1.7e308, 9e307], True),
        ([2.0, 1.7e308, 1.0], True),
    ],
)
def test_the_trend_of_losses_beyond_reason_is_exact(
    values: Sequence[float], decreasing: object
) -> None:
    assert trend(values)["decreasing"] is decreasing


def test_metrics_that_the_events_have_not_are_refused(tmp_path: Path) -> None:
    root = genuine.write(tmp_path / "run")
    path, genesis = root / "metrics.jsonl", digest.of_file(root / "config.json")
    events = root / "events.jsonl"
    events.write_bytes(b"".join(events.read_bytes().splitlines(keepends=True)[:6]))
    with (
        Journal(path, genesis=genesis, owns_sequence=False) as metrics,
        pytest.raises(BrokenChain, match="which is no metric") as caught,
    ):
        complete_metrics(events, metrics, genesis=genesis)
    assert "delete metrics.jsonl" in (caught.value.cure or "")


def test_the_loss_curve_has_a_row_for_each_metric(pack: Path) -> None:
    rows = (pack / "loss_curve.csv").read_text().splitlines()
    assert rows[0] == "seq,step,split,loss,accuracy,lr"
    assert len(rows) == 1 + 6 + 3
    assert rows[3].split(",")[2] == "test"
    assert rows[3].endswith(",")


def test_tinygrad_lines_are_the_training_metrics(pack: Path) -> None:
    lines = [
        canonical.decode_canonical(line)
        for line in (pack / "tinygrad.jsonl").read_bytes().splitlines()
    ]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert set(lines[0]) == {"step", "step_ms", "tokens_s", "loss"}


def test_run_json_tells_the_run_in_one_object(pack: Path) -> None:
    run = canonical.decode_canonical((pack / "run.json").read_bytes())
    assert run["hyperparameters"] == genuine.CONFIG
    assert run["state"] == "succeeded"
    assert [c["step"] for c in run["checkpoints"]] == [2, 4, 6]
    assert run["final"]["train"]["step"] == 6
    assert run["trend"]["decreasing"] is True
    assert len(run["seed"]) == 16


@pytest.mark.parametrize("sign", [1, -1])
def test_losses_at_the_end_of_float64_have_a_trend(sign: int) -> None:
    big = 1.7e308
    falls = trend([sign * big, 0.0, -sign * big])["decreasing"]
    assert falls is (sign > 0)
    assert trend([big, -big, big])["decreasing"] is False


def test_losses_that_are_all_zero_do_not_decrease() -> None:
    assert trend([0.0, 0.0, 0.0])["decreasing"] is False
