import base64
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from evidence import canonical
from evidence.errors import BadSignature, ConfigError, InvalidInput
from evidence.signing import (
    PublicKey,
    SigningKey,
    pre_authentication_encoding,
    public_key_of,
    sign_statement,
    statement,
    verify_envelope,
)

STATEMENT = statement({"a": "0" * 64}, predicate_type="urn:test", predicate={"x": 1})


def test_the_pre_authentication_encoding_is_that_of_the_dsse_test_vector() -> None:
    """Source: secure-systems-lab/dsse v1.0.2, protocol.md, Test Vectors."""
    found = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert found == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.text(), st.binary(), st.text(), st.binary())
def test_different_things_are_encoded_differently(
    kind: str, payload: bytes, other_kind: str, other: bytes
) -> None:
    is_equal = pre_authentication_encoding(kind, payload) == pre_authentication_encoding(
        other_kind, other
    )
    assert is_equal == ((kind, payload) == (other_kind, other))


def test_ed25519_is_that_of_rfc_8032_test_3() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )

    seed = "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))
    assert key.sign(bytes.fromhex("af82")).hex() == (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )


def test_a_statement_comes_back_from_its_envelope(key: SigningKey) -> None:
    assert verify_envelope(sign_statement(key, STATEMENT), key.public) == STATEMENT


def test_equal_statements_give_equal_envelopes(key: SigningKey) -> None:
    assert sign_statement(key, STATEMENT) == sign_statement(key, STATEMENT)


def test_every_flipped_bit_of_an_envelope_is_found(key: SigningKey) -> None:
    data = sign_statement(key, STATEMENT)
    for bit in range(len(data) * 8):
        spoiled = bytearray(data)
        spoiled[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadSignature):
            verify_envelope(bytes(spoiled), key.public)


def test_every_flipped_bit_of_a_public_key_file_is_found(key: SigningKey) -> None:
    envelope = sign_statement(key, STATEMENT)
    for bit in range(len(key.public.pem) * 8):
        spoiled = bytearray(key.public.pem)
        spoiled[bit // 8] ^= 1 << bit % 8
        with pytest.raises((InvalidInput, BadSignature)):
            verify_envelope(envelope, PublicKey.from_pem(bytes(spoiled)))


def change(envelope: bytes, **fields: Any) -> bytes:
    return canonical.encode({**canonical.decode_object(envelope), **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"payloadType": "text/plain"},
        {"signatures": []},
        {"signatures": [{}, {}]},
        {"signatures": ["x"]},
        {"signatures": [{"keyid": "x", "sig": "x"}]},
        {"payload": 1},
        {"payload": "e30"},
        {"payload": "e30=\n"},
        {"more": 1},
    ],
)
def test_a_strange_envelope_is_refused(fields: dict[str, Any], key: SigningKey) -> None:
    with pytest.raises(BadSignature, match="malformed"):
        verify_envelope(change(sign_statement(key, STATEMENT), **fields), key.public)


def test_a_payload_that_is_not_canonical_is_refused_though_signed(key: SigningKey) -> None:
    payload = b'{"b":1, "a":2}'
    signature = key.sign(pre_authentication_encoding("application/vnd.in-toto+json", payload))
    envelope = change(
        sign_statement(key, STATEMENT),
        payload=base64.b64encode(payload).decode(),
        signatures=[{"keyid": key.key_id, "sig": base64.b64encode(signature).decode()}],
    )
    with pytest.raises(BadSignature, match="canonical"):
        verify_envelope(envelope, key.public)


def test_another_key_does_not_verify(key: SigningKey, tmp_path: Path) -> None:
    stranger = SigningKey.open_or_create(tmp_path / "key")
    with pytest.raises(BadSignature):
        verify_envelope(sign_statement(key, STATEMENT), stranger.public)


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "service.key"
    key = SigningKey.open_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.open_or_create(path).key_id == key.key_id
    assert sorted(p.name for p in tmp_path.iterdir()) == ["service.key", "service.pub"]


def test_the_public_half_lies_beside_the_key_for_everyone(tmp_path: Path) -> None:
    path, public = tmp_path / "service.key", tmp_path / "service.pub"
    assert public_key_of(path) is None
    key = SigningKey.open_or_create(path)
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert PublicKey.from_pem(public.read_bytes()).key_id == key.key_id
    public.write_bytes(SigningKey.open_or_create(tmp_path / "other").public.pem)
    SigningKey.open_or_create(path)
    assert public.read_bytes() == key.public.pem


def test_the_public_half_is_had_from_a_key_of_an_older_version(tmp_path: Path) -> None:
    path = tmp_path / "service.key"
    key = SigningKey.open_or_create(path)
    path.with_suffix(".pub").unlink()
    found = public_key_of(path)
    assert found is not None
    assert found.key_id == key.key_id


def test_a_key_without_room_for_its_public_half_still_signs(tmp_path: Path) -> None:
    path = tmp_path / "service.key"
    key_id = SigningKey.open_or_create(path).key_id
    path.with_suffix(".pub").unlink()
    path.with_suffix(".pub").mkdir()
    assert SigningKey.open_or_create(path).key_id == key_id
    assert sorted(p.name for p in tmp_path.iterdir()) == ["service.key", "service.pub"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "service.key"
    SigningKey.open_or_create(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"found mode 0{mode:o}") as caught:
        SigningKey.open_or_create(path)
    assert "chmod 600" in (caught.value.cure or "")


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "service.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="PEM key"):
        SigningKey.open_or_create(path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "service.key"
    other = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="Ed25519"):
        SigningKey.open_or_create(path)
    public = other.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(InvalidInput, match="Ed25519"):
        PublicKey.from_pem(public)


def test_processes_that_make_a_key_at_once_agree(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from evidence.signing import SigningKey; "
        "sys.stdin.read(1); print(SigningKey.open_or_create(Path(sys.argv[1])).key_id)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "key")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ,
        )
        for _ in range(4)
    ]
    found = {process.communicate("x")[0] for process in started}
    assert len(found) == 1
    assert len(found.pop().strip()) == 64
