"""What surrounds training: devices, the process's environment, meters, the command line."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from evidence.errors import Conflict, DeviceMissing, InvalidInput, NotInstalled
from tests.trainers import tiny
from tests.trainers.conftest import CACHE
from trainers import __main__ as command
from trainers import devices, meters, runtime


@pytest.mark.slow
def test_the_cpu_runs_a_kernel_and_a_gradient() -> None:
    report = devices.probe("CPU", cache=CACHE)
    assert report.usable, report.reason
    assert report.details["process"]["device"] == "CPU"


@pytest.mark.slow
def test_an_absent_device_is_not_usable_and_says_why() -> None:
    report = devices.probe("METAL", cache=CACHE)
    assert not report.usable
    assert report.reason
    assert "METAL" in report.reason


def test_a_probe_that_hangs_is_ended() -> None:
    report = devices.probe("CPU", cache=CACHE, timeout_s=0.01)
    assert (report.usable, report.reason) == (False, "no answer within 0.01 s")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InvalidInput, match="one of CPU, CUDA, NV, AMD, METAL"):
        devices.probe("TPU", cache=CACHE)


def test_auto_takes_the_best_device_that_is_there() -> None:
    assert devices.resolve("auto", {"CPU", "CUDA"}) == "CUDA"
    assert devices.resolve("auto", {"CPU"}) == "CPU"
    assert devices.resolve("CPU", {"CPU", "CUDA"}) == "CPU"


@pytest.mark.parametrize(("asked", "there"), [("METAL", {"CPU"}), ("auto", set())])
def test_no_device_stands_in_for_another(asked: str, there: set[str]) -> None:
    with pytest.raises(DeviceMissing, match=f"expected {asked}"):
        devices.resolve(asked, there)


def test_a_process_cannot_change_its_device_after_tinygrad_is_there() -> None:
    assert importlib.import_module("tinygrad").__name__ == "tinygrad"
    runtime.prepare_process(device="CPU", cache=CACHE, threads=1)
    with pytest.raises(Conflict, match="DEV"):
        runtime.prepare_process(device="CUDA", cache=CACHE, threads=1)


def test_a_machine_without_a_compiler_is_told_the_command(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainers import runtime\n"
        "sys.modules['ziglang'] = None\n"
        f"runtime.find_compiler(Path({str(tmp_path)!r}))"
    )
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(tiny.ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert NotInstalled.__name__ in done.stderr


def test_the_description_names_no_path_of_this_machine() -> None:
    shown = json.dumps(runtime.describe())
    assert str(Path.home()) + "/" not in shown
    assert str(tiny.ROOT) not in shown
    assert "clang version" in shown


def test_energy_is_read_from_the_kernels_counter(tmp_path: Path) -> None:
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "max_energy_range_uj").write_text("9999999\n")
    (zone / "energy_uj").write_text("9000000\n")
    meter = meters.EnergyMeter(tmp_path)
    (zone / "energy_uj").write_text("1500000\n")
    assert meter.joules() == pytest.approx(2.5)
    (zone / "energy_uj").unlink()
    assert meter.joules() is None
    assert meter.absence == "no meter: RAPL is not readable (FileNotFoundError)"


def test_without_a_counter_energy_is_absent_with_the_reason(tmp_path: Path) -> None:
    meter = meters.EnergyMeter(tmp_path / "none")
    assert meter.joules() is None
    assert meter.absence == "no meter: this machine has no RAPL zone"


def test_the_meter_of_a_cpu_is_its_own() -> None:
    assert isinstance(meters.meter_of("CPU"), meters.EnergyMeter)


def test_without_a_card_its_energy_is_absent_with_the_reason() -> None:
    meter = meters.meter_of("CUDA")
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has an NVIDIA card")
    assert meter.joules() is None
    assert str(meter.absence).startswith("no meter: ")


def test_resident_memory_is_measured() -> None:
    assert meters.resident_bytes() > 10_000_000


@pytest.mark.slow
def test_a_bare_run_writes_events_and_checkpoints(tmp_path: Path, mnist_cache: Path) -> None:
    request = {
        "recipe": "mnist_mlp",
        "overrides": {"steps": 6, "model": {"hidden": [16]}, "batch_size": 32},
    }
    config_file, out = tmp_path / "config.json", tmp_path / "out"
    config_file.write_text(json.dumps(request))
    base = [sys.executable, "-m", "trainers", "--cache", str(mnist_cache)]
    train = [*base, "train", str(config_file), "--out", str(out)]
    done = subprocess.run(train, cwd=tiny.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["step"] == 6
    lines = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("split") == "train"] == [1, 2, 3, 4, 5, 6]

    model = out / "checkpoints" / "step_000006" / "model.safetensors"
    evaluate = [*base, "evaluate", str(config_file), "--model", str(model)]
    done = subprocess.run(evaluate, cwd=tiny.ROOT, capture_output=True, text=True, check=False)
    last = [line for line in lines if line.get("split") == "test"][-1]
    assert json.loads(done.stdout)["loss"] == last["loss"]

    first = out / "checkpoints" / "step_000004"
    resume = [*base, "train", str(config_file), "--out", str(tmp_path / "again"), "--resume"]
    done = subprocess.run(
        [*resume, str(first)],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["last"]["model_digest"] == shown["last"]["model_digest"]


def test_a_description_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--cache", str(CACHE), "describe", "mnist_mlp"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["model"]["architecture"] == "mlp"
    assert shown["model"]["tensors"][0] == {
        "name": "layers.0.bias", "shape": [128], "dtype": "F32", "trainable": True,
    }  # fmt: skip


def test_a_wrong_config_ends_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["describe", "no-such-recipe"]) == 1
    problem = json.loads(capsys.readouterr().err)
    assert problem["code"] == "not_found"
    assert "mnist_mlp" in problem["detail"]


def test_what_is_cached_is_reported_by_fetch(
    mnist_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--cache", str(mnist_cache), "fetch", "mnist"]) == 0
    assert set(json.loads(capsys.readouterr().out)["files"].values()) == {"cache"}


@pytest.mark.parametrize("option", ["--resume", "--model"])
def test_a_path_that_is_not_there_is_named(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = ["train", "mnist_mlp", "--out", str(tmp_path / "out")]
    verb = verb if option == "--resume" else ["evaluate", "mnist_mlp"]
    status = command.main(["--cache", str(CACHE), *verb, option, str(tmp_path / "absent")])
    problem = json.loads(capsys.readouterr().err)
    assert (status, problem["code"]) == (1, "not_found")
    assert problem["detail"].startswith(f"{option}: {tmp_path / 'absent'}")
