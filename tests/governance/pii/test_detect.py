"""Each detector: what it finds, exactly where, and what looks like it and is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import InvalidInput
from governance.pii.detect import detect
from governance.pii.entities import Entity
from governance.pii.numbers import luhn

FOUND = [
    (Entity.CREDIT_CARD, "4111111111111111"),
    (Entity.CREDIT_CARD, "4111 1111 1111 1111"),
    (Entity.CREDIT_CARD, "5500-0000-0000-0004"),
    (Entity.CREDIT_CARD, "3400 000000 00009"),
    (Entity.CREDIT_CARD, "6011000000000004"),
    (Entity.EMAIL_ADDRESS, "first.last+tag@sub.example.co.uk"),
    (Entity.EMAIL_ADDRESS, "j\u00f6rg@example.de"),
    (Entity.IBAN_CODE, "DE89370400440532013000"),
    (Entity.IBAN_CODE, "DE89 3704 0044 0532 0130 00"),
    (Entity.IBAN_CODE, "gb82west12345698765432"),
    (Entity.IBAN_CODE, "NO9386011117947"),
    (Entity.US_SSN, "536-22-8726"),
    (Entity.IP_ADDRESS, "192.168.17.250"),
    (Entity.IP_ADDRESS, "2001:db8::8a2e:370:7334"),
    (Entity.IP_ADDRESS, "fe80:0:0:0:1:2:3:4"),
    (Entity.PHONE_NUMBER, "+49 30 901820"),
    (Entity.PHONE_NUMBER, "+1 (212) 555-0123"),
    (Entity.PHONE_NUMBER, "(212) 555-0123"),
    (Entity.PHONE_NUMBER, "212-555-0123 ext. 45"),
    (Entity.PHONE_NUMBER, "0044 20 7946 0958"),
    (Entity.SECRET, "AKIAIOSFODNN7EXAMPLE"),
    (Entity.SECRET, "-----BEGIN RSA PRIVATE KEY-----"),
    (Entity.SECRET, "ghp_" + "a1B2" * 9),
]


@pytest.mark.parametrize(("entity", "written"), FOUND)
@pytest.mark.parametrize(
    "around", ["{}", "see {} there", "({})", "x: {}, y", "\u4e2d\U0001f600 {}."]
)
def test_it_is_found_exactly_where_it_is(entity: Entity, written: str, around: str) -> None:
    text = around.format(written)
    (span,) = detect(text)
    assert (span.entity, text[span.start : span.end]) == (entity, written)


@pytest.mark.parametrize(
    ("entity", "text", "found"),
    [
        (Entity.US_SSN, "his social security number is 536228726", "536228726"),
        (Entity.PHONE_NUMBER, "Phone:\n780 6326", "780 6326"),
        (Entity.PHONE_NUMBER, "5403926876-Fax", "5403926876"),
        (Entity.CREDIT_CARD, "the card 501800000009 of mine", "501800000009"),
        (Entity.DATE_TIME, "She was born on 9/20/1968 there", "9/20/1968"),
        (Entity.DATE_TIME, "DOB: 1 March 1970", "1 March 1970"),
        (Entity.US_PASSPORT, "Passport no. A12345678", "A12345678"),
        (Entity.US_DRIVER_LICENSE, "driver's license D123-4567-8901", "D123-4567-8901"),
        (Entity.SECRET, "password = hunter2!Zq9", "hunter2!Zq9"),
        (Entity.PERSON, "Mrs. Grace Hopper came", "Grace Hopper"),
        (Entity.PERSON, "my name is Wangari Maathai", "Wangari Maathai"),
        (Entity.PERSON, "asked Maria Sk\u0142odowska about it", "Maria Sk\u0142odowska"),
        (Entity.STREET_ADDRESS, "at 221 Baker Street, please", "221 Baker Street"),
        (Entity.STREET_ADDRESS, "in der Hauptstra\u00dfe 12 wohnt", "Hauptstra\u00dfe 12"),
        (Entity.STREET_ADDRESS, "Unit 514 Box 177\nDPO AE 91410", "Unit 514 Box 177\nDPO AE 91410"),
    ],
)  # fmt: skip
def test_words_before_it_make_it_what_it_is(entity: Entity, text: str, found: str) -> None:
    told = {(span.entity, text[span.start : span.end]) for span in detect(text)}
    assert (entity, found) in told


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # Luhn fails
        "1234567890123456",
        "DE88370400440532013000",  # mod 97 fails
        "ZZ89370400440532013000",  # no such country
        "000-12-3456", "666-12-3456", "900-12-3456", "536-00-8726", "536-22-0000",  # never issued
        "256.1.1.1", "1.2.3", "1.2.3.4.5", "version 10.2.3.4",
        "12:30:45", "a::b::c", "12:34:56:78",
        "user@localhost", "@example.com", "a @ b.com", "name@@example.com@",
        "2024-05-06", "1999-2003", "1,234,567", "3.14159265358979", "0000000000",
        "order 780 6326", "isbn 978-3-16-148410-0",
        "page 12 of 345", "SHA-256 of 4f2a91",
        "password: changeme", "the secret is out",
        "the passport of a friend", "I was born in a village",
        "April May", "The Great Wall", "DEAR SIR",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_no_finding(text: str) -> None:
    assert detect(text) == []


@given(st.text(max_size=300))
def test_findings_are_ordered_apart_and_within_the_text(text: str) -> None:
    spans = detect(text, least_score=0)
    edges = [0, *(edge for span in spans for edge in (span.start, span.end)), len(text)]
    assert edges == sorted(edges)
    assert all(span.start < span.end for span in spans)


@given(st.lists(st.sampled_from([written for _, written in FOUND]), max_size=6))
def test_each_of_many_is_found(written: list[str]) -> None:
    text = " ; ".join(written)
    assert [text[span.start : span.end] for span in detect(text)] == written


@given(st.integers(0, 10**15))
def test_every_number_has_exactly_one_check_digit(number: int) -> None:
    assert sum(luhn(f"{number}{digit}") for digit in range(10)) == 1


def test_only_the_types_that_are_asked_for_are_found() -> None:
    text = "Mrs. Grace Hopper, 212-555-0123, 192.168.17.250, 221 Baker Street"
    every = {span.entity for span in detect(text)}
    assert len(every) == 4
    for entity in every:
        assert {span.entity for span in detect(text, types={entity})} == {entity}
    assert detect(text, types=()) == []


@pytest.mark.parametrize("score", [-0.1, 1.1])
def test_a_score_out_of_its_range_is_refused(score: float) -> None:
    with pytest.raises(InvalidInput, match="least_score"):
        detect("", least_score=score)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 50_000, "1 " * 25_000, "A" * 50_000, "Ab " * 17_000, "a@" * 25_000, "a." * 25_000,
        "x" * 25_000 + "@" + "y" * 25_000, ":" * 50_000, "+1 (" * 12_000, "1 Ab " * 10_000,
        "password=" * 5_000, "A1 " * 17_000, "12 Rue " * 7_000, "dear " * 10_000,
    ],
)  # fmt: skip
def test_no_text_takes_more_than_its_share_of_work(text: str) -> None:
    """A pattern that backtracks without bound would take hours on one of these."""
    detect(text)
