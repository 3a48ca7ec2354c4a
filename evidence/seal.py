"""Sealing: deriving the last files of a run folder, its manifest, and the signature over it.

Nothing here has a time or a random number in it: doing it again after a crash gives the same bytes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evidence import canonical, derived, digest, files, journal
from evidence.derived import Sources
from evidence.errors import BadSignature
from evidence.pack import DERIVED, MANIFEST, VERSION, Manifest, PackPaths, write_manifest
from evidence.packfiles import parse
from evidence.signing import PublicKey, SigningKey, sign_statement, statement, verify_envelope

PREDICATE_TYPE = "urn:zeropoint:pack-seal:v1"
"""`predicateType` of the statement that seals a pack."""

PHASES = (*DERIVED, "manifest", "seal")
"""What `finalise` does, in order."""


def _go_on(_: str) -> None:
    """Do nothing between the phases."""


def finalise(
    root: Path, key: SigningKey, *, run_id: str, after: Callable[[str], None] = _go_on
) -> str:
    """Derive, list and sign an ended run's folder; return the SHA-256 of its manifest.

    Running it again after a crash at any point ends in the same bytes.

    Args:
        root: The run folder: config, journals up to the `end` event and, if an attempt was made,
            model.json and the final provenance.json.
        key: The service's key.
        run_id: Name of the run; also in provenance.json.
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
    seal_pack(root, key)
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


def seal_pack(root: Path, key: SigningKey) -> None:
    """Sign the manifest of a run folder: write seal/service.pub, then seal/manifest.dsse.json.

    The envelope is last: a folder that has it is sealed.

    Raises:
        IntegrityError: manifest.json is not a manifest.
        StorageFull: There is no space.
    """
    paths = PackPaths(root)
    data = paths.manifest.read_bytes()
    sealed = sign_statement(key, seal_statement(data))
    paths.seal.mkdir(exist_ok=True)
    files.sweep(paths.seal)
    files.write_atomic(paths.seal_key, key.public.pem)
    files.write_atomic(paths.seal_envelope, sealed)
    files.fsync_folder(root)


def seal_statement(manifest: bytes) -> dict[str, Any]:
    """Return the statement that seals a pack with this manifest.

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
    return statement(
        name=MANIFEST, sha256=sha256, predicate_type=PREDICATE_TYPE, predicate=predicate
    )


def require_sealed(envelope: bytes, *, manifest: bytes, public_key: PublicKey) -> None:
    """Raise unless the envelope is the seal of exactly this manifest by this key.

    Raises:
        BadSignature: It is not; expected and found statement stand in the error.
        IntegrityError: `manifest` is not a manifest.
    """
    found = verify_envelope(envelope, public_key)
    expected = seal_statement(manifest)
    if found != expected:
        raise BadSignature(
            "the seal is a signed statement about another manifest",
            field="/payload",
            expected=canonical.encode(expected).decode(),
            found=canonical.encode(found).decode(),
        )
