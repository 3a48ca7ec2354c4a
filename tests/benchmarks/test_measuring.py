"""The parts of benchmarks that decide a figure: rates, counting, ratios, goals, tables."""

import asyncio
import importlib
import json
from pathlib import Path

import pytest

from benchmarks import __main__ as runner
from benchmarks import both_ways, fanout, memory, outcome, step_profile, training
from benchmarks.journal_tail import JournalTail
from benchmarks.outcome import Goal
from benchmarks.stream_latency import Watcher
from benchmarks.streams import Counter
from evidence import canonical


def _metric(step: int, stamp: str, split: str = "train") -> dict[str, object]:
    return {"step": step, "split": split, "timestamp": f"2026-01-31T12:00:{stamp}Z"}


def test_a_rate_is_steps_over_time_between_training_metrics() -> None:
    metrics = [
        _metric(1, "00.000"), _metric(50, "05.000"), _metric(100, "06.000"),
        _metric(100, "09.000", "test"), _metric(150, "10.000"),
    ]  # fmt: skip
    assert both_ways.steps_per_s(metrics, after_step=50) == 20.0


def test_a_rate_needs_two_metrics() -> None:
    with pytest.raises(ValueError, match="found 1"):
        both_ways.steps_per_s([_metric(50, "05.000")], after_step=50)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_events_are_counted_wherever_chunks_end(size: int) -> None:
    data = b"".join(b"15\r\nid: %d\nevent: metric\ndata: {}\n\n\r\n" % n for n in range(1, 8))
    counter = Counter()
    for start in range(0, len(data), size):
        counter.feed(data[start : start + size])
    assert counter.count == 7


def test_delays_are_found_once_each_wherever_chunks_end() -> None:
    line = canonical.encode(fanout.example_metric(1).model_dump(mode="json") | {"seq": 1})
    data = b"id: 1\nevent: metric\ndata: " + line + b"\n\n"
    delays: list[float] = []
    watcher = Watcher(delays)
    for start in range(0, 3 * len(data), 7):
        watcher.feed((3 * data)[start : start + 7], 0)
    assert len(delays) == 3
    assert not watcher.has_ended
    watcher.feed(b"event: end\n", 0)
    assert watcher.has_ended


def test_a_tail_gives_lines_after_a_number_and_waits_for_more(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"one\ntwo\nthree\n")
    tail = JournalTail(path)
    assert asyncio.run(tail.read(1, 1, 0)) == [b"two"]
    assert asyncio.run(tail.read(3, 9, 0.01)) == []
    with path.open("ab") as file:
        file.write(b"four\nfi")
    assert asyncio.run(tail.read(2, 9, 1)) == [b"three"]
    assert asyncio.run(tail.read(3, 9, 1)) == [b"four"]


def test_a_row_compares_medians_and_judges_the_goal() -> None:
    goal = Goal("at least 2", least=2)
    row = outcome.compare("w", "u", ours=[1, 30, 40], peer=("p", [10, 12, 90]), goal=goal)
    assert (row.ours, row.peer, row.ratio, row.met) == (30, 12, 2.5, True)


def test_a_result_is_written_read_and_shown(tmp_path: Path) -> None:
    goal = Goal("at least 10", least=10)
    slow = outcome.compare("w", "u", ours=[30], peer=("p", [12]), goal=goal)
    absent = outcome.Row("v", "u", not_run="p is not installed")
    told = outcome.document("name", [slow, absent], outcome.machine())
    outcome.write(tmp_path / "name.json", told)
    shown = outcome.as_markdown(outcome.read(tmp_path))
    assert "| `name` | w | 30 | 12 (p) | 2.5 | u | at least 10: NOT met |" in shown
    assert "| `name` | v | - | - | - | u | not run: p is not installed |" in shown


def test_processes_are_told_apart() -> None:
    assert memory.kind_of("ray::ServeReplica:events:events") == "Serve: replica of events"
    assert memory.kind_of("ray::ServeReplica:api:api") == "Serve: replica of api"
    assert memory.kind_of("/bin/sleep") == "Ray: head and others"


@pytest.mark.parametrize("name", runner.NAMES)
def test_every_benchmark_has_a_measure_and_its_plans(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert callable(module.measure)
    assert type(module.FULL) is type(module.QUICK) is module.Plan


def test_rows_of_training_steps_are_a_list_and_stand_in_the_table(tmp_path: Path) -> None:
    row = training.Measured(
        "mlp", "native", 2, 1, 3.0, "torch-eager", 6.0, 0.5, "at most 1", met=True,
        samples_s=42_666.0, warm_up_s=1.5, peer_warm_up_s=0.5, peak_mb=127.0, peer_peak_mb=340.0,
        peak_share=0.3, not_run=None,
    )  # fmt: skip
    outcome.write(tmp_path / "training.json", training.document("training", [row], {}))
    (written,) = json.loads((tmp_path / "training.json").read_text())
    asked = {"workload", "ours_ms", "peer", "peer_ms", "ratio", "threads", "kernel_set"}
    assert asked <= set(written)
    table = outcome.as_markdown(outcome.read(tmp_path))
    shown = "| `training` | mlp, native, 2 threads | 3 | 6 (torch-eager) | 0.5 | ms a step |"
    assert f"{shown} at most 1: met |" in table


def _kernel(name: str, time: str) -> str:
    counts = "(     11 GFLOPS   64|64     GB/s)"
    return f"*** CPU     1007 {name:<46} arg  3 mem   0.02 GB tm  {time}/   259.82ms {counts}"


def test_a_profile_is_of_the_steps_that_repeat() -> None:
    step = [_kernel("onednn_matmul_3", "1.00ms"), _kernel("\x1b[33mE_128_4\x1b[0m", "500.00us")]
    first = [_kernel("r_2_10", "9.00ms"), *step]
    printed = first + step * step_profile.STEPS
    times, calls = step_profile.by_family(printed)
    assert times == {"matrix product (oneDNN)": 1.0, "elementwise (tinygrad)": 0.5}
    assert calls == {"matrix product (oneDNN)": 1, "elementwise (tinygrad)": 1}
