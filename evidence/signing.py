"""The service's Ed25519 key, and statements signed with it.

A signed thing is an in-toto Statement v1 in a DSSE envelope, both as canonical JSON, so that equal
statements under one key are equal bytes. Sources: DSSE v1.0.2 (secure-systems-lab/dsse),
in-toto Attestation Framework v1 (in-toto/attestation), RFC 8032.
"""

import base64
import binascii
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from evidence import canonical, digest, key_files
from evidence.errors import BadSignature, ConfigError, InvalidInput
from evidence.files import TEMPORARY_PREFIX

log = logging.getLogger(__name__)

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""What a DSSE envelope of ours holds."""

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
"""`_type` of an in-toto Statement v1."""

PUBLIC_SUFFIX = ".pub"
"""Suffix of the file with the public key, beside the private one."""

_ENVELOPE_FIELDS = {"payload", "payloadType", "signatures"}
_SIGNATURE_FIELDS = {"keyid", "sig"}


class PublicKey:
    """An Ed25519 public key.

    Args:
        key: The key of the `cryptography` library.
    """

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.raw = key.public_bytes_raw()
        """The 32 bytes of the key (RFC 8032 §5.1.5)."""
        self.key_id = digest.of_bytes(self.raw)
        """SHA-256 of the 32 raw bytes."""
        self.pem = key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        """PEM (RFC 8410 SubjectPublicKeyInfo)."""

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """Return the key in `data`, which must be exactly what `pem` would be.

        Raises:
            InvalidInput: It is not an Ed25519 public key, or spelled in another way.
        """
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidInput(f"expected a public key in PEM, found: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise InvalidInput(f"expected an Ed25519 public key, found {type(key).__name__}")
        result = cls(key)
        if result.pem != data:
            raise InvalidInput("expected the PEM of the key alone, found other bytes around it")
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    @classmethod
    def from_raw(cls, data: bytes) -> Self:
        """Return the key whose 32 raw bytes these are.

        Raises:
            InvalidInput: They are not 32.
        """
        try:
            return cls(Ed25519PublicKey.from_public_bytes(data))
        except ValueError as error:
            raise InvalidInput(f"expected 32 bytes of an Ed25519 key, found {len(data)}") from error

    def require_signed(self, data: bytes, signature: bytes) -> None:
        """Raise unless `signature` over `data` was made with this key.

        Raises:
            BadSignature: It was not.
        """
        try:
            self._key.verify(signature, data)
        except InvalidSignature as error:
            raise BadSignature(
                f"the signature does not verify under key {self.key_id}", expected=self.key_id
            ) from error


class SigningKey:
    """The private key that a service signs with; it never leaves its file.

    Args:
        key: The key of the `cryptography` library.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw public key."""
        return self.public.key_id

    @classmethod
    def open_or_create(cls, path: Path) -> Self:
        """Read the key at `path`, or make one there that only its owner can read.

        Of several processes that make it at once, one wins and all return its key. Its public half
        is written beside it, with the suffix .pub, for whoever verifies; where a full or
        read-only disk does not take it, the log says so, since a service can sign without.

        Raises:
            ConfigError: The file can be read by others, or holds no Ed25519 private key.
            StorageFull: There is no space.
            OSError: The file cannot be read or made.
        """
        key = cls(_ed25519(path, key_files.read_or_make(path, Ed25519PrivateKey.generate)))
        try:
            _publish(key.public, path.with_suffix(PUBLIC_SUFFIX))
        except OSError as error:
            log.warning("public_key_not_written: %s", error)
        return key

    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of the Ed25519 signature over `data`."""
        return self._key.sign(data)


def public_key_of(path: Path) -> PublicKey | None:
    """Return the public half of the signing key at `path`, or None where there is no key.

    Raises:
        ConfigError: The private key had to be read, and may not be used; see `open_or_create`.
        InvalidInput: The file with the public key holds none.
        OSError: A file cannot be read.
    """
    public = path.with_suffix(PUBLIC_SUFFIX)
    if public.exists():
        return PublicKey.from_pem(public.read_bytes())
    return SigningKey(_ed25519(path, key_files.read(path))).public if path.exists() else None


