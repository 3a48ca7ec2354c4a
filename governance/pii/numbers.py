"""Credit cards, US social security numbers, IPv4 addresses and phone numbers.

One pass finds runs of digits with what may stand between them; each run is then judged by what its
digits add up to, how they are grouped, and the words before it. Sources: ISO/IEC 7812-1 (Luhn,
issuer prefixes), SSA "SSN randomization" (2011: areas 000, 666 and 9xx, groups 00 and serials 0000
are never issued), ITU-T E.164 (at most 15 digits), NANP (area and exchange begin with 2 to 9).
"""

import re
from collections.abc import Iterator

from governance.pii import context
from governance.pii.entities import Entity
from governance.pii.finding import Span

_RUN = re.compile(
    r"(?:\+(?<![\w.\-/#].) ?\d|\((?<![\w.\-/#].)\d{1,5}\)[ .\-]?\d|\d(?<![\w.\-/#].))"
    r"(?:[ .\-/]?(?:\(0\)|[()])?[ .\-]?\d)+"
    r"(?:[ ]?(?:x|ext\.? ?)\d{1,6})?"
    r"(?![\w%]|[.\-/]\d)",
)
"""A number in any of the forms below. It begins with its first character, not with what must not
stand before that, since so the engine skips everything else quickly."""

_CARD = re.compile(r"\d{12,19}|\d{4}(?:[ -]\d{4}){3}(?:[ -]?\d{1,3})?|3\d{3}[ -]\d{6}[ -]\d{4,5}")
_SSN = re.compile(r"(\d{3})([- ])(\d{2})\2(\d{4})")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}")
_INTERNATIONAL = re.compile(
    r"(?:\+ ?|00)[1-9]\d{0,2}(?:[ .\-]?\(0?\d{0,4}\))?(?:[ .\-/]?\d){5,13}(?: ?(?:x|ext\.? ?)\d+)?"
)
_NANP = re.compile(
    r"(?:\+?1[ .\-])?(?:\([2-9]\d{2}\)[ .\-]?|[2-9]\d{2}[ .\-])[2-9]\d{2}[ .\-]\d{4}"
    r"(?: ?(?:x|ext\.? ?)\d{1,6})?"
)
_LOCAL = re.compile(
    r"\(?\d{2,5}\)?(?:[ .\-/]\d{2,8}){1,5}(?: ?(?:x|ext\.? ?)\d{1,6})?|\d{7,12}"
    r"|\(\d{2,4}\)\d{3}[ .\-]?\d{3,4}(?: ?(?:x|ext\.? ?)\d{1,6})?"
)
_GROUPED = re.compile(r"0\d{1,4}(?:[ .\-/]\d{2,5}){2,5}|\d{2}(?:[.\-]\d{2}){3,4}")
_DATE = re.compile(r"\d{1,4}([.\-/])\d{1,2}\1\d{1,4}")
_YEARS = re.compile(r"(?:1[5-9]|20)\d\d ?[-/ ] ?(?:(?:1[5-9]|20)\d\d|\d\d)")

_CARD_WORDS = context.words("card", "credit", "visa", "master", "amex", "debit", "maestro")
_SSN_WORDS = context.words("ssn", "social sec", "soc sec", "social security")
_PHONE_WORDS = context.words(
    "phone", "tel(?![a-z])", "telephone", "mobile", "cell", "fax", "desk", "call", "dial", "reach",
    "contact", "text me", "sms", "whatsapp", "hotline", "answering", "messages? to", "office",
    "voicemail", "ring(?![a-z])", "number is",
)  # fmt: skip
_PHONE_AFTER = re.compile(r"\s?[-(]? ?(?:office|fax|mobile|cell|home|work|desk)")
_OTHER_WORDS = context.words(
    "account", "acct", "order", "invoice", "isbn", "issn", "ticket", "tracking", "serial", "zip",
    "version", "release", "figure", "section", "page", "room", "doi", "id(?![a-z])", "iban", "vat",
    "article", "no\\. of", "population", "total",
)  # fmt: skip

