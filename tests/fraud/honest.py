"""Honest runs as packs: made by the loop and the service's writer, whole, or killed and resumed.

As a program, a service that trains one run and is killed by SIGKILL after a number of events:

    python -m tests.fraud.honest PACK CONFIG_JSON EVENTS
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from evidence.clock import utc_now
from evidence.records import RunState, TrainingEvent
from tests.trainers import tiny
from tests.trainers.sealed import Service, reopen, submit
from trainers import config as configs
from trainers import runtime
from trainers.config import RunConfig

ROOT = Path(__file__).parents[2]

IMAGES: dict[str, Any] = {"dataset": "cifar10", "batch_size": 16}
TEXT: dict[str, Any] = {"dataset": "tinyshakespeare", "batch_size": 8}

KINDS: dict[str, dict[str, Any]] = {
    "mlp_sgd": {"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}},
    "mlp_adamw_cosine": {
        "recipe": "mnist_mlp",
        "schedule": {"name": "cosine", "warmup_steps": 2},
        "max_grad_norm": 1.0,
    },
    "mlp_adam_float16": {
        "model": {"architecture": "mlp", "hidden": [16, 16]},
        "optimizer": {"name": "adam", "lr": 0.01},
        "schedule": {"name": "linear", "final_fraction": 0.1},
        "precision": "float16",
        "keep_last": 2,
    },
    "convnet_nesterov": {
        "recipe": "mnist_convnet",
        "model": {"architecture": "convnet", "channels": [4], "kernel": 3, "hidden": 16},
        "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": True},
        "schedule": {"name": "cosine"},
        "metric_every": 2,
    },
    "convnet_dropout_in_pieces": {
        "model": {
            "architecture": "convnet", "channels": [4], "kernel": 3, "hidden": 16, "dropout": 0.5,
        },
        "micro_steps": 2,
        "precision": "bfloat16",
    },
    "resnet_crop_flip": {
        **IMAGES,
        "recipe": "cifar10_resnet",
        "model": {"architecture": "resnet", "depth": 8, "width": 8},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
        "schedule": {"name": "linear", "warmup_steps": 1},
        "augmentation": "crop_flip",
    },
    "vit_adamw": {
        **IMAGES,
        "recipe": "cifar10_vit",
        "model": {"architecture": "vit", "layers": 1, "width": 16, "heads": 2, "patch": 8},
        "schedule": {"name": "cosine", "warmup_steps": 1},
        "nonce": "of the client",
    },
    "gpt_adamw_bfloat16": {
        **TEXT,
        "recipe": "shakespeare_gpt",
        "model": {"architecture": "gpt", "layers": 1, "width": 16, "heads": 2, "context": 16},
        "schedule": {"name": "cosine"},
        "precision": "bfloat16",
        "keep_last": 1,
    },
}  # fmt: skip
"""Combinations of recipe, model, optimiser, schedule and precision."""


def config_of(kind: str, *, seed: int = 0) -> RunConfig:
    """Return a run of nine steps with checkpoints after each third one, or fourth."""
    every = 3 - seed % 2
    return tiny.run_config(**KINDS[kind], seed=seed, steps=9, checkpoint_every=every)


def whole(root: Path, cfg: RunConfig) -> Path:
    """Train a run to its end and seal it."""
    service = Service(submit(root, cfg), tiny.data_of(cfg).digests)
    service.start()
    _train(service, cfg)
    service.end()
    return root


def killed_and_resumed(root: Path, cfg: RunConfig, *, after: int) -> Path:
    """Kill the service of a run, let the next one go on from its last checkpoint, and seal it.

    Args:
        root: Where the pack goes.
        cfg: The run.
        after: Events that the first service has written, behind the first checkpoint.
    """
    command = [sys.executable, "-m", "tests.fraud.honest", str(root), json.dumps(cfg.as_json())]
    killed = subprocess.run([*command, str(after)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    service = Service(reopen(root), tiny.data_of(cfg).digests)
    assert service.folder.summary.state is RunState.RUNNING
    service.interrupt()
    service.start()
    step, files, damaged = service.folder.newest_good_checkpoint()
    assert (step > 0, damaged) == (True, {})
    _train(service, cfg, files)
    service.end()
    return root


def _train(
    service: Service, cfg: RunConfig, files: dict[str, bytes] | None = None, *, last: int = 0
) -> None:
    from trainers.checkpoint import Start  # noqa: PLC0415 - after the process is prepared
    from trainers.loop import train  # noqa: PLC0415

    written = 0

    def sink(event: TrainingEvent) -> None:
        nonlocal written
        service(event)
        written += 1
        if written == last:
            os.kill(os.getpid(), signal.SIGKILL)

    start = Start.from_files(files) if files else Start.fresh()
    train(cfg, tiny.data_of(cfg), start, sink, clock=utc_now)


def main(arguments: list[str]) -> None:
    """Run as the module's docstring says."""
    root, plain, last = arguments
    cfg = configs.parse(json.loads(plain))
    runtime.prepare_process(device="CPU", cache=ROOT / "var" / "cache", kernels=cfg.kernel_set)
    service = Service(submit(Path(root), cfg), tiny.data_of(cfg).digests)
    service.start()
    _train(service, cfg, last=int(last))


if __name__ == "__main__":
    main(sys.argv[1:])
