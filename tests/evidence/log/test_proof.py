from pathlib import Path

import pytest

from evidence.errors import BadProof, BadSignature, InvalidInput, ServiceError
from evidence.log import cosignature
from evidence.log.note import Signer
from evidence.log.proof import InclusionProof
from evidence.log.store import Log
from evidence.log.tree_head import SignedTreeHead
from tests.evidence.log.naive import entries_of

INDEX = 7


@pytest.fixture
def proof(folder: Path, log_signer: Signer, witness_signer: Signer) -> InclusionProof:
    with Log(folder) as log:
        log.append_many(entries_of(20))
        signed = SignedTreeHead.parse(log.sign(log_signer))
        line = cosignature.cosign(signed.note.text, witness_signer, time_s=1_700_000_000)
        cosigned = cosignature.attach(signed.note, [line])
        log.publish(cosigned.data)
        hashes = tuple(log.inclusion(INDEX))
        return InclusionProof(INDEX, hashes, SignedTreeHead(signed.head, cosigned))


def test_a_proof_stands_alone(
    proof: InclusionProof, log_signer: Signer, witness_signer: Signer
) -> None:
    again = InclusionProof.parse(proof.data)
    again.verify(entries_of(20)[INDEX], log_signer.verifier)
    assert again == proof
    assert again.cosigned_by([witness_signer.verifier]) == {"example.org/w1": 1_700_000_000}
    assert again.data.startswith(b"c2sp.org/tlog-proof@v1\nindex 7\n")


def test_every_changed_byte_of_a_proof_is_found(
    proof: InclusionProof, log_signer: Signer, witness_signer: Signer
) -> None:
    entry, data = entries_of(20)[INDEX], proof.data
    for at in range(len(data)):
        spoiled = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            found = InclusionProof.parse(spoiled)
            found.verify(entry, log_signer.verifier)
        except (BadProof, BadSignature, InvalidInput):
            continue
        assert found.cosigned_by([witness_signer.verifier]) == {}, f"byte {at}"


def test_another_entry_is_not_proved(proof: InclusionProof, log_signer: Signer) -> None:
    with pytest.raises(BadProof):
        proof.verify(b"another", log_signer.verifier)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"index 7", b"index 07"), (b"index 7", b"index -7"), (b"index 7", b"extra AA==\nindex 7"),
        (b"@v1", b"@v2"), (b"\n\n", b"\n"), (b"index 7\n", b"index 7\nAAAA\n"), (b"index", b"\xff"),
    ],
)  # fmt: skip
def test_what_is_no_proof_is_refused(proof: InclusionProof, old: bytes, new: bytes) -> None:
    with pytest.raises(ServiceError):
        InclusionProof.parse(proof.data.replace(old, new, 1))