_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|09|[68]\d)\d{11,16}"  # Diners Club
    r"|(?:6011|65\d\d|64[4-9]\d)\d{12,15}"  # Discover
    r"|(?:35(?:2[89]|[3-8]\d)\d{12}|(?:2131|1800)\d{11})"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|(?:50|5[6-9]|6\d)\d{10,17}"  # Maestro
)
_UNLIKELY = re.compile(r"(\d)\1+")
_VERSION_WORDS = context.words("version", "release", "v(?![a-z])")
_SSN_DIGITS = 9
_MOST_PHONE_DIGITS, _LEAST_PHONE_DIGITS, _MOST_EXTENSION = 15, 7, 6


def find(text: str) -> Iterator[Span]:
    """Yield the numbers that are personal data."""
    for run in _RUN.finditer(text):
        yield from _judge(text, run.start(), run.group())


def _judge(text: str, start: int, run: str) -> Iterator[Span]:
    """Yield what a run is, the strictest form first."""
    digits = "".join(char for char in run if char.isdecimal())
    judged = _address(text, start, run)
    if judged is None and len(digits) >= _LEAST_PHONE_DIGITS:
        judged = (
            _card(text, start, run, digits)
            or _social(text, start, run, digits)
            or _phone(text, start, run, digits)
        )
    if judged is not None and judged[1] > 0:
        yield Span(start, start + len(run), *judged)


_Judged = tuple[Entity, float] | None
"""What a run is and how surely; a score of 0 says that it is nothing, and that no more is asked."""


def _address(text: str, start: int, run: str) -> _Judged:
    if "." not in run or not _IPV4.fullmatch(run):
        return None
    is_version = _VERSION_WORDS.search(context.before(text, start, size=12))
    return Entity.IP_ADDRESS, 0 if is_version else 0.9


def _card(text: str, start: int, run: str, digits: str) -> _Judged:
    if not _CARD.fullmatch(run) or not luhn(digits):
        return None
    is_meant = _CARD_WORDS.search(context.before(text, start))
    is_issued = _ISSUERS.fullmatch(digits)
    if not is_meant and not is_issued:
        return None
    return Entity.CREDIT_CARD, 1.0 if is_meant and is_issued else 0.85


def _social(text: str, start: int, run: str, digits: str) -> _Judged:
    if (ssn := _SSN.fullmatch(run)) and _is_issued(ssn):
        is_meant = _SSN_WORDS.search(context.before(text, start))
        return Entity.US_SSN, 0.95 if is_meant else 0.75
    if len(digits) != _SSN_DIGITS or not run.isdecimal():
        return None
    return (Entity.US_SSN, 0.8) if _SSN_WORDS.search(context.before(text, start, size=30)) else None


def _phone(text: str, start: int, run: str, digits: str) -> _Judged:
    if len(digits) > _MOST_PHONE_DIGITS + _MOST_EXTENSION or _UNLIKELY.fullmatch(digits):
        return None
    if _DATE.fullmatch(run) or _YEARS.fullmatch(run):
        return None
    told, behind = context.before(text, start), context.after(text, start + len(run))
    is_meant = bool(_PHONE_WORDS.search(told) or _PHONE_AFTER.match(behind))
    is_other = not is_meant and bool(_OTHER_WORDS.search(told))
    forms = (
        (_INTERNATIONAL, 0.85, 0.95),
        (_NANP, 0 if is_other else 0.7, 0.9),
        (_LOCAL, 0, 0.75),
        (_GROUPED, 0 if is_other else 0.5, 0.75),
    )
    for form, score, meant_score in forms:
        if form.fullmatch(run) and (found := meant_score if is_meant else score):
            return Entity.PHONE_NUMBER, found
    return None


def _is_issued(ssn: re.Match[str]) -> bool:
    area, group, serial = ssn[1], ssn[3], ssn[4]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def luhn(digits: str) -> bool:
    """Return whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2  # noqa: PLR2004 - two digits
        total += value
    return total % 10 == 0
