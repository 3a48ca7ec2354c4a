import base64
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import BadSignature, ConfigError, InvalidInput
from evidence.log import cosignature, note, tree_head
from evidence.log.note import KeyType, Note, SignatureLine, Signer, Verifier
from evidence.log.tree_head import TreeHead
from evidence.signing import SigningKey

# golang.org/x/mod/sumdb/note: key, text and signature of its documentation
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
SIGNED = (
    f"{TEXT}\n\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgK"
    "vqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Z"
    "hcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs"
    "X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
"""Of C2SP tlog-cosignature."""

HEAD = TreeHead("example.org/log", 20_852_163, bytes(range(32)))


def test_key_note_and_signature_are_those_of_the_go_implementation() -> None:
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(SEED))
    signer = Signer(Verifier("PeterNeumann", KeyType.ED25519, key.public), key)
    assert signer.verifier.text == VKEY
    assert note.sign(TEXT, signer).data == SIGNED.encode()
    note.require_signed(Note.parse(SIGNED.encode()), Verifier.parse(VKEY))


def test_the_example_of_the_specification_is_read() -> None:
    signed = tree_head.SignedTreeHead.parse(EXAMPLE.encode())
    assert (signed.head.origin, signed.head.size) == ("example.com/behind-the-sofa", 20_852_163)
    log, witness = signed.note.signatures
    assert (log.key_id.hex(), len(log.signature)) == ("033de0ae", 64)
    assert (witness.name, len(witness.signature)) == ("witness.example.com/w1", 72)
    assert int.from_bytes(witness.signature[:8], "big") == 1_679_315_147
    assert signed.note.data == EXAMPLE.encode()


def test_every_flipped_bit_of_a_signed_note_is_found() -> None:
    data, verifier = SIGNED.encode(), Verifier.parse(VKEY)
    for bit in range(len(data) * 8):
        spoiled = bytearray(data)
        spoiled[bit // 8] ^= 1 << bit % 8
        with pytest.raises((InvalidInput, BadSignature)):
            note.require_signed(Note.parse(bytes(spoiled)), verifier)


def test_every_flipped_bit_of_a_verifier_key_is_found() -> None:
    for bit in range(len(VKEY) * 8):
        spoiled = bytearray(VKEY.encode())
        spoiled[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidInput):
            Verifier.parse(spoiled.decode("latin-1"))


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a+b", "+c74f20a3+ARpc", VKEY + "\n", VKEY + "=", VKEY.replace("c74f", "C74F"),
        "a+00000000+", "a+00000000+BQ==", "a b+00000000+AQ==",
        VKEY.replace("PeterNeumann", "Peter"), "a\n" + VKEY,
        VKEY.replace("PeterNeumann", "Peter\u00a0Neumann"),
    ],
)  # fmt: skip
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Verifier.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"\n\n", b"text\n", b"text\n\n", b"text\n\nnone\n", SIGNED.encode()[:-1],
        SIGNED.encode() + b"\n", SIGNED.replace("\u2014 ", "- ").encode(),
        SIGNED.replace("\n", "\r\n").encode(), SIGNED.replace("know", "kn\tow").encode(),
        SIGNED.replace("=\n", "\n").encode(), SIGNED.replace("Neumann x", "Neumann  x").encode(),
        SIGNED.replace("PeterNeumann x", "Peter+ x").encode(), b"\xff\n\n\xff\n",
        "text\n\n\u2014 a AAAAAA==\n".encode(), "text\n\n\u2014  AAAAAAAA\n".encode(),
        b"x" * 70_000 + SIGNED.encode(), SIGNED.encode() + "\u2014 a AAAAAAAA\n".encode() * 64,
    ],
)  # fmt: skip
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        Note.parse(data)


def test_signatures_of_unknown_keys_are_passed_over() -> None:
    other = SignatureLine("PeterNeumann", b"\0\0\0\0", b"x" * 64)
    signed = Note.parse(SIGNED.encode())
    both = Note(TEXT, (other, *signed.signatures))
    note.require_signed(Note.parse(both.data), Verifier.parse(VKEY))
    with pytest.raises(BadSignature, match="no signature by"):
        note.require_signed(Note(TEXT, (other,)), Verifier.parse(VKEY))


def test_one_wrong_signature_by_a_known_key_spoils_the_note() -> None:
    (right,) = Note.parse(SIGNED.encode()).signatures
    wrong = SignatureLine(right.name, right.key_id, bytes(64))
    with pytest.raises(BadSignature):
        note.require_signed(Note(TEXT, (right, wrong)), Verifier.parse(VKEY))


@given(st.text(max_size=12))
def test_a_text_with_an_empty_line_in_it_comes_back(words: str) -> None:
    line = SignatureLine("a", b"\0\0\0\1", b"x")
    text = "".join(one for one in words if one >= " " and one.isprintable()) + "\n\nend\n"
    assert Note.parse(Note(text, (line,)).data).text == text


