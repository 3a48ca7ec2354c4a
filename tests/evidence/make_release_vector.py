"""Writes the pack that this version makes: python -m tests.evidence.make_release_vector FOLDER.

A real run of a private service, sealed again with a key that everyone knows. Made once a release;
never made again, or it proves nothing about packs of the past.
"""

import sys
import tempfile
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

from evidence.pack import SEAL
from evidence.seal import finalise
from serve import local
from serve.client import Client
from tests import service as private
from tests.evidence import genuine

REQUEST: dict[str, Any] = {
    "recipe": "mnist_mlp",
    "overrides": {
        "name": "release-vector",
        "model": {"architecture": "mlp", "hidden": [8]},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "schedule": {"name": "cosine", "warmup_steps": 2},
        "steps": 6,
        "metric_every": 1,
        "checkpoint_every": 2,
        "keep_last": 2,
        "device": "CPU",
    },
}
"""Small, and with one pruned checkpoint."""


def main(folder: Path) -> None:
    """Train through a service, and seal the pack anew with the key of the vectors."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        cache = private.fetch_data("mnist", home / "cache")
        running = local.start(environ=private.base_environment(home, cache))
        try:
            with Client(running.url, token=running.token()) as client:
                run_id = client.submit(REQUEST)["run_id"]
                for _ in client.follow(run_id):
                    pass
                (run,) = (home / "evidence" / "training").glob(run_id)
        finally:
            local.stop(running)
        copytree(run, folder)
    rmtree(folder / SEAL)
    finalise(folder, genuine.fixed_key(), run_id=run_id)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
