"""Signatures of checkpoint folders that OpenSSF Model Signing's own tool verifies.

    checkpoints/step_000100/model.sig     a Sigstore bundle v0.3 around a DSSE envelope
    seal/model.pub                        the ECDSA P-256 key that signed, PEM

Source: github.com/sigstore/model-transparency, predicate https://model_signing/signature/v1.0,
method `files`. Signing is deterministic (RFC 6979), so that the same folder gives the same bytes.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from evidence import canonical, digest, key_files
from evidence.errors import BadSignature, ConfigError, InvalidInput
from evidence.pack import MODEL_SIGNATURE
from evidence.signing import PAYLOAD_TYPE, STATEMENT_TYPE, pre_authentication_encoding

FILE = MODEL_SIGNATURE
"""Name of the signature in a checkpoint's folder."""

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
"""`predicateType` of the statement about a folder."""

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""Of the bundle."""

MAX_BYTES = 1 << 20
"""A longer signature is refused."""

_ALGORITHM = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


class ModelPublicKey:
    """An ECDSA P-256 public key.

    Args:
        key: The key of the `cryptography` library.
    """

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self.key = key
        self.pem = key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        """PEM (RFC 5480 SubjectPublicKeyInfo)."""
        self.sha256 = digest.of_bytes(self.pem)
        """Of the PEM; the bundle's hint."""

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """Return the key in `data`, which must be exactly what `pem` would be.

        Raises:
            InvalidInput: It is no P-256 public key, or spelled in another way.
        """
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidInput(f"expected a public key in PEM, found: {error}") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise InvalidInput("expected an ECDSA key on the curve P-256")
        result = cls(key)
        if result.pem != data:
            raise InvalidInput("expected the PEM of the key alone, found other bytes around it")
        return result


class ModelKey:
    """The private key that signs checkpoint folders; it never leaves its file.

    Args:
        key: The key of the `cryptography` library.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = ModelPublicKey(key.public_key())

    @classmethod
    def open_or_create(cls, path: Path) -> Self:
        """Read the key at `path`, or make one there that only its owner can read.

        Raises:
            ConfigError: The file can be read by others, or holds no P-256 private key.
            StorageFull: There is no space.
            OSError: The file cannot be read or made.
        """
        key = key_files.read_or_make(path, lambda: ec.generate_private_key(ec.SECP256R1()))
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ConfigError(f"{path}: expected an ECDSA private key on the curve P-256")
        return cls(key)

    def sign(self, name: str, files: Mapping[str, str]) -> bytes:
        """Return the signature of a folder.

        Args:
            name: Of the folder.
            files: SHA-256 of each file in it, by name.
        """
        payload = canonical.encode(statement(name, files))
        signed = self._key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload), _ALGORITHM)
        bundle = {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": self.public.sha256},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signed).decode(), "keyid": ""}],
            },
        }
        return canonical.encode(bundle)


def statement(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    """Return the in-toto statement about a folder; see `ModelKey.sign`."""
    resources = [
        {"name": file, "algorithm": "sha256", "digest": files[file]} for file in sorted(files)
    ]
    root = hashlib.sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources))
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root.hexdigest()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [FILE],
            },
            "resources": resources,
        },
    }


def require_signed(
    data: bytes, key: ModelPublicKey, *, name: str, files: Mapping[str, str]
) -> None:
    """Raise unless `data` is the signature of exactly this folder by this key.

    Raises:
        BadSignature: It is not.
    """
    try:
        bundle = canonical.decode_canonical(data)
        envelope = bundle["dsseEnvelope"]
        (one,) = envelope["signatures"]
        payload, signed = base64.b64decode(envelope["payload"]), base64.b64decode(one["sig"])
        told = canonical.decode_canonical(payload)
        key.key.verify(signed, pre_authentication_encoding(PAYLOAD_TYPE, payload), _ALGORITHM)
    except (InvalidInput, KeyError, TypeError, ValueError) as error:
        raise BadSignature("the model signature is malformed") from error
    except InvalidSignature as error:
        raise BadSignature(f"the model signature does not verify under {key.sha256}") from error
    expected = statement(name, files)
    if told != expected:
        raise BadSignature(
            "the model signature is about another folder",
            expected=canonical.encode(expected).decode(),
            found=canonical.encode(told).decode(),
        )
