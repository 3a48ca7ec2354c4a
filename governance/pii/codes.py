"""E-mail addresses, IBANs, IPv6 addresses, passports, driver's licences, dates of birth.

Sources: RFC 5321 §4.1.2 (what mail addresses are in practice), ISO 13616-1 and the SWIFT IBAN
registry (lengths by country), ISO/IEC 7064 MOD 97-10, RFC 4291 §2.2.
"""

import ipaddress
import re
from collections.abc import Iterator

from governance.pii import context
from governance.pii.entities import Entity
from governance.pii.finding import Span

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a1-\uffff-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a1-\uffff-]+)*\Z")  # fmt: skip  # noqa: E501
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9\u00a1-\uffff](?:[A-Za-z0-9\u00a1-\uffff-]{0,61}[A-Za-z0-9\u00a1-\uffff])?\.)+"
    r"(?:[A-Za-z]{2,24}|xn--[a-z0-9-]{2,58})(?![A-Za-z0-9-])"
)
_MOST_LOCAL = 64

_IBAN = re.compile(
    r"\d\d(?<=[A-Za-z]..)(?<=[A-Za-z]...)(?<![A-Za-z0-9]....)(?:[ -]?[A-Za-z0-9]){11,30}"
    r"(?![A-Za-z0-9])"
)
"""From the check digits on, which are rarer than the two letters before them."""
_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24,
    "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24,
    "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip

_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])")  # fmt: skip  # noqa: E501

_LICENCE = re.compile(
    r"(?<!\w)(?=[A-Z0-9-]*\d)"
    r"(?:[A-Z]{1,2}[ -]?\d{2,4}(?:-\d{2,5}){1,3}|[A-Z]{0,3}\d{4,14}[A-Z]{0,3}\d{0,3}"
    r"|\d{3}(?:-\d{2,4}){2,3})(?![\w-])"
)
_PASSPORT = re.compile(r"(?<!\w)(?:[A-Z]\d{8}|\d{9})(?!\w)")
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = re.compile(
    r"(?<![\w/.-])(?:\d{1,2}([/.\-])\d{1,2}\1(?:19|20)?\d\d|(?:19|20)\d\d([/.\-])\d{1,2}\2\d{1,2}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{_MONTHS})[a-z]*\.?,?\s+(?:19|20)\d\d"
    rf"|(?:{_MONTHS})[a-z]*\.?\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+(?:19|20)\d\d)(?![\w/-])",
    re.IGNORECASE,
)
_NEAR = 48


def find(text: context.Text) -> Iterator[Span]:
    """Yield the codes that are personal data."""
    yield from _emails(text)
    yield from _ibans(text)
    if _COLONS.search(text):
        yield from _ipv6(text)
    yield from _meant(text)


def _emails(text: str) -> Iterator[Span]:
    at = text.find("@")
    while at >= 0:
        local = _local_part(text, at)
        domain = _DOMAIN.match(text, at + 1)
        if local and domain:
            yield Span(at - len(local), domain.end(), Entity.EMAIL_ADDRESS, 1.0)
        at = text.find("@", at + 1)


def _local_part(text: str, at: int) -> str:
    """Return the part before an @; as long as it goes back."""
    piece = text[max(0, at - _MOST_LOCAL) : at]
    start = len(piece)
    while start and (piece[start - 1].isalnum() or piece[start - 1] in ".!#$%&'*+/=?^_`{|}~-"):
        start -= 1
    found = _LOCAL.search(piece[start:].lstrip(".'`*=/"))
    return found.group() if found else ""


def _ibans(text: str) -> Iterator[Span]:
    for candidate in _IBAN.finditer(text):
        start = candidate.start() - 2
        written = text[start : candidate.end()].upper()
        country = written[:2]
        length = _LENGTHS.get(country)
        if length is None:
            continue
        end = _end_of(written, length)
        if end and _is_mod_97(written[:end].replace(" ", "").replace("-", "")):
            yield Span(start, start + end, Entity.IBAN_CODE, 1.0)


def _end_of(written: str, length: int) -> int:
    """Return where so many letters and digits end, 0 where there are fewer."""
    count = 0
    for place, char in enumerate(written, 1):
        count += char not in " -"
        if count == length:
            return place
    return 0


def _is_mod_97(iban: str) -> bool:
    digits = "".join(str(int(char, 36)) for char in iban[4:] + iban[:4])
    return int(digits) % 97 == 1


def _ipv6(text: str) -> Iterator[Span]:
    for candidate in _IPV6.finditer(text):
        written = candidate.group()
        if written.strip(":") and _is_address(written):
            yield Span(candidate.start(), candidate.end(), Entity.IP_ADDRESS, 0.9)


def _is_address(written: str) -> bool:
    try:
        ipaddress.IPv6Address(written)
    except ValueError:
        return False
    return True


def _meant(text: context.Text) -> Iterator[Span]:
    """Yield what only the words before it make a passport, a licence or a date of birth."""
    for stem, pattern, entity in _WANTED:
        for place in text.places(stem):
            begin = place + len(stem)
            near = text[begin : begin + _NEAR].partition(context.BORDER)[0]
            if found := pattern.search(near):
                yield Span(begin + found.start(), begin + found.end(), entity, 0.8)


_WANTED = (
    ("passport", _PASSPORT, Entity.US_PASSPORT),
    *((stem, _LICENCE, Entity.US_DRIVER_LICENSE) for stem in (
        "driver license", "driver licence", "driver's licen", "drivers licen", "driving licen",
        "license number", "licence number", "license no", "licence no", "license #", "dl number",
    )),
    *((stem, _DATE, Entity.DATE_TIME) for stem in (" born", "birth", "dob", "d.o.b")),
)  # fmt: skip
"""What stands before it, what it looks like, what it is."""