def _publish(key: PublicKey, path: Path) -> None:
    """Write a public key for everyone to read, unless it is there."""
    if path.exists() and path.read_bytes() == key.pem:
        return
    descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.pem)
            os.fchmod(file.fileno(), 0o644)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _ed25519(path: Path, key: PrivateKeyTypes) -> Ed25519PrivateKey:
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: expected an Ed25519 private key, found {type(key).__name__}")
    return key


def statement(
    subjects: Mapping[str, str], *, predicate_type: str, predicate: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an in-toto Statement v1 about files.

    Args:
        subjects: SHA-256 of each file, by name; they are listed in the order of their names.
        predicate_type: URI of what is said about them.
        predicate: What is said.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": subjects[name]}} for name in sorted(subjects)
        ],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return what DSSE signs: PAE(type, payload).

    Source: DSSE v1.0.2, protocol.md, Signature Definition.
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_statement(key: SigningKey, statement: Mapping[str, Any]) -> bytes:
    """Return a DSSE envelope with one signature over `statement`, as canonical JSON.

    Raises:
        InvalidInput: The statement is not JSON.
    """
    payload = canonical.encode(dict(statement))
    signature = key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return canonical.encode(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": key.key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def key_id_of(envelope: bytes) -> str:
    """Return which key an envelope says that it was signed with.

    Raises:
        BadSignature: It is no envelope.
    """
    try:
        found: str = canonical.decode_canonical(envelope)["signatures"][0]["keyid"]
        return digest.require(found, field="/signatures/0/keyid")
    except (InvalidInput, KeyError, IndexError, TypeError) as error:
        raise BadSignature("the envelope is malformed: it names no key") from error


def unverified_statement(envelope: bytes) -> dict[str, Any]:
    """Return the statement in an envelope whose signature nobody has checked yet.

    Raises:
        BadSignature: There is none in it.
    """
    try:
        payload = _from_base64(canonical.decode_canonical(envelope).get("payload"), "/payload")
        return canonical.decode_canonical(payload)
    except InvalidInput as error:
        raise BadSignature(f"the envelope is malformed: {error.detail}") from error


def verify_envelope(data: bytes, public_key: PublicKey) -> dict[str, Any]:
    """Return the statement in a DSSE envelope that `public_key` signed.

    Stricter than DSSE asks: one spelling only, so that no byte of an envelope can change unseen.

    Raises:
        BadSignature: The envelope is malformed, not canonical, or signed by another key.
    """
    try:
        envelope = canonical.decode_canonical(data)
        payload, signature = _take_apart(envelope, public_key)
        public_key.require_signed(pre_authentication_encoding(PAYLOAD_TYPE, payload), signature)
        return canonical.decode_canonical(payload)
    except InvalidInput as error:
        raise BadSignature(
            f"the envelope is malformed: {error.detail}",
            field=error.field,
            expected=error.expected,
            found=error.found,
        ) from error


def _take_apart(envelope: Mapping[str, Any], public_key: PublicKey) -> tuple[bytes, bytes]:
    _require(set(envelope) == _ENVELOPE_FIELDS, "", str(sorted(_ENVELOPE_FIELDS)), sorted(envelope))
    kind = envelope["payloadType"]
    _require(kind == PAYLOAD_TYPE, "/payloadType", PAYLOAD_TYPE, kind)
    signatures = envelope["signatures"]
    is_one = isinstance(signatures, list) and len(signatures) == 1
    _require(is_one, "/signatures", "a list of one signature", signatures)
    found = signatures[0]
    is_whole = isinstance(found, dict) and set(found) == _SIGNATURE_FIELDS
    _require(is_whole, "/signatures/0", str(sorted(_SIGNATURE_FIELDS)), found)
    key_id = public_key.key_id
    _require(found["keyid"] == key_id, "/signatures/0/keyid", key_id, found["keyid"])
    return (
        _from_base64(envelope["payload"], "/payload"),
        _from_base64(found["sig"], "/signatures/0/sig"),
    )


def _require(holds: bool, place: str, expected: str, found: object) -> None:  # noqa: FBT001 - a condition is what it takes
    if not holds:
        raise InvalidInput(
            f"{place or 'top'}: expected {expected}, found {str(found)[:100]}",
            field=place,
            expected=expected,
            found=str(found)[:100],
        )


def _from_base64(text: object, place: str) -> bytes:
    """Return the bytes of standard base64 in its one canonical spelling."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    is_exact = bool(data) and base64.b64encode(data).decode() == text
    _require(is_exact, place, "canonical base64", text)
    return data
