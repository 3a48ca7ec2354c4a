"""Checks 1 to 3: the files of a pack against its manifest, and the manifest against its seal."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from evidence import digest
from evidence.binding import MAX_RECORD_BYTES
from evidence.errors import BadSignature, IntegrityError, InvalidInput
from evidence.keyring import read_history
from evidence.pack import (
    DESCRIPTIONS,
    MANIFEST,
    MANIFEST_SHA256,
    MAX_DOCUMENT_BYTES,
    MODEL_SIGNATURE,
    OPTIONAL_SEAL_FILES,
    RECORDS,
    REQUIRED,
    SEAL_ENVELOPE,
    SEAL_KEY,
    SEAL_KEYS,
    checkpoint_path,
    checkpoint_step,
    format_of,
    is_known,
    unlisted,
)
from evidence.records import CHECKPOINT_FILES, FileDigest
from evidence.seal import require_sealed
from evidence.signing import PublicKey
from evidence.subject import Difference, Differs, Good, Subject, as_difference, plural, size

_CHUNK_BYTES = 1 << 20

HASHERS = 2
"""Threads that hash at once; SHA-256 lets other threads run."""


def complete(subject: Subject) -> Good:
    """(1) The pack has the files of the manifest and the format, and no others."""
    subject.require_sealed()
    held = set(subject.pack.files)
    listed = set(subject.manifest.files)
    version = subject.manifest.v
    if version != format_of(listed):
        raise Differs(
            Difference(
                f"the manifest is of format {version}, its files are of format {format_of(listed)}",
                where=f"{MANIFEST}, /v",
                expected=str(format_of(listed)),
                found=str(version),
                meaning="records.jsonl or verdicts.jsonl was added, or taken out",
            )
        )
    beside = set(unlisted(version))
    _refuse_missing(beside - held - set(OPTIONAL_SEAL_FILES[version]), "every sealed pack has it")
    _refuse_missing(set(REQUIRED) - listed, "every manifest lists it")
    _refuse_missing(listed - held, "manifest.json lists it")
    _refuse_missing(_companions(listed) - listed, "a file that goes with it is there")
    _refuse_extra(held - listed - beside, "manifest.json does not list it")
    _refuse_extra({path for path in listed if not is_known(path)}, "no pack has such a file")
    later = {path for path in listed if version == 1 and path.endswith(f"/{MODEL_SIGNATURE}")}
    _refuse_extra(later, "no pack of format 1 has such a file")
    _refuse_extra(subject.pack.empty_folders, "there is nothing in it", kind="an empty folder")
    return Good(plural(len(held), "file"))


def _companions(listed: set[str]) -> set[str]:
    """Return the files that must be there because another is."""
    described = set(DESCRIPTIONS) if listed & set(DESCRIPTIONS) else set()
    steps = {path.split("/")[1] for path in listed if path.startswith("checkpoints/step_")}
    return described | {
        checkpoint_path(checkpoint_step(name), file)
        for name in steps
        if is_known(f"checkpoints/{name}/{CHECKPOINT_FILES[0]}")
        for file in CHECKPOINT_FILES
    }


def _refuse_missing(paths: Iterable[str], why: str) -> None:
    for path in sorted(paths):
        raise Differs(
            Difference(
                f"{path} is missing: {why}",
                where=path,
                expected="a file",
                found="none",
                meaning="a part of the evidence was removed",
            )
        )


def _refuse_extra(paths: Iterable[str], why: str, *, kind: str = "a file") -> None:
    for path in sorted(paths):
        raise Differs(
            Difference(
                f"{path} does not belong here: {why}",
                where=path,
                expected="none",
                found=kind,
                meaning="something was put into the pack after it was sealed, or beside its format",
            )
        )


def digests(subject: Subject) -> Good:
    """(2) Every file has the recorded size and SHA-256, the manifest itself included."""
    subject.require_sealed()
    stored = subject.read(MANIFEST_SHA256)
    actual = digest.of_bytes(subject.read(MANIFEST))
    if stored != f"{actual}\n".encode():
        raise Differs(
            Difference(
                "manifest.json has another SHA-256 than manifest.sha256 says",
                where=MANIFEST,
                expected=stored[:80].decode("ascii", "backslashreplace").removesuffix("\n"),
                found=actual,
                meaning="manifest.json or manifest.sha256 was changed after sealing",
            )
        )
    listed = sorted(subject.manifest.files.items())
    there = [(path, file) for path, file in listed if subject.has(path)]  # else check 1 finds it
    _require_sizes(subject, there)  # before a byte of a large file is hashed
    with ThreadPoolExecutor(HASHERS) as pool:
        hashed = pool.map(lambda item: hash_file(subject, item[0]), there)
        for (path, expected), found in zip(there, hashed, strict=True):
            _require_digest(subject, path, expected, found)
    total = sum(file.bytes for file in subject.digests.values())
    return Good(size(total), plural(len(subject.digests), "file"))


_MEANING = "the file was changed after the manifest was written, or is of another pack"


def _require_sizes(subject: Subject, files: list[tuple[str, FileDigest]]) -> None:
    sizes = subject.pack.files
    subject.oversize = {p for p, file in files if sizes[p] > file.bytes + MAX_DOCUMENT_BYTES}
    for path, expected in files:
        if sizes[path] != expected.bytes:
            raise Differs(
                Difference(
                    f"{path} has another size than the manifest says",
                    where=path,
                    expected=f"{expected.bytes} bytes",
                    found=f"{sizes[path]} bytes",
                    meaning=_MEANING,
                )
            )


def _require_digest(subject: Subject, path: str, expected: FileDigest, found: FileDigest) -> None:
    subject.digests[path] = found
    if found != expected:
        raise Differs(
            Difference(
                f"{path} has another SHA-256 than the manifest says",
                where=path,
                expected=expected.sha256,
                found=found.sha256,
                meaning=_MEANING,
            )
        )


def hash_file(subject: Subject, path: str) -> FileDigest:
    """Return size and SHA-256 of a file of the pack."""
    state, count = hashlib.sha256(), 0
    with subject.pack.open(path) as file:
        while data := file.read(_CHUNK_BYTES):
            state.update(data)
            count += len(data)
    return FileDigest(bytes=count, sha256=state.hexdigest())


def signature(subject: Subject) -> Good:
    """(3) The seal is the signature of this manifest by the key beside it."""
    subject.require_sealed()
    key = _public_key(subject)
    trusted = subject.public_key
    if trusted is not None and trusted.key_id not in _led_to_by(subject, key):
        raise Differs(
            Difference(
                "the pack is signed by another key than the given one",
                where=SEAL_KEY,
                expected=trusted.key_id,
                found=key.key_id,
                meaning="another service sealed this pack, or its seal was replaced",
            )
        )
    try:
        require_sealed(
            subject.read(SEAL_ENVELOPE),
            manifest=subject.read(MANIFEST),
            public_key=key,
            previous=_last_record(subject) if subject.is_bound else None,
        )
    except BadSignature as error:
        raise Differs(
            Difference(
                error.detail,
                where=SEAL_ENVELOPE + (f", {error.field}" if error.field else ""),
                expected=error.expected or "",
                found=error.found or "",
                meaning="the manifest, the seal or the key was changed after sealing",
            )
        ) from error
    except IntegrityError as error:
        raise Differs(Difference(f"{MANIFEST}: {error.detail}", where=MANIFEST)) from error
    subject.key_id = key.key_id
    known = "the given key" if trusted is not None else "compare the key id with one you trust"
    return Good("Ed25519", f"signed by key {key.key_id}; {known}")


def _led_to_by(subject: Subject, key: PublicKey) -> set[str]:
    """Return the keys that vouch for the signing one: itself, and those before it."""
    if not subject.is_bound:
        return {key.key_id}
    with as_difference(SEAL_KEYS):
        return {key.key_id, *(one.key_id for one in read_history(subject.read(SEAL_KEYS)))}


def _last_record(subject: Subject) -> str:
    """Return the SHA-256 of the last line of records.jsonl, without its newline."""
    last = b""
    with subject.pack.open(RECORDS) as file:
        while line := file.readline(MAX_RECORD_BYTES + 2):
            last = line
    return digest.of_bytes(last.removesuffix(b"\n"))


def _public_key(subject: Subject) -> PublicKey:
    try:
        return PublicKey.from_pem(subject.read(SEAL_KEY))
    except InvalidInput as error:
        raise Differs(
            Difference(
                error.detail,
                where=SEAL_KEY,
                meaning="the key that should check the seal was changed",
            )
        ) from error
