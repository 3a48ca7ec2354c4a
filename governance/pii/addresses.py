"""Street addresses in English and, as far as a few words go, in other languages of Europe.

Source of the US forms: USPS publication 28 (suffixes, secondary units, §225 military addresses).
"""

import re
from collections.abc import Iterator

from governance.pii.entities import Entity
from governance.pii.finding import Span

_WORD = r"[A-Z\u00c0-\u024f][\w.'\u2019-]*"
_SUFFIX = (
    r"(?:Street|Str|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Way|Square|Sq"
    r"|Terrace|Ter|Circle|Cir|Parkway|Pkwy|Highway|Hwy|Trail|Trl|Close|Crescent|Cres|Alley|Row|Mews|Loop"
    r"|Ridge|Hill|Point|Points|Plaza|Crossing|Cove|Isle|Manor|Meadow|Meadows|Mill|Mills|Oval|Pass|Path"
    r"|Pike|Pine|Run|Shore|Spring|Springs|Station|Stravenue|Summit|Turnpike|View|Village|Vista|Walk|Wall)"
)
_UNIT = r"(?:[,\s]+(?:Apt|Apartment|Suite|Ste|Unit|Room|Floor|#)\.?\s?[\w-]{1,6})"
_TOWN = rf"(?:[,\s]+{_WORD}(?:[ ]{_WORD}){{0,3}})"
_STATE = r"(?:,?\s+[A-Z]{2}|(?:,?\s+" + _WORD + r"(?:[ ]" + _WORD + r"){0,2}))"
_CODE = r"(?:,?\s+\d{5}(?:-\d{4})?)"
_STREET_ENDS = (
    "stra\u00dfe", "strasse", "str.", "gatan", "gata", "v\u00e4gen", "vejen", "vej", "gade", "katu",
    "tie", "polku", "weg", "gasse", "laan", "straat", "dreef", "plein", "utca", "\u00fat",
    "k\u00f6z", "ulica", "utcan", "veien", "gaten",
)  # fmt: skip
_STREET_STARTS = (
    "Rue", "Avenue", "Boulevard", "Quai", "Place", "Chemin", "Via", "Viale", "Piazza", "Corso",
    "Calle", "Avenida", "Paseo", "Plaza", "Rua", "Avda", "C/", "ul.", "al.", "ulitsa", "Strada",
    "Carrera", "Largo", "Travessa", "Cours", "Route",
)  # fmt: skip
_FOREIGN_END = "(?:" + "|".join(map(re.escape, _STREET_ENDS)) + ")"
_FOREIGN_START = "(?:" + "|".join(map(re.escape, _STREET_STARTS)) + r")\.?"
_ARTICLE = r"(?:(?:de|del|della|di|du|des|la|le|les|da|do|dos|el)\s){0,2}"

_Form = tuple[re.Pattern[str], float, tuple[str, ...]]

_FORMS: tuple[_Form, ...] = (
    (
        re.compile(
            r"(?<!\w)(?:PSC|Unit|CMR)\s\d{3,5},?\s(?:Box\s\d{3,5})\s+(?:APO|DPO|FPO)\s+A[AEP]\s+"
            r"\d{5}(?:-\d{4})?"
            r"|(?<!\w)US(?:NS|NV|S|CGC)\s[A-Z]\w+\s+(?:APO|DPO|FPO)\s+A[AEP]\s+\d{5}"
        ),
        0.95,
        ("APO", "DPO", "FPO"),
    ),
    (
        re.compile(
            rf"\d(?<![\w.,-].)\d{{0,5}}(?:-\d{{1,4}})?[A-Za-z]?\s(?:[NSEW]\.?\s)?(?:{_WORD}\s){{1,4}}?"
            rf"{_SUFFIX}\.?(?!\w){_UNIT}?(?:{_TOWN}?{_STATE}{_CODE})?"
        ),
        0.85,
        (),
    ),
    (
        re.compile(
            rf"(?<!\w)(?:\d{{1,5}},?\s)?{_FOREIGN_START}\s{_ARTICLE}{_WORD}(?:\s{_WORD}){{0,3}},?\s"
            rf"\d{{1,5}}(?!\w){_UNIT}?"
            rf"|(?<!\w)\d{{1,5}},?\s{_FOREIGN_START}\s{_ARTICLE}{_WORD}(?:\s{_WORD}){{0,2}}"
        ),
        0.75,
        _STREET_STARTS,
    ),
    (
        re.compile(
            rf"(?<!\w)(?:{_WORD}[ ])?\w{{3,25}}{_FOREIGN_END}\s\d{{1,5}}\s?[a-zA-Z]?(?!\w){_UNIT}?"
        ),
        0.75,
        _STREET_ENDS,
    ),
    (
        re.compile(r"P\.?\s?O\.?\s?Box\s\d{1,6}(?!\w)", re.IGNORECASE),
        0.75,
        ("Box ", "box ", "BOX "),
    ),
    (
        re.compile(rf"\d(?<![\w.,-].)\d{{0,5}}\s(?:{_WORD}\s){{1,5}}?\d{{0,5}}{_UNIT}"),
        0.75,
        ("Apt", "Apartment", "Suite", "Ste", "Unit", "Room", "Floor", "#"),
    ),
)
"""Each with its score, and with texts of which one stands in whatever it finds; looking for those
is far quicker. None of them: it is always looked for."""

_NUMBER = re.compile(r"\d+")
_BEFORE, _AFTER = 60, 120
"""Code points around a number in which the rest of its address stands."""


def find(text: str) -> Iterator[Span]:
    """Yield what is likely a street address."""
    for begin, end in _near_digits(text):
        piece = text[begin:end]
        for pattern, score, one_of in _FORMS:
            if one_of and not any(part in piece for part in one_of):
                continue
            for found in pattern.finditer(text, begin, end):
                yield Span(found.start(), found.end(), Entity.STREET_ADDRESS, score)


def _near_digits(text: str) -> Iterator[tuple[int, int]]:
    """Yield the pieces of a text that can hold an address: every form has a number."""
    begin, end = 0, -1
    for number in _NUMBER.finditer(text):
        if number.start() - _BEFORE > end:
            if end >= 0:
                yield begin, end
            begin = max(0, number.start() - _BEFORE)
        end = number.end() + _AFTER
    if end >= 0:
        yield begin, end
