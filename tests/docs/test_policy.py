"""docs/policy.md is what the schema gives; docs/governance.md and docs/pii.md have every name."""

from governance.gate import RULES
from governance.pii.entities import Entity
from governance.reference import policy_reference
from tests.docs.tables import DOCS


def test_the_policy_reference_is_made_from_the_schema() -> None:
    assert (DOCS / "policy.md").read_text(encoding="utf-8") == policy_reference()


def test_the_document_has_every_rule_of_the_gate() -> None:
    text = (DOCS / "governance.md").read_text(encoding="utf-8")
    assert [rule for rule in RULES if f"`{rule}`" not in text] == []


def test_the_document_has_every_type_of_finding() -> None:
    text = (DOCS / "pii.md").read_text(encoding="utf-8")
    assert [entity for entity in Entity if f"`{entity}`" not in text] == []
