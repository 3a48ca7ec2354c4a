"""Writes the pack that this version makes: python -m tests.evidence.make_release_vector FOLDER.

A real run of a private service whose keys everyone knows. Made once a release; never made again, or
it proves nothing about packs of the past.
"""

import sys
import tempfile
from pathlib import Path
from shutil import copytree
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serve import local
from serve.client import Client
from tests import service as private

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
    """Train through a service with the keys of the vectors, and copy its pack."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        write_fixed_keys(home / "keys")
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


def write_fixed_keys(folder: Path) -> None:
    """Write the keys of the vectors: service.key, log.key (Ed25519) and model.key (P-256).

    Their secrets are the bytes 00 to 1f, 20 to 3f and 40 to 5f.
    """
    folder.mkdir(mode=0o700, parents=True)
    secrets = {name: bytes(range(32 * n, 32 * n + 32)) for n, name in enumerate(("service", "log"))}
    keys: dict[str, Any] = {
        name: Ed25519PrivateKey.from_private_bytes(secret) for name, secret in secrets.items()
    }
    keys["model"] = ec.derive_private_key(int.from_bytes(bytes(range(64, 96))), ec.SECP256R1())
    for name, key in keys.items():
        path = folder / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
