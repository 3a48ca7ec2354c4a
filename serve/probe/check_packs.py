"""Checks of the packs that runs leave: sound by themselves, and of the run that was asked for."""

from collections.abc import Iterator
from typing import Any

from evidence import digest
from evidence import seed as run_seed
from evidence.archive import read
from evidence.errors import ServiceError
from evidence.keyring import read_history
from evidence.log import tree_head
from evidence.log.note import Verifier, from_base64
from evidence.pack import CONFIG, MANIFEST, PROVENANCE, RECORDS
from evidence.report import Result
from evidence.signing import PublicKey, unverified_statement
from evidence.subject import DescribeModel, KnownLog, first_difference
from evidence.verify import verify
from serve.probe.check_http import OK
from serve.probe.finding import Discrepancy, Finder, differs
from serve.probe.seen import FIRST, Seen, SeenRun, require
from serve.probe.tour import DATASET
from trainers.data import catalog

KEYS = "/.well-known/zeropoint/keys"
LOG = "/api/log"
HEAD = "/api/log/checkpoint"

REQUIRED = (
    "seal.signature",
    "records.commitment",
    "records.checkpoints",
    "log.inclusion",
    "model.signature",
)
"""Checks of a pack that must have been made, beside that none failed."""


class Sound:
    """The check that packs pass `evidence.verify`, under the key and log that the service shows.

    Args:
        describe_model: Builds the model of a config, for the first pack; None leaves check 12 out.
    """

    def __init__(self, describe_model: DescribeModel | None) -> None:
        self._describe_model = describe_model

    def __call__(self, seen: Seen) -> Finder:
        """Every check of every pack passes."""
        runs = seen.require_runs()
        key = read_history(seen.after[KEYS].body)[-1]
        verifier = Verifier.parse(seen.after[LOG].json["key"])
        made = 0
        for run in runs:
            answer = require(run.pack, "the pack")
            if answer.status != OK:
                yield differs(answer.place, OK, answer.status, field="status", file=answer.file)
                continue
            checks = list(self._judge(seen, run, key, verifier))
            made += len(checks)
            yield from (one for one in checks if one is not None)
        return f"{len(runs)} packs, {made} checks"

    def _judge(
        self, seen: Seen, run: SeenRun, key: PublicKey, verifier: Verifier
    ) -> Iterator[Discrepancy | None]:
        known = _known_log(seen, run, verifier)
        required = {*REQUIRED, *(["log.consistency"] if known.head else [])}
        report = verify(
            run.zip,
            public_key=key,
            describe_model=self._describe_model if run.asked.name == FIRST else None,
            known_log=known,
            required=required,
        )
        file = require(run.pack, "the pack").file
        for check in report.checks:
            is_unmade = check.id in required and check.result is not Result.PASSED
            if check.result is not Result.FAILED and not is_unmade:
                yield None
                continue
            place, _, within = (check.where or check.id).partition(", ")
            yield differs(
                f"pack/{place}",
                check.expected or f"check {check.number} {check.id}: {check.title}",
                check.found or check.detail,
                field=within or check.id,
                file=file,
                why=check.meaning or f"check {check.id} of the pack did not pass",
            )


def _known_log(seen: Seen, run: SeenRun, verifier: Verifier) -> KnownLog:
    """Return what the probe knows of the log: its key, and its tree head before the run."""
    head = tree_head.verify(seen.before[HEAD].body, verifier)
    proof = seen.growth_of_packs.get(run.asked.name)
    if proof is None or head.head.size == 0:
        return KnownLog(verifier=verifier)
    hashes = [from_base64(one, what="hashes") for one in proof.json["hashes"]]
    return KnownLog(verifier=verifier, head=head, proof=hashes)


