"""The rehearsal and the search for kernels: choices stay on the disk, are told, and decide bits."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trainers import tiny
from trainers import rehearsal

PROGRAM = """
import json, sys
from pathlib import Path
from trainers import runtime
beam = int(sys.argv[2])
runtime.prepare_process(
    device="CPU", cache=Path(sys.argv[1]), kernels="native", library="tinygrad", beam=beam
)
from tests.trainers import tiny
from trainers import rehearsal
from trainers.kernels import search
config = tiny.run_config(
    kernel_set="native", beam=beam, model={"architecture": "mlp", "hidden": [8]}, steps=3,
    checkpoint_every=1, batch_size=8, optimizer={"name": "sgd", "lr": 0.01},
)
rehearsal.rehearse(config, tiny.dataset())
told = runtime.describe()["kernels"]
last = tiny.checkpoints(tiny.run(config))[3].record
print(json.dumps({
    "told": told, "told_after": runtime.describe()["kernels"], "timed": search.candidates(),
    "bits": {name: file.sha256 for name, file in last.files.items()},
}))
"""


def trained(cache: Path, *, beam: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(cache), str(beam)],
        cwd=tiny.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_a_second_process_finds_what_the_first_one_chose_and_has_its_bits(tmp_path: Path) -> None:
    first, second = trained(tmp_path, beam=1), trained(tmp_path, beam=1)
    assert first["timed"] > 0
    assert second["timed"] == 0
    assert second["told"] == first["told"]
    assert second["bits"] == first["bits"]
    assert first["told"]["beam"]["width"] == 1
    assert first["told"]["beam"]["options"]

    for found in (first, second):  # the rehearsal has met every kernel of the run
        assert found["told_after"] == found["told"]

    plain = trained(tmp_path, beam=0)
    assert "beam" not in plain["told"]
    assert plain["told"]["digest"] != first["told"]["digest"]


def test_a_rehearsal_changes_no_bit_of_the_run() -> None:
    config = tiny.run_config(
        model={"architecture": "convnet", "channels": [4], "hidden": 8, "dropout": 0.5},
        schedule={"name": "cosine", "warmup_steps": 4},
    )
    without = tiny.checkpoints(tiny.run(config))
    rehearsal.rehearse(config, tiny.data_of(config))
    after = tiny.checkpoints(tiny.run(config))
    assert {step: point.record.files for step, point in after.items()} == {
        step: point.record.files for step, point in without.items()
    }
