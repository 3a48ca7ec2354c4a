"""SPDX expressions: what is one, and how a policy judges it."""

import pytest

from evidence.errors import InvalidInput
from governance import licences

ALLOWED, DENIED = {"MIT", "CC0-1.0"}, {"GPL-3.0-only"}


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "NOASSERTION",
        "LicenseRef-My-Terms.2",
        "MIT OR Apache-2.0",
        "(MIT OR Apache-2.0) AND CC0-1.0",
        "GPL-2.0-only WITH Classpath-exception-2.0",
    ],
)
def test_an_expression_in_its_spelling_is_taken(expression: str) -> None:
    assert licences.require(expression) == expression


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("mit", "mit"),
        ("MIT License", "License"),
        ("Free for all", "Free"),
        ("", "nothing"),
        ("MIT OR", "OR"),
        ("((MIT)", "Invalid"),
        ("MIT WITH MIT", "exception"),
        ("Classpath-exception-2.0", "exception"),
        ("LicenseRef-", "LicenseRef-"),
        ("(MIT)", "(MIT)"),
        ("MIT " * 200, "at most"),
    ],
)
def test_what_is_no_expression_is_refused_and_named(expression: str, found: str) -> None:
    with pytest.raises(InvalidInput, match=found.replace("(", r"\(").replace(")", r"\)")):
        licences.require(expression)


@pytest.mark.parametrize(
    ("expression", "standing"),
    [
        ("MIT", "allowed"),
        ("GPL-3.0-only", "denied"),
        ("Apache-2.0", "unlisted"),
        ("NOASSERTION", "unknown"),
        ("LicenseRef-Mine", "unknown"),
        ("MIT OR GPL-3.0-only", "allowed"),
        ("MIT AND GPL-3.0-only", "denied"),
        ("MIT AND Apache-2.0", "unlisted"),
        ("MIT AND NOASSERTION", "unknown"),
        ("(MIT OR GPL-3.0-only) AND CC0-1.0", "allowed"),
        ("(MIT AND GPL-3.0-only) OR NOASSERTION", "unknown"),
        ("GPL-3.0-only WITH Classpath-exception-2.0", "denied"),
    ],
)
def test_an_or_is_judged_by_its_best_part_and_an_and_by_its_worst(
    expression: str, standing: str
) -> None:
    assert licences.standing(expression, allowed=ALLOWED, denied=DENIED)[0] == standing
