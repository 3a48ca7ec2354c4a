"""What changes bits, and what does not."""

import json
from typing import Any

import pytest

from tests.trainers import tiny
from tests.trainers.kernels.near import needs_library
from trainers import runtime
from trainers.kernels import kernel_set

CONVNET = {
    "model": {"architecture": "convnet", "channels": [4], "kernel": 3, "hidden": 16},
    "steps": 3,
    "checkpoint_every": 1,
}


def final(result: dict[str, Any]) -> dict[str, str]:
    digests: dict[str, str] = result["checkpoints"]["3"]
    return digests


def test_the_portable_set_takes_one_thread_however_many_there_are() -> None:
    told = kernel_set.environment("portable", device="CPU", threads=8)
    assert (told["OMP_NUM_THREADS"], told["ONEDNN_MAX_CPU_ISA"]) == ("1", "AVX2")
    assert kernel_set.environment("native", device="CPU", threads=8)["OMP_NUM_THREADS"] == "8"


def test_other_devices_have_no_sets() -> None:
    assert kernel_set.environment("portable", device="METAL", threads=2) == {"DEV": "METAL"}


@needs_library
def test_the_description_names_the_library_by_its_digest() -> None:
    told = runtime.describe()["kernels"]
    assert (told["backend"], told["package"]) == ("onednn", "onednn-cpu-gomp 2023.2.0")
    assert len(told["sha256"]) == len(told["digest"]) == len(told["sources"]) == 64
    assert "/" not in json.dumps(told)


@needs_library
@pytest.mark.slow
def test_what_changes_bits_and_what_does_not() -> None:
    portable = tiny.run_elsewhere(CONVNET)
    again = tiny.run_elsewhere(CONVNET, threads=2)
    assert final(again) == final(portable)  # another process, more threads on offer

    plain = tiny.run_elsewhere(CONVNET, library="tinygrad")
    assert final(plain) != final(portable)  # tinygrad's own kernels add up in another order
    for name, (loss, *_) in plain["metrics"].items():
        assert loss == pytest.approx(portable["metrics"][name][0], rel=1e-3)


@needs_library
@pytest.mark.slow
def test_the_native_set_repeats_its_own_bits() -> None:
    native = {**CONVNET, "kernel_set": "native"}
    assert final(tiny.run_elsewhere(native, threads=2)) == final(
        tiny.run_elsewhere(native, threads=2)
    )
