"""Checks of the checkpoints, by computing again what the service says of them."""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from evidence import digest, tensors
from evidence import seed as run_seed
from evidence.errors import ServiceError
from evidence.pack import MODEL, RECORDS
from evidence.signing import unverified_statement
from serve.probe import model
from serve.probe.check_http import OK
from serve.probe.check_runs import metrics_of
from serve.probe.finding import CannotTell, Discrepancy, Finder, differs
from serve.probe.model import Judgement, Mlp
from serve.probe.seen import FIRST, Seen, SeenRun, require
from serve.probe.tour import DATASET
from trainers.data import catalog

FILE = "model.safetensors"
MODELS = "/api/models"

LARGEST_LOSS_ERROR = 1e-4
"""Difference of two losses in float32 that are added up in another order, relative above 1."""

LARGEST_PROBABILITY_ERROR = 1e-4
"""Difference of two probabilities in float32, as above."""

_ORDER = 0
_LABELS = "train-labels-idx1-ubyte"
_LABELS_HEADER_BYTES = 8


def loadable(seen: Seen) -> Finder:
    """Checkpoints are safetensors of the asked model's tensors, with the digests of the records."""
    runs = seen.require_runs()
    count = 0
    for run in runs:
        records = {one["step"]: one for one in require(run.checkpoints, "them").json["checkpoints"]}
        described = {
            one["name"]: (one["dtype"], tuple(one["shape"]))
            for one in run.pack_json(MODEL)["tensors"]
        }
        for (step, name), answer in run.downloads.items():
            count += 1
            try:
                held = tensors.decode(answer.body, name=name)
            except ServiceError as error:
                yield _of(answer, name, "a safetensors file", error.detail)
                continue
            record = records.get(step, {})
            wanted = record.get(f"{name.removesuffix('.safetensors')}_digest")
            found = digest.of_tensors(held)
            if found != wanted:
                why = "the tensors are not those of the record"
                yield _of(answer, name, str(wanted), found, why=why)
            if name == FILE:
                shapes = {one: (of.dtype, of.shape) for one, of in held.items()}
                for expected in (described, _shapes(run)):
                    if shapes != expected:
                        yield _of(answer, name, str(expected), str(shapes))
    return f"{count} files"


