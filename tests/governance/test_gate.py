"""Every rule of the data gate, with what it stops and what cures it."""

from typing import Any

import pytest

from evidence.verdict import Outcome
from governance import gate
from governance.approvals import digest_of_model
from governance.gate import Decision, decide
from governance.pii.entities import Entity
from governance.pii.report import Report, detectors_sha256
from tests.governance.small import DIGESTS, NOW, PROPOSAL, approval, dossier, policy, question

ALLOW, NEEDS, DENY = Outcome.ALLOW, Outcome.NEEDS_PROPOSAL, Outcome.DENY


def fired(decision: Decision) -> dict[str, Outcome]:
    return {rule.rule: rule.outcome for rule in decision.fired}


def report(**changes: Any) -> Report:
    whole: dict[str, Any] = {
        "dataset": "poems",
        "digests": DIGESTS,
        "detectors": detectors_sha256(),
        "scanned_at": NOW,
        "characters": 1000,
        "records": 10,
        "scores": {},
        "findings": (),
    }
    return Report.model_validate({**whole, **changes})


def test_a_run_that_nothing_is_in_the_way_of_is_allowed_by_every_rule() -> None:
    decision = decide(question(is_text=True, report=report()))
    assert decision.outcome is ALLOW
    assert {rule.rule for rule in decision.rules} == set(gate.RULES)
    assert not any(rule.cure for rule in decision.rules)


@pytest.mark.parametrize(
    ("changes", "rule", "outcome"),
    [
        ({"dossier": None}, "manifest", DENY),
        ({"described_otherwise": "mean 0.5, not 0.4"}, "manifest", DENY),
        ({"found": {"text.txt": "c" * 64}}, "digests", DENY),
        ({"found": {}}, "digests", DENY),
        ({"found": None}, "digests", DENY),
        ({"found": {**DIGESTS, "more.txt": "d" * 64}}, "digests", DENY),
        ({"dossier": dossier("by: a person", "by: x").model_copy(update={"files": {}})},
         "approved", DENY),
        ({"policy": policy('allowed = ["*"]', 'allowed = ["mnist"]')}, "dataset", DENY),
        ({"policy": policy("datasets = []", 'datasets = ["poe*"]')}, "dataset", NEEDS),
        ({"policy": policy('"https://*", ', "")}, "source", DENY),
        ({"dossier": dossier("CC0-1.0", "CC-BY-ND-4.0")}, "licence", DENY),
        ({"dossier": dossier("CC0-1.0", "CC-BY-ND-4.0 AND MIT")}, "licence", DENY),
        ({"dossier": dossier("CC0-1.0", "GPL-3.0-only")}, "licence", NEEDS),
        ({"dossier": dossier("CC0-1.0", "NOASSERTION"),
          "policy": policy('unknown = "allow"', 'unknown = "deny"')}, "licence", DENY),
        ({"dossier": dossier("CC0-1.0", "LicenseRef-Mine"),
          "policy": policy('unknown = "allow"', 'unknown = "needs_proposal"')}, "licence", NEEDS),
        ({"dossier": dossier("[research]", "[commercial]")}, "use", DENY),
        ({"policy": policy("1_099_511_627_776", "999")}, "size", DENY),
        ({"dossier": dossier("contained: none", "contained: contained")}, "personal_data", NEEDS),
        ({"is_text": True}, "pii", DENY),
        ({"is_text": True, "report": report(digests={"text.txt": "c" * 64})}, "pii", DENY),
        ({"is_text": True, "report": report(detectors="0" * 64)}, "pii", DENY),
        ({"is_text": True, "report": report(scores={Entity.US_SSN: {"0.85": 1}})}, "pii", NEEDS),
        ({"policy": policy("models = []", 'models = ["gpt"]')}, "model", NEEDS),
        ({"policy": policy("devices = []", 'devices = ["*"]')}, "device", NEEDS),
        ({"policy": policy("# above_steps = 100_000", "above_steps = 99")}, "steps", NEEDS),
    ],
)  # fmt: skip
def test_a_rule_stops_what_it_is_for(changes: dict[str, Any], rule: str, outcome: Outcome) -> None:
    decision = decide(question(**changes))
    assert decision.outcome is outcome
    assert fired(decision)[rule] is outcome
    assert all(one.cure for one in decision.fired)
    assert f"rule {rule}" in decision.summary or len(decision.fired) > 1


