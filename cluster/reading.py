"""What readers ask of one run's folder, beyond its view: metrics, logs, checkpoints, evidence."""

from collections.abc import Iterator
from typing import Any

from cluster import checkpoints
from cluster.run_folder import RunFolder
from cluster.summary import body_of
from evidence import archive, canonical, digest, pack
from evidence.derived import trend
from evidence.errors import NotFound
from evidence.records import CHECKPOINT_FILES, MEASURES, CheckpointRecord, EventKind, Split

_PAGE = 1_000


def metrics(folder: RunFolder, *, after: int, limit: int) -> dict[str, Any]:
    """Return at most `limit` metric records with a seq above `after`, and the trend of the run."""
    records = _records(folder, {EventKind.METRIC}, after=after, limit=limit)
    return {
        "run_id": folder.run_id,
        "metrics": records,
        "next_after": records[-1]["seq"] if records else after,
        "total": folder.summary.metric_count,
        "trend": trend(folder.summary.test_losses),
    }


def curves(folder: RunFolder, *, after: int, last: int, limit: int) -> dict[str, Any]:
    """Return at most `limit` metric records with a seq above `after`, up to `last`, as columns."""
    found = _records(folder, {EventKind.METRIC}, after=after, limit=limit)
    records = [record for record in found if record["seq"] <= last]
    splits = {split: [one for one in records if one["split"] == split] for split in Split}
    return {
        "run_id": folder.run_id,
        **{split.value: _columns(chosen) for split, chosen in splits.items()},
        "next_after": records[-1]["seq"] if records else after,
        "is_whole": len(records) < limit,
    }


def _columns(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return `columns` with a value or null a record, and why the newest of the nulls are null."""
    names = ("seq", "step", "timestamp", *MEASURES)
    reasons: dict[str, str] = {}
    for record in records:
        reasons |= record["reasons"]
    return {
        "columns": {name: [record[name] for record in records] for name in names},
        "reasons": reasons,
    }


def logs(folder: RunFolder, *, after: int, last: int, limit: int) -> dict[str, Any]:
    """Return at most `limit` log and status records with a seq above `after`, up to `last`."""
    kinds = {EventKind.LOG, EventKind.STATUS}
    found = _records(folder, kinds, after=after, limit=limit)
    records = [record for record in found if record["seq"] <= last]
    return {
        "run_id": folder.run_id,
        "logs": records,
        "next_after": records[-1]["seq"] if records else after,
    }


def checkpoint_records(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the record of every checkpoint, oldest first; `action` says which were pruned."""
    known = {**folder.summary.pruned, **folder.summary.checkpoints}
    return [known[step].model_dump(mode="json", exclude={"kind"}) for step in sorted(known)]


def checkpoint_file(folder: RunFolder, step: int, name: str) -> bytes:
    """Return one file of a checkpoint, its digest checked.

    Raises:
        NotFound: There is no such checkpoint or file, or its bytes were pruned.
        DigestMismatch: The file has other bytes than recorded.
    """
    record = _kept(folder, step)
    if name not in CHECKPOINT_FILES:
        allowed = ", ".join(CHECKPOINT_FILES)
        raise NotFound(f"file: expected one of {allowed}, found {name!r}", field="file")
    return checkpoints.read(folder.paths.checkpoints, record)[name]


def model_file(folder: RunFolder, step: int | None) -> tuple[int, bytes]:
    """Return step and model.safetensors of a checkpoint, the newest if `step` is None.

    Raises:
        NotFound: There is no such checkpoint.
        DigestMismatch: The file has other bytes than recorded.
    """
    newest = max(folder.summary.checkpoints, default=None)
    chosen = newest if step is None else step
    if chosen is None:
        raise NotFound(f"run {folder.run_id} has no checkpoint yet", field="step")
    return chosen, checkpoint_file(folder, chosen, "model.safetensors")


def evidence(folder: RunFolder) -> dict[str, Any]:
    """Return every file of the pack with size and digest, and whether it is sealed."""
    manifest = folder.paths.manifest
    return {
        "run_id": folder.run_id,
        "sealed": folder.is_sealed,
        "manifest_sha256": digest.of_file(manifest) if folder.is_sealed else None,
        "files": [
            {"path": path, **file.model_dump()} for path, file in pack.inventory(folder.paths.root)
        ],
    }


def evidence_zip(folder: RunFolder) -> Iterator[bytes]:
    """Return the pieces of the pack as a zip."""
    return archive.zip_chunks(folder.paths.root)


def finished_model(folder: RunFolder) -> dict[str, Any]:
    """Return what `/api/models` shows of a run that succeeded."""
    step = max(folder.summary.checkpoints)
    record = folder.summary.checkpoints[step]
    test = folder.summary.last_metrics.get("test")
    return {
        "run_id": folder.run_id,
        "name": folder.config.name,
        "recipe": folder.config.recipe,
        "dataset": folder.config.dataset,
        "architecture": folder.config.model.architecture,
        "step": step,
        "model_digest": record.model_digest,
        "sha256": record.files["model.safetensors"].sha256,
        "test_loss": test["loss"] if test else None,
        "test_accuracy": test["accuracy"] if test else None,
    }


def _kept(folder: RunFolder, step: int) -> CheckpointRecord:
    if step in folder.summary.checkpoints:
        return folder.summary.checkpoints[step]
    if step in folder.summary.pruned:
        raise NotFound(
            f"checkpoint {step} was pruned: its record stays, its bytes were deleted", field="step"
        )
    kept = ", ".join(str(step) for step in sorted(folder.summary.checkpoints)) or "none"
    raise NotFound(f"there is no checkpoint {step}; there are: {kept}", field="step")


def _records(
    folder: RunFolder, kinds: set[EventKind], *, after: int, limit: int
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < limit:
        lines = folder.event_lines(after=after, limit=_PAGE)
        if not lines:
            break
        records = [canonical.decode_object(line) for line in lines]
        found += [body_of(r) | {"seq": r["seq"]} for r in records if r["kind"] in kinds]
        after = records[-1]["seq"]
    return found[:limit]
