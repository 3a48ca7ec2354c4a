"""Which library is taken: the wanted one or none, and why `auto` passes one over."""

import json
import os
import subprocess
import sys

import pytest

from evidence.errors import InvalidInput
from tests.trainers import tiny
from trainers.kernels import library

PROGRAM = """
import json
from pathlib import Path
from trainers import runtime
runtime.prepare_process(device="CPU", cache=Path("var/cache"), threads=2, kernels="native")
import numpy as np
from tinygrad import Tensor
from serve.cli import doctor
from trainers.kernels import compiled, foreign, library, softmax
from trainers.models import build
found = doctor.check_kernels("auto")[0]
weights = softmax.weights(Tensor.ones(2, 3, 40).contiguous(), scale=1.0, is_causal=False)
print(json.dumps({
    "name": library.chosen().name, "detail": found.detail, "cure": found.cure,
    "threads": int(compiled.table().numpy()[2]), "sum": float(weights.sum().numpy()),
    "backend": runtime.describe()["kernels"]["backend"],
}))
"""


def test_an_unknown_library_is_refused() -> None:
    with pytest.raises(InvalidInput, match="one of auto, onednn, openblas, tinygrad, found 'mkl'"):
        library.named("mkl")


def test_the_wanted_library_is_taken() -> None:
    assert library.choose("openblas") == library.Choice("openblas")
    assert library.choose("tinygrad") == library.Choice("tinygrad")


@pytest.mark.slow
def test_without_libgomp_openblas_is_taken_and_our_own_kernels_use_one_thread() -> None:
    told = without_libgomp(PROGRAM)
    assert (told["name"], told["backend"], told["threads"]) == ("openblas", "openblas", 1)
    assert told["sum"] == pytest.approx(6, rel=1e-5)
    assert "libgomp.so.1" in str(told["detail"])
    assert told["cure"] == "apt-get install libgomp1"


def without_libgomp(program: str) -> dict[str, object]:
    """Run a program that prints JSON where libgomp.so.1 is an empty file; skip if that cannot be.

    The mount is that process's own: nobody else sees it.
    """
    if os.geteuid() != 0:
        pytest.skip("hiding a system library needs root")
    listed = subprocess.run(
        ["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    paths = [line.split(" => ")[1] for line in listed if line.strip().startswith("libgomp.so.1 ")]
    if not paths:
        pytest.skip("libgomp.so.1 is not here to begin with")
    script = f'mount --bind /dev/null {paths[0]} || exit 75; exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tiny.ROOT, capture_output=True, text=True, check=False)
    if done.returncode in {1, 75} and "Traceback" not in done.stderr:
        pytest.skip(f"a mount is not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result
