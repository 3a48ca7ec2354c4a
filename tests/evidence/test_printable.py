import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("checkpoints/step_000002", "checkpoints/step_000002"),
        ("a\x1b[2J\x1b[31mPASSED", "a\\x1b[2J\\x1b[31mPASSED"),
        ("a\nEvidence of x PASSED", "a\\nEvidence of x PASSED"),
        ("\u202egpj", "\\u202egpj"),
        ("\udcff\udcfe", "\\udcff\\udcfe"),
        (
            "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n",
            "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n",
        ),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_any_text_becomes_printable_utf_8(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
