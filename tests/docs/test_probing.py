"""docs/probing.md lists the checks of the probe and the fakes of the zoo as they are."""

import inspect

from serve.probe.rules import rules
from tests.docs.tables import code, rows
from tests.fraud.zoo.liars import LIARS


def test_the_checks_are_listed_in_their_order() -> None:
    wanted = [(f"`{rule.id}`", rule.title) for rule in rules()]
    told = [(row[0], row[1]) for row in rows("probing.md", columns=2)]
    first = told.index(wanted[0])
    assert told[first : first + len(wanted)] == wanted
    assert told[first - 1] == ("id", "passes when")


def test_every_fake_is_listed_with_what_finds_it_and_what_it_costs() -> None:
    told = [(row[0], code(row[1]), row[2]) for row in rows("probing.md", columns=3)]
    assert told[1:] == [
        (liar.name, liar.found_by, str(len(inspect.getsource(liar).splitlines()))) for liar in LIARS
    ]