def asked_for(seen: Seen) -> Finder:
    """Each pack is of the run that was asked for: its id, config, nonce and seed."""
    runs = seen.require_runs()
    data = catalog.entry(DATASET).digests
    for run in runs:
        nonce = run.asked.config["nonce"]
        seed = run_seed.derive(run.asked.config, data, nonce)
        config, provenance = run.pack_json(CONFIG), run.pack_json(PROVENANCE)
        yield from _same(run, CONFIG, dict(run.asked.config), config)
        told = {name: provenance[name] for name in ("run_id", "nonce", "seed")}
        expected = {"run_id": run.run_id, "nonce": nonce, "seed": seed}
        yield from _same(run, PROVENANCE, expected, told)
        manifest = run.pack_json(MANIFEST)
        yield from _same(run, MANIFEST, {"run_id": run.run_id}, {"run_id": manifest["run_id"]})
        commitment = _commitment(run)
        expected = {**expected, "config_sha256": digest.of_record(run.asked.config)}
        told = {name: commitment.get(name) for name in expected}
        yield from _same(run, RECORDS, expected, told)
    return f"{len(runs)} packs"


def published_data(seen: Seen) -> Finder:
    """Each run trained on the data set that was asked for, as its authors published it."""
    runs = seen.require_runs()
    expected: dict[str, Any] = {"name": DATASET, "files": catalog.entry(DATASET).digests}
    for run in runs:
        dataset = run.pack_json(PROVENANCE)["dataset"]
        told = {name: dataset.get(name) for name in expected}
        yield from _same(run, PROVENANCE, expected, told, pointer="/dataset")
        if run.pack_json(CONFIG)["dataset"] != DATASET:
            found = run.pack_json(CONFIG)["dataset"]
            yield _of(run, CONFIG, "/dataset", DATASET, found)
        if RECORDS in run.zip.files:
            data = _commitment(run).get("data")
            yield from _same(run, RECORDS, expected["files"], data, pointer="/1/data")
    return f"{len(runs)} packs, {len(expected['files'])} files of data"


def listed(seen: Seen) -> Finder:
    """The list of the evidence, the zip, and what is downloaded one by one are the same bytes."""
    runs = seen.require_runs()
    count = 0
    for run in runs:
        answer = require(run.files, "the evidence")
        told = {one["path"]: (one["bytes"], one["sha256"]) for one in answer.json["files"]}
        held = {}
        for path, size in run.zip.files.items():
            held[path] = (size, digest.of_bytes(read(run.zip, path)))
        count += len(held)
        for path in sorted({*told, *held}):
            if told.get(path) != held.get(path):
                yield _of(run, path, "", str(told.get(path)), str(held.get(path)))
        yield from _of_downloads(run)
        records = require(run.signed, "the signed records")
        if records.body != run.pack_bytes(RECORDS):
            expected, found = (
                digest.of_bytes(run.pack_bytes(RECORDS)),
                digest.of_bytes(records.body),
            )
            yield differs(records.place, expected, found, field=RECORDS, file=records.file)
    return f"{count} files"


def _of_downloads(run: SeenRun) -> Iterator[Discrepancy]:
    for (step, name), answer in run.downloads.items():
        path = f"checkpoints/step_{step:06}/{name}"
        found = digest.of_bytes(answer.body)
        if answer.status != OK:
            yield differs(answer.place, OK, answer.status, field="status", file=answer.file)
            continue
        if answer.headers.get("etag") != f'"{found}"':
            etag = answer.headers.get("etag", "none")
            yield differs(answer.place, f'"{found}"', etag, field="etag", file=answer.file)
        if path not in run.zip.files:
            yield _of(run, path, "", "a file", "none")
        elif read(run.zip, path) != answer.body:
            why = "the download and the pack hold different checkpoints"
            held = digest.of_bytes(read(run.zip, path))
            yield differs(answer.place, held, found, field=name, file=answer.file, why=why)


def _commitment(run: SeenRun) -> dict[str, Any]:
    """Return what the first signed record says; nothing where there is none, which is checked."""
    try:
        line = run.pack_bytes(RECORDS).partition(b"\n")[0]
        predicate = unverified_statement(line).get("predicate")
    except ServiceError:
        return {}
    return predicate if isinstance(predicate, dict) else {}


def _same(
    run: SeenRun, path: str, expected: Any, found: Any, *, pointer: str = ""
) -> Iterator[Discrepancy]:
    if expected != found:
        place, wanted, actual = first_difference(expected, found)
        yield _of(run, path, f"{pointer}{place}", wanted, actual)


def _of(run: SeenRun, path: str, field: str, expected: object, found: object) -> Discrepancy:
    file = require(run.pack, "the pack").file
    return differs(f"pack/{path}", expected, found, field=field, file=file)
