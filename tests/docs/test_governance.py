"""docs/governance.md lists the rules of the reviewer as they are."""

from governance.review.rules import RULES
from tests.docs.tables import code, rows


def test_every_rule_of_the_reviewer_is_listed_in_its_order() -> None:
    told = [(code(row[0]), row[1]) for row in rows("governance.md", columns=2)]
    wanted = [(rule.id, rule.title) for rule in RULES]
    begin = told.index(wanted[0])
    assert told[begin : begin + len(wanted)] == wanted
