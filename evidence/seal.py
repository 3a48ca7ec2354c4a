"""Sealing: deriving the last files of a run folder, its manifest, and the signature over it.

Nothing here has a time or a random number in it: doing it again after a crash gives the same bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evidence import binding, canonical, derived, digest, files, journal
from evidence.derived import Sources
from evidence.errors import BadSignature, IntegrityError
from evidence.model_signature import ModelPublicKey
from evidence.pack import (
    DERIVED,
    MANIFEST,
    RECORDS,
    VERSION,
    Manifest,
    PackPaths,
    write_manifest,
)
from evidence.packfiles import parse
from evidence.signing import PublicKey, SigningKey, sign_statement, statement, verify_envelope

PREDICATE_TYPE = "urn:zeropoint:pack-seal:v1"
"""`predicateType` of the statement that seals a pack of format 1."""

PHASES = (*DERIVED, "manifest", "seal")
"""What `finalise` does, in order."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Who seals a pack of format 2."""

    history: bytes
    """The history of keys that leads to the signing one; see `keyring`."""
    log: str
    """Verifier key of the log that gets the seal."""
    model_key: ModelPublicKey
    """What signed the checkpoints' folders."""


def _go_on(_: str) -> None:
    """Do nothing between the phases."""


def finalise(
    root: Path,
    key: SigningKey,
    *,
    run_id: str,
    authority: Authority | None = None,
    after: Callable[[str], None] = _go_on,
) -> str:
    """Derive, list and sign an ended run's folder; return the SHA-256 of its manifest.

    Running it again after a crash at any point ends in the same bytes. A pack of format 2 is whole
    when `prove` has added what the log says of it.

    Args:
        root: The run folder: config, journals up to the `end` event and, if an attempt was made,
            model.json and the final provenance.json.
        key: The service's key.
        run_id: Name of the run; also in provenance.json.
        authority: Needed where the run has signed records.
        after: Called with each of PHASES when it is done; a test may stop the process there.

    Raises:
        BrokenChain: events.jsonl is damaged.
        IntegrityError: A file is there that no pack has, or one is missing.
        StorageFull: There is no space; run it again when there is.
    """
    files.sweep(root)
    for path, data in derived.files(_sources(root, run_id)).items():
        files.write_atomic(root / path, data)
        after(path)
    sha256 = write_manifest(root, run_id=run_id)
    after("manifest")
    seal_pack(root, key, authority=authority)
    after("seal")
    return sha256


def _sources(root: Path, run_id: str) -> Sources:
    paths = PackPaths(root)
    config = paths.config.read_bytes()
    provenance = paths.provenance.read_bytes() if paths.provenance.exists() else None
    return derived.read_sources(
        run_id=run_id,
        config=config,
        provenance=provenance,
        events=journal.read(paths.events, genesis=digest.of_bytes(config)),
    )


def seal_pack(root: Path, key: SigningKey, *, authority: Authority | None = None) -> None:
    """Sign the manifest of a run folder: write the keys below seal/, then the envelope.

    Raises:
        IntegrityError: manifest.json is not a manifest, or there are records and no authority.
        StorageFull: There is no space.
    """
    paths = PackPaths(root)
    manifest = paths.manifest.read_bytes()
    last_record = _last_record(paths)
    if last_record is None:
        said = seal_statement(manifest)
    elif authority is None:
        raise IntegrityError(f"{RECORDS} is there, but no authority that seals it")
    else:
        said = bound_seal_statement(
            manifest,
            log=authority.log,
            model_key=authority.model_key.sha256,
            previous=last_record,
        )
    paths.seal.mkdir(exist_ok=True)
    files.sweep(paths.seal)
    if last_record is not None and authority is not None:
        files.write_atomic(paths.seal_keys, authority.history)
        files.write_atomic(paths.seal_model_key, authority.model_key.pem)
    files.write_atomic(paths.seal_key, key.public.pem)
    files.write_atomic(paths.seal_envelope, sign_statement(key, said))
    files.fsync_folder(root)


def _last_record(paths: PackPaths) -> str | None:
    """Return the SHA-256 of the last signed record, or None where there are none."""
    if not paths.records.exists():
        return None
    return digest.of_bytes(paths.records.read_bytes().splitlines()[-1])


def prove(root: Path, *, tree_head: bytes, inclusion: bytes) -> None:
    """Add what the log says of a sealed run: its tree head, and the proofs, which are the last.

    Raises:
        StorageFull: There is no space.
    """
    paths = PackPaths(root)
    files.write_atomic(paths.seal_tree_head, tree_head)
    files.write_atomic(paths.seal_inclusion, inclusion)
    files.fsync_folder(root)


def seal_statement(manifest: bytes) -> dict[str, Any]:
    """Return the statement that seals a pack of format 1 with this manifest.

    Raises:
        IntegrityError: `manifest` is not a manifest.
    """
    sha256 = digest.of_bytes(manifest)
    predicate = {
        "v": VERSION,
        "run_id": parse(Manifest, manifest).run_id,
        "manifest_sha256": sha256,
        "manifest_bytes": len(manifest),
    }
    return statement({MANIFEST: sha256}, predicate_type=PREDICATE_TYPE, predicate=predicate)


def bound_seal_statement(
    manifest: bytes, *, log: str, model_key: str, previous: str
) -> dict[str, Any]:
    """Return the statement that seals a pack of format 2 with this manifest.

    Args:
        manifest: manifest.json.
        log: Verifier key of the log.
        model_key: SHA-256 of seal/model.pub.
        previous: SHA-256 of the last line of records.jsonl.

    Raises:
        IntegrityError: `manifest` is not a manifest.
    """
    sha256 = digest.of_bytes(manifest)
    predicate = binding.SealBinding(
        run_id=parse(Manifest, manifest).run_id,
        manifest_sha256=sha256,
        manifest_bytes=len(manifest),
        model_key=model_key,
        log=log,
        previous=previous,
    )
    return statement(
        {MANIFEST: sha256},
        predicate_type=binding.SEAL,
        predicate=predicate.model_dump(mode="json"),
    )


def require_sealed(
    envelope: bytes,
    *,
    manifest: bytes,
    public_key: PublicKey,
    previous: str | None = None,
) -> None:
    """Raise unless the envelope is the seal of exactly this manifest by this key.

    Args:
        envelope: seal/manifest.dsse.json.
        manifest: manifest.json.
        public_key: The key that must have signed.
        previous: SHA-256 of the last record; None in format 1.

    Raises:
        BadSignature: It is not; expected and found statement stand in the error.
        IntegrityError: `manifest` is not a manifest.
    """
    found = verify_envelope(envelope, public_key)
    if previous is None:
        expected = seal_statement(manifest)
    else:
        told = binding.predicate_of(found, binding.SealBinding, binding.SEAL)
        expected = bound_seal_statement(
            manifest, log=told.log, model_key=told.model_key, previous=previous
        )
    if found != expected:
        raise BadSignature(
            "the seal is a signed statement about another manifest",
            field="/payload",
            expected=canonical.encode(expected).decode(),
            found=canonical.encode(found).decode(),
        )