def test_a_key_and_its_name_are_made_once(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    first = Signer.open_or_create(path, KeyType.ED25519)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.verifier.name == f"log-{first.key.key_id[:16]}"
    assert (tmp_path / "log.vkey").read_text() == first.verifier.text + "\n"
    again = Signer.open_or_create(path, KeyType.ED25519, name=first.verifier.name)
    assert again.verifier == first.verifier
    with pytest.raises(ConfigError, match="expected the name 'other'"):
        Signer.open_or_create(path, KeyType.ED25519, name="other")
    with pytest.raises(ConfigError, match="another key"):
        Signer.open_or_create(path, KeyType.COSIGNATURE)


def test_a_verifier_key_beside_another_private_key_is_refused(tmp_path: Path) -> None:
    Signer.open_or_create(tmp_path / "a.key", KeyType.ED25519)
    Signer.open_or_create(tmp_path / "b.key", KeyType.ED25519)
    (tmp_path / "a.key").replace(tmp_path / "b.key")
    with pytest.raises(ConfigError, match=r"b\.vkey"):
        Signer.open_or_create(tmp_path / "b.key", KeyType.ED25519)


@pytest.mark.parametrize("name", ["a b", "a+b", "a\n", "a\u2003b", "\x7f"])
def test_a_name_that_no_key_may_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="name of a key"):
        Signer.open_or_create(tmp_path / "log.key", KeyType.ED25519, name=name)


# -- tree heads and cosignatures -----------------------------------------------------------------


def test_a_tree_head_is_signed_and_read_again(log_signer: Signer) -> None:
    data = tree_head.sign(HEAD, log_signer)
    assert tree_head.verify(data, log_signer.verifier).head == HEAD
    assert data.startswith(
        b"example.org/log\n20852163\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n\xe2\x80\x94 "
    )


def test_a_tree_head_of_another_origin_is_neither_signed_nor_verified(log_signer: Signer) -> None:
    other = TreeHead("example.org/other", 1, bytes(32))
    with pytest.raises(InvalidInput, match="origin"):
        tree_head.sign(other, log_signer)
    forged = note.sign(other.text, log_signer).data
    with pytest.raises(InvalidInput, match="origin"):
        tree_head.verify(forged, log_signer.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "a\n1\n", "a\n01\nROOT\n", "a\n-1\nROOT\n", "a\n1 \nROOT\n", "\n1\nROOT\n", "a\n1\nROOT",
        "a\n9223372036854775808\nROOT\n", "a\n1\nAAAA\n", "a\n1\nROOT\n\nmore\n", "a\n+1\nROOT\n",
        "a\n\u0661\nROOT\n", "a\n1\n ROOT\n", "",
    ],
)  # fmt: skip
def test_what_is_no_tree_head_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        TreeHead.parse(text.replace("ROOT", base64.b64encode(bytes(32)).decode()))


def test_extension_lines_are_kept() -> None:
    head = TreeHead("a", 1, bytes(32), ("more", "and more"))
    assert TreeHead.parse(head.text) == head


def test_a_cosignature_verifies_and_tells_its_time(
    log_signer: Signer, witness_signer: Signer
) -> None:
    signed = Note.parse(tree_head.sign(HEAD, log_signer))
    line = cosignature.cosign(signed.text, witness_signer, time_s=1_700_000_000)
    both = cosignature.attach(signed, [line, line])
    assert len(both.signatures) == 2
    found = Note.parse(both.data)
    assert cosignature.require_cosigned(found, witness_signer.verifier) == 1_700_000_000
    note.require_signed(found, log_signer.verifier)
    message = f"cosignature/v1\ntime 1700000000\n{signed.text}".encode()
    witness_signer.verifier.key.require_signed(message, line.signature[8:])


def test_a_cosignature_with_anything_changed_is_refused(
    log_signer: Signer, witness_signer: Signer
) -> None:
    signed = Note.parse(tree_head.sign(HEAD, log_signer))
    line = cosignature.cosign(signed.text, witness_signer, time_s=1_700_000_000)
    for at in range(len(line.signature)):
        changed = bytearray(line.signature)
        changed[at] ^= 0x80
        spoiled = SignatureLine(line.name, line.key_id, bytes(changed))
        with pytest.raises(BadSignature):
            cosignature.require_cosigned(Note(signed.text, (spoiled,)), witness_signer.verifier)
    for text in (signed.text + "more\n", signed.text.replace("20852163", "20852164")):
        with pytest.raises(BadSignature):
            cosignature.require_cosigned(Note(text, (line,)), witness_signer.verifier)


def test_a_log_key_makes_no_cosignature_and_a_witness_key_no_tree_head(
    log_signer: Signer, witness_signer: Signer
) -> None:
    with pytest.raises(InvalidInput, match="type 0x04"):
        cosignature.cosign(HEAD.text, log_signer, time_s=0)
    signed = Note.parse(tree_head.sign(HEAD, log_signer))
    with pytest.raises(BadSignature, match="0x04"):
        cosignature.require_cosigned(signed, log_signer.verifier)
    with pytest.raises(BadSignature, match="0x01"):
        note.require_signed(signed, witness_signer.verifier)


@pytest.mark.parametrize("time_s", [-1, 1 << 63])
def test_a_time_that_no_cosignature_can_carry_is_refused(
    witness_signer: Signer, time_s: int
) -> None:
    with pytest.raises(InvalidInput, match="time"):
        cosignature.cosign(HEAD.text, witness_signer, time_s=time_s)


@pytest.mark.parametrize("data", [b"", b"\n", b"x", b"\xff\n", "\u2014 a AAAAAAAA".encode()])
def test_what_is_no_answer_of_a_witness_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        cosignature.read_lines(data)