def _shapes(run: SeenRun) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the tensors of the MLP that was asked for."""
    images = catalog.image_set(DATASET)
    pixels = int(np.prod(images.image_shape))
    sizes = [pixels, *run.asked.config["model"]["hidden"], len(images.classes)]
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        expected[f"layers.{number}.weight"] = ("F32", (outputs, inputs))
        expected[f"layers.{number}.bias"] = ("F32", (outputs,))
    return expected


def accurate(seen: Seen) -> Finder:
    """Accuracy and loss of each checkpoint on the test images are those that were reported."""
    data = seen.require_data()
    listed = {one["run_id"]: one for one in seen.after[MODELS].json["models"]}
    inputs = model.normalised(data.test_images, catalog.image_set(DATASET))
    judged: dict[str, Judgement] = {}
    for run in seen.require_runs():
        final = None
        for step in run.asked.checkpoint_steps:
            mlp, file = _load(run, step), digest.of_bytes(run.downloads[step, FILE].body)
            if file not in judged:
                judged[file] = mlp.judge(inputs, data.test_labels)
            final = judged[file]
            yield from _judged(run, step, "test", final)
        told = listed.get(run.run_id, {}).get("test_accuracy")
        if told is not None and final is not None and not _agrees(told, final):
            yield _of(seen.after[MODELS], "/models/test_accuracy", final.accuracy, told)
    ties = sum(found.ties for found in judged.values())
    return f"{len(judged)} models, {len(data.test_labels)} images, {ties} near ties"


def losses(seen: Seen) -> Finder:
    """Loss and accuracy of the step behind a checkpoint are what its model gives on that batch."""
    data = seen.require_data()
    count = 0
    for run in seen.require_runs():
        for step in run.asked.checkpoint_steps[:-1]:
            chosen = _batch(run, step + 1)
            parts = (data.train_images, data.train_labels)
            images, labels = (np.asarray(part[chosen]) for part in parts)
            inputs = model.normalised(images, catalog.image_set(DATASET))
            found = _load(run, step).judge(inputs, labels)
            count += 1
            yield from _judged(run, step + 1, "train", found)
    return f"{count} batches"


def ordered(seen: Seen) -> Finder:
    """The order of samples that each run was committed to is the one of its seed."""
    runs = seen.require_runs()
    for run in runs:
        lines = run.pack_bytes(RECORDS).splitlines()
        told = unverified_statement(lines[0])["predicate"]["order_digest"]
        batches = [_batch(run, step) for step in range(1, run.asked.steps + 1)]
        expected = digest.of_bytes(np.concatenate(batches).astype("<i8").tobytes())
        if told != expected:
            file = require(run.pack, "the pack").file
            field = "line 1, /order_digest"
            yield differs(f"pack/{RECORDS}", expected, told, field=field, file=file)
    return f"{len(runs)} runs of {runs[0].asked.steps} batches"


def predicted(seen: Seen) -> Finder:
    """The predict route answers what the last checkpoint gives, for images drawn just now."""
    run = seen.runs[FIRST]
    answer = require(run.predicted, "a prediction")
    if answer.status != OK:
        yield _of(answer, "status", OK, answer.status)
        return "no prediction"
    told = answer.json
    for name, value in {"run_id": run.run_id, "step": run.asked.steps}.items():
        if told[name] != value:
            yield _of(answer, f"/{name}", value, told[name])
    entry = catalog.image_set(DATASET)
    inputs, classes = model.normalised(run.images, entry), entry.classes
    probabilities = _load(run, run.asked.steps).probabilities(inputs)
    if len(told["predictions"]) != len(probabilities):
        yield _of(answer, "/predictions", len(probabilities), len(told["predictions"]))
    for number, (one, row) in enumerate(zip(told["predictions"], probabilities, strict=False)):
        field = f"/predictions/{number}"
        error = float(np.abs(np.array(one["probabilities"]) - row).max())
        if not error < LARGEST_PROBABILITY_ERROR:
            yield _of(answer, f"{field}/probabilities", _row(row), _row(one["probabilities"]))
        best = int(np.argmax(one["probabilities"]))
        if (one["label"], one["name"]) != (best, classes[best]):
            found = f"{one['label']} {one['name']}"
            yield _of(answer, f"{field}/label", f"{best} {classes[best]}", found)
    return f"{len(probabilities)} images"


def _row(values: Any) -> str:
    return " ".join(f"{float(value):.6f}" for value in values)


def _judged(run: SeenRun, step: int, split: str, found: Judgement) -> Iterator[Discrepancy]:
    """Yield where a reported metric is not what was computed again."""
    page = run.metrics[0]
    told = [m for m in metrics_of(run) if (m["step"], m["split"]) == (step, split)]
    if not told:
        yield _of(page, f"/metrics/{split}/{step}", "a metric", "none")
        return
    loss, accuracy = told[0]["loss"], told[0]["accuracy"]
    field, why = f"/metrics/{told[0]['seq']}", f"the checkpoint gives another value at step {step}"
    if not abs(loss - found.loss) <= LARGEST_LOSS_ERROR * max(1.0, found.loss):
        yield _of(page, f"{field}/loss", f"{found.loss:.7f}", loss, why=why)
    if not _agrees(accuracy, found):
        yield _of(page, f"{field}/accuracy", f"{found.accuracy:.6f}", accuracy, why=why)


def _agrees(accuracy: float, found: Judgement) -> bool:
    """Return whether an accuracy is that many hits, but for near ties."""
    slack = found.ties + 1e-6 * found.images
    return abs(accuracy * found.images - found.hits) <= slack


def _load(run: SeenRun, step: int) -> Mlp:
    """Return the model of a checkpoint.

    Raises:
        CannotTell: There is no such checkpoint, or it is none; other checks say so.
    """
    answer = run.downloads.get((step, FILE))
    if answer is None or answer.status != OK:
        raise CannotTell(f"the {run.asked.name} run has no checkpoint at step {step}")
    try:
        return model.load(answer.body)
    except ServiceError as error:
        raise CannotTell(f"the checkpoint of step {step} is none: {error.detail}") from error


def _batch(run: SeenRun, step: int) -> np.ndarray:
    """Return which training samples a step sees (docs/pack-format.md, Order digest)."""
    data = catalog.image_set(DATASET)
    count = data.files[_LABELS].bytes - _LABELS_HEADER_BYTES
    size = int(run.asked.config["batch_size"])
    seed = run_seed.derive(run.asked.config, data.digests, run.asked.config["nonce"])
    epoch, batch = divmod(step - 1, count // size)
    order = _permutation(run_seed.as_integer(seed), epoch, count)
    return order[batch * size :][:size]


@cache
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(count)


def _of(answer: Any, field: str, expected: object, found: object, *, why: str = "") -> Discrepancy:
    return differs(answer.place, expected, found, field=field, file=answer.file, why=why)
