"""A fraud's workshop: packs of format 2 made false by somebody who has every key of the service.

    train falsely         `tests.trainers.sealed`: other updates, other batches, other starts
    tell falsely          here: events that were not, states that were not reached
    sign again            here: records, seal, model signatures and log, all to fit

What comes out is signed and logged like an honest pack; only what it says is not so.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cluster.notary import Notary
from cluster.record_book import RecordBook
from cluster.settings import Limits
from evidence import binding, canonical, digest, journal, tensors
from evidence import seed as seeds
from evidence.archive import open_pack
from evidence.binding import Commitment
from evidence.clock import utc_now
from evidence.pack import PackPaths
from evidence.records import CHECKPOINT_FILES, Checkpoint, Metric, TrainingEvent
from evidence.report import Report, Result
from evidence.seal import finalise, prove
from evidence.signing import unverified_statement
from evidence.verify import verify
from tests.evidence import genuine
from tests.trainers import tiny
from tests.trainers.sealed import Pack
from trainers.config import RunConfig

CONFIG = tiny.run_config(
    optimizer={"name": "sgd", "lr": 0.05, "momentum": 0.9}, steps=9, checkpoint_every=3
)
DATA = tiny.dataset()
MODEL, OPTIMIZER, STATE = CHECKPOINT_FILES

Objects = list[dict[str, Any]]
"""JSON objects: the predicates of records, or the lines of a journal."""


def write(
    runs: Path, events: Sequence[TrainingEvent], cfg: RunConfig = CONFIG, **options: Any
) -> Path:
    """Let the service of `runs` write and seal the pack of a run with these events."""
    return Pack(cfg, [events], dict(tiny.data_of(cfg).digests)).write(runs / "pack", **options)


def judge(root: Path, **options: Any) -> Report:
    """Return the report of every check, that of the model among them."""
    from trainers.models import build  # noqa: PLC0415 - after the process is prepared

    def describe(plain: dict[str, Any]) -> dict[str, Any]:
        return build.describe(RunConfig.model_validate(plain))

    with open_pack(root) as pack:
        return verify(pack, **{"describe_model": describe, **options})


def failed(report: Report) -> list[str]:
    """Return the ids of the checks that failed."""
    return [check.id for check in report.checks if check.result is Result.FAILED]


# -- told falsely --------------------------------------------------------------------------------


def restated(event: TrainingEvent, **state: np.generic) -> TrainingEvent:
    """Return a checkpoint with other values in its state, and its record to fit."""
    if not isinstance(event, Checkpoint):
        return event
    decoded = {name: tensors.decode(data) for name, data in event.files.items()}
    for name, value in state.items():
        decoded[STATE][name] = tensors.from_numpy(np.asarray(value))
    return genuine.make_checkpoint(event.record.step, decoded, utc_now)


def seeded(events: Sequence[TrainingEvent], cfg: RunConfig) -> list[TrainingEvent]:
    """Return the events with the seed of another run in every checkpoint."""
    told = seeds.derive(cfg.as_json(), DATA.digests, cfg.nonce)
    return [restated(event, seed=np.uint64(seeds.as_integer(told))) for event in events]


def moved(event: TrainingEvent, by: int, *, like: Checkpoint) -> TrainingEvent:
    """Return an event of a run as if it had been `by` steps later.

    Args:
        event: A metric or a checkpoint.
        by: How many steps.
        like: An honest checkpoint there, for the place in the data.
    """
    if isinstance(event, Metric):
        return event.model_copy(update={"step": event.step + by})
    assert isinstance(event, Checkpoint)
    states = {name: tensors.decode(event.files[name]) for name in (MODEL, OPTIMIZER)}
    states[STATE] = tensors.decode(like.files[STATE])
    return genuine.make_checkpoint(event.record.step + by, states, utc_now)


# -- signed again --------------------------------------------------------------------------------


def reforge(root: Path, change: Callable[[Objects], object], notary: Notary) -> None:
    """Sign changed records anew, chained, sealed and logged as the service would."""
    paths = PackPaths(root)
    statements = [unverified_statement(line) for line in paths.records.read_bytes().splitlines()]
    predicates = [one["predicate"] for one in statements]
    change(predicates)
    kept = [one for one in statements if one["predicate"] in predicates]
    lines: list[bytes] = []
    for one in sorted(kept, key=lambda kept: predicates.index(kept["predicate"])):
        one["predicate"]["previous"] = digest.of_bytes(lines[-1]) if lines else None
        lines.append(notary.sign(one))
    paths.records.write_bytes(b"".join(line + b"\n" for line in lines))
    reseal(root, notary)


def reseal(root: Path, notary: Notary, *, run_id: str | None = None) -> None:
    """Derive, list, sign and log a changed folder anew; records stay as they are."""
    paths = PackPaths(root)
    for folder in paths.checkpoints.iterdir():
        digests = {name: digest.of_file(folder / name) for name in CHECKPOINT_FILES}
        (folder / "model.sig").write_bytes(notary.model_key.sign(folder.name, digests))
    key, authority = notary.keyring.key, notary.authority
    finalise(root, key, run_id=run_id or root.name, authority=authority)
    entries = [*paths.records.read_bytes().splitlines(), paths.seal_envelope.read_bytes()]
    proof = notary.prove(entries)
    prove(root, tree_head=proof.tree_head, inclusion=proof.inclusion)


def retell(
    root: Path, notary: Notary, change: Callable[[Objects], object] = lambda _: None, **told: Any
) -> None:
    """Change the journal and make all that follows from it anew, the signed records too.

    Args:
        root: The pack; its folder's name is the run's id.
        notary: Who signs and logs.
        change: Changes the lines of events.jsonl.
        told: Fields of the commitment.
    """
    genuine.rewrite_events(root, change)
    paths = PackPaths(root)
    old = unverified_statement(paths.records.read_bytes().splitlines()[0])
    said = binding.predicate_of(old, Commitment, binding.COMMITMENT)
    genesis = digest.of_file(paths.config)
    at = list(journal.read(paths.events, genesis=genesis))[said.events.seq - 1]
    place = said.events.model_copy(update={"sha256": at.sha256})
    begins = {"config_sha256": genesis, "events": place, "log": notary.log, **told}
    paths.records.unlink()
    book = RecordBook(paths, notary)
    book.commit(said.model_copy(update={"run_id": root.name, **begins}))
    book.mend()
    reseal(root, notary)


def edit(path: Path, **fields: Any) -> None:
    """Change fields of a JSON file."""
    path.write_bytes(canonical.encode({**canonical.decode_object(path.read_bytes()), **fields}))


def second_log(home: Path, again: Path) -> Notary:
    """Return a notary with the keys of the service in `home`, and an empty log."""
    again.mkdir()
    (again / "keys").symlink_to(home / "keys")
    return Notary.open(again, limits=Limits())


def home_of(runs: Path) -> Path:
    """Return the home of the service that `tests.cluster.small.notary` makes for `runs`."""
    return runs.with_name(f"{runs.name}-service")