@pytest.mark.parametrize(
    "changes",
    [
        {"dossier": dossier("CC0-1.0", "NOASSERTION")},
        {"dossier": dossier("CC0-1.0", "MIT OR CC-BY-ND-4.0")},
        {"dossier": dossier("contained: none", "contained: unknown")},
        {"found": None, "is_text": True, "is_final": False},
        {"is_text": True, "is_final": False},
        {"is_text": True, "report": report(scores={Entity.US_SSN: {"0.50": 7}})},
        {"is_text": True, "report": report(scores={Entity.PERSON: {"1.00": 70}})},
        {"policy": policy("# above_steps = 100_000", "above_steps = 100")},
    ],
)
def test_a_rule_lets_pass_what_it_is_not_for(changes: dict[str, Any]) -> None:
    assert decide(question(**changes)).outcome is ALLOW


def test_the_licence_is_shown_as_what_it_is() -> None:
    decision = decide(question(dossier=dossier("CC0-1.0", "NOASSERTION")))
    (licence,) = [rule for rule in decision.rules if rule.rule == "licence"]
    assert "NOASSERTION" in licence.detail


STRICT = policy("datasets = []", 'datasets = ["poems"]')
STRICTEST = policy(
    "datasets = []\nmodels = []\ndevices = []\n# above_steps = 100_000",
    'datasets = ["*"]\nmodels = ["*"]\ndevices = ["*"]\nabove_steps = 0',
)


def test_a_cited_approval_lets_pass_what_it_covers_and_stands_in_the_verdict() -> None:
    decision = decide(question(policy=STRICTEST, cited=PROPOSAL, approvals=(approval(),)))
    assert decision.outcome is ALLOW
    (cited,) = decision.approvals
    assert (cited.proposal_id, cited.record_digest) == (PROPOSAL, "b" * 64)


def test_an_approval_that_was_not_needed_is_not_said_to_have_been_used() -> None:
    assert decide(question(cited=PROPOSAL, approvals=(approval(),))).approvals == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cited": None}, "cites no proposal"),
        ({"approvals": ()}, "was accepted"),
        ({"cited": "prop-01ARZ3NDEKTSV4RRFFQ69G5FAA"}, "was accepted"),
        ({"approvals": (approval(expires_at=NOW),)}, "holds until"),
        ({"approvals": (approval(dataset_digests={"text.txt": "c" * 64}),)}, "other bytes"),
        ({"approvals": (approval(dataset="prose"),)}, "other data"),
        ({"approvals": (approval(dataset=None, dataset_digests=None),)}, "other data"),
    ],
)
def test_an_approval_that_does_not_cover_the_data_helps_nothing(
    changes: dict[str, Any], why: str
) -> None:
    asked = {"policy": STRICT, "cited": PROPOSAL, "approvals": (approval(),), **changes}
    decision = decide(question(**asked))
    assert decision.outcome is NEEDS
    assert decision.approvals == ()
    assert why in decision.fired[0].detail
    assert "`approval`" in str(decision.fired[0].cure)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"most_steps": 99}, "steps"),
        ({"most_steps": None}, "steps"),
        ({"model_digest": digest_of_model({"architecture": "gpt", "context": 128})}, "model"),
        ({"model": None, "model_digest": None}, "model"),
        ({"device": None}, "device"),
        ({"device": "CUDA"}, "device"),
    ],
)
def test_an_approval_of_less_leaves_the_rest_open(changes: dict[str, Any], rule: str) -> None:
    held = (approval(**changes),)
    decision = decide(question(policy=STRICTEST, cited=PROPOSAL, approvals=held))
    assert fired(decision) == {rule: NEEDS}


def test_no_approval_lets_pass_what_is_denied() -> None:
    asked = question(
        policy=STRICTEST,
        dossier=dossier("CC0-1.0", "CC-BY-ND-4.0"),
        cited=PROPOSAL,
        approvals=(approval(),),
    )
    assert fired(decide(asked)) == {"licence": DENY}
