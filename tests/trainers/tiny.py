"""A data set of 320 made-up images and configs for it; as a program, one run in its own process.

    python -m tests.trainers.tiny THREADS LIBRARY OVERRIDES_JSON [CHECKPOINT_FOLDER]

prints each checkpoint's digests and each metric's loss, accuracy and learning rate as JSON.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from evidence import digest
from evidence.records import CHECKPOINT_FILES, Checkpoint, Metric, TrainingEvent
from trainers import config, runtime
from trainers.config import KernelLibrary, RunConfig
from trainers.data.images import Dataset
from trainers.data.load import Data
from trainers.data.text import Text

ROOT = Path(__file__).parents[2]


def dataset(shape: tuple[int, int, int] = (1, 28, 28)) -> Dataset:
    """Return 256 training and 64 test images: noise with a bright bar that tells the class."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 60, (320, *shape), dtype=np.uint8)
    labels = rng.integers(0, 10, 320, dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 3] += 150
    return Dataset(
        name="tiny",
        train_images=images[:256],
        train_labels=labels[:256],
        test_images=images[256:],
        test_labels=labels[256:],
        classes=tuple("0123456789"),
        digests={"tiny": digest.of_bytes(images.tobytes() + labels.tobytes())},
    )


def shakespeare() -> Text:
    """Return a text of 2,000 and 500 bytes in which each byte tells the next."""
    tokens = np.frombuffer(b"to be, or not to be: that is the question. " * 60, np.uint8)[:2500]
    return Text(
        name="tiny",
        train=tokens[:2000],
        test=tokens[2000:],
        digests={"tiny": digest.of_bytes(tokens.tobytes())},
    )


def run_config(**overrides: Any) -> RunConfig:
    """Return a small valid config."""
    values = {
        "dataset": "mnist",
        "model": {"architecture": "mlp", "hidden": [16]},
        "steps": 6,
        "batch_size": 32,
        "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.01},
        "checkpoint_every": 2,
    }
    return config.parse({**values, **overrides})


def run(cfg: RunConfig, *, start_files: dict[str, bytes] | None = None) -> list[TrainingEvent]:
    """Train in this process and return all events."""
    from trainers.checkpoint import Start  # noqa: PLC0415  keeps the config light
    from trainers.loop import train  # noqa: PLC0415

    events: list[TrainingEvent] = []
    start = Start.from_files(start_files) if start_files else Start.fresh()
    train(cfg, data_of(cfg), start, events.append)
    return events


def data_of(cfg: RunConfig) -> Data:
    """Return the made-up data that stands for the config's."""
    if cfg.dataset == "tinyshakespeare":
        return shakespeare()
    return dataset((1, 28, 28) if cfg.dataset == "mnist" else (3, 32, 32))


def checkpoints(events: list[TrainingEvent]) -> dict[int, Checkpoint]:
    """Return the checkpoints by step."""
    return {event.record.step: event for event in events if isinstance(event, Checkpoint)}


def metrics(events: list[TrainingEvent]) -> list[Metric]:
    """Return the metrics in order."""
    return [event for event in events if isinstance(event, Metric)]


def run_elsewhere(
    overrides: dict[str, Any], *folders: Path, threads: int = 1, library: KernelLibrary = "auto"
) -> dict[str, Any]:
    """Train in another process; returns what `main` prints.

    Args:
        overrides: Of the config.
        folders: Where a first run leaves its first checkpoint, and a second one starts from it.
        threads: That the process may use.
        library: What products and convolutions go through.
    """
    command = [sys.executable, "-m", "tests.trainers.tiny"]
    command += [str(threads), json.dumps(library), json.dumps(overrides)]
    done = subprocess.run(
        [*command, *map(str, folders)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main(arguments: list[str]) -> None:
    """Run as the module's docstring says; writes checkpoints below a second folder, if given."""
    threads, library, overrides = (json.loads(argument) for argument in arguments[:3])
    cfg = run_config(**overrides)
    runtime.prepare_process(
        device="CPU", cache=ROOT / "var" / "cache", threads=threads, kernels=cfg.kernel_set,
        library=library,
    )  # fmt: skip
    source = Path(arguments[3]) if len(arguments) > 3 else None
    files = None
    if source and (source / CHECKPOINT_FILES[0]).exists():
        files = {name: (source / name).read_bytes() for name in CHECKPOINT_FILES}
    events = run(cfg, start_files=files)
    taken = checkpoints(events)
    if source and files is None:
        for name, data in taken[min(taken)].files.items():
            (source / name).write_bytes(data)
    shown = {
        "checkpoints": {
            step: {name: entry.sha256 for name, entry in point.record.files.items()}
            for step, point in taken.items()
        },
        "metrics": {f"{m.split}-{m.step}": [m.loss, m.accuracy, m.lr] for m in metrics(events)},
    }
    print(json.dumps(shown))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
