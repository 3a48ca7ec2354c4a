"""A small data set, its manifest and a question about it; tests change one thing each."""

from dataclasses import replace
from typing import Any

from evidence.records import FileDigest
from governance import policy as policies
from governance.approvals import Approval, digest_of_model
from governance.gate import Question
from governance.manifest import Dossier, Manifest, digest_of_files, parse
from governance.policy import Policy

FILES = {"text.txt": FileDigest(bytes=1000, sha256="a" * 64)}
DIGESTS = {name: file.sha256 for name, file in FILES.items()}
MODEL = {"architecture": "gpt", "context": 64}
PROPOSAL = "prop-01ARZ3NDEKTSV4RRFFQ69G5FAV"
NOW = "2026-06-01T00:00:00.000Z"

MANIFEST = f"""\
v: 1
datasets:
  poems:
    version: "1"
    digests: poems
    sources: [https://example.org/poems]
    licence:
      data: CC0-1.0
      basis: The page says so.
    citation: ""
    uses: [research]
    intended_use: Learning to write.
    personal_data:
      contained: none
      statement: Poems.
    approved:
      by: a person
      at: 2026-01-02
      files_sha256: {digest_of_files(DIGESTS)}
"""


def manifest(text: str = MANIFEST) -> Manifest:
    return parse(text.encode(), checksums={"poems": FILES}, name="manifest.yaml")


def dossier(old: str = "", new: str = "") -> Dossier:
    """Return what is known of the poems, with one piece of the manifest's text replaced."""
    assert old in MANIFEST
    return manifest(MANIFEST.replace(old, new) if old else MANIFEST).dossier("poems")


def policy(old: str = "", new: str = "") -> Policy:
    """Return the shipped policy, with one piece of its text replaced."""
    text = policies.SHIPPED.read_text()
    assert old in text
    return policies.parse((text.replace(old, new) if old else text).encode(), name="policy.toml")


def question(**changes: Any) -> Question:
    """Return the question of a run that nothing is in the way of."""
    asked = Question(
        dataset="poems",
        model="gpt",
        model_digest=digest_of_model(MODEL),
        steps=100,
        device="CPU",
        cited=None,
        dossier=dossier(),
        described_otherwise=None,
        found=DIGESTS,
        is_text=False,
        report=None,
        policy=policy(),
        approvals=(),
        now=NOW,
        is_final=True,
    )
    return replace(asked, **changes)


def approval(**changes: Any) -> Approval:
    """Return an approval that covers everything that `question` asks for."""
    whole: dict[str, Any] = {
        "proposal_id": PROPOSAL,
        "dataset": "poems",
        "dataset_digests": DIGESTS,
        "model": "gpt",
        "model_digest": digest_of_model(MODEL),
        "most_steps": 100,
        "device": "CPU",
        "accepted_at": "2026-05-01T00:00:00.000Z",
        "expires_at": "2026-07-01T00:00:00.000Z",
        "record_digest": "b" * 64,
    }
    return Approval.model_validate({**whole, **changes})
