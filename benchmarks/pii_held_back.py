"""Texts with labelled personal data, made from a seed; the detectors were not changed after them.

Half of the sentences have a word that tells what the number is, half do not; a quarter hold what
only looks like personal data. Numbers are valid where the type has a check digit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from governance.pii.numbers import luhn

SEED = 20261127
Rng = np.random.Generator

_PLAIN = (
    "Please have a look at {} before Friday.", "{}", "We got {} from the other office, I think.",
    "It says {} on the form, and nothing else.", "Forwarded: {}, see the notes below.",
)  # fmt: skip
_TOLD = {
    "CREDIT_CARD": ("Charge my credit card {} for both nights.", "Card number: {}"),
    "EMAIL_ADDRESS": ("Write to {} if it breaks again.", "E-mail:\n{}\nThanks"),
    "IBAN_CODE": ("Transfer the deposit to IBAN {} by Monday.", "IBAN: {}"),
    "IP_ADDRESS": ("The login came from address {} at night.", "host {} is down"),
    "PHONE_NUMBER": ("You can reach me by phone at {} after six.", "Tel. {}", "Call {} now"),
    "US_SSN": ("Social security number {} is on file.", "SSN: {}"),
    "US_DRIVER_LICENSE": ("Driver's license number {} was shown.",),
}
_DECOYS = (
    "Order {digits12} shipped with tracking {digits14}.", "Invoice no. {digits9} of 2024-03-{day}.",
    "Version 10.4.{day}.{day} fixes this.", "The ISBN is 978-3-16-1484{day}-0.",
    "Between 1987 and 2003 sales rose by {day},{day}4 units.", "Room {day}, page {day} of 345.",
    "Commit 4f2a91{digits9}ab broke the build.", "At 12:{day}:45 the timer stopped.",
    "He lives at the end of the road.", "Contact the team about ticket #{digits9}.",
)  # fmt: skip


def texts(count: int) -> list[dict[str, Any]]:
    """Return texts in the form of the labelled set: `full_text` and `spans`."""
    rng = np.random.default_rng(SEED)
    return [_decoy(rng) if i % 4 == 0 else _labelled(rng) for i in range(count)]


def _labelled(rng: Rng) -> dict[str, Any]:
    entity = str(rng.choice(list(_MAKERS)))
    value = _MAKERS[entity](rng)
    is_told = entity == "US_DRIVER_LICENSE" or rng.random() < 0.5  # noqa: PLR2004 - a coin
    template = str(rng.choice(_TOLD[entity] if is_told else _PLAIN))
    start = template.index("{}")
    span = {
        "entity_type": entity,
        "entity_value": value,
        "start_position": start,
        "end_position": start + len(value),
    }
    return {"full_text": template.replace("{}", value), "spans": [span]}


def _decoy(rng: Rng) -> dict[str, Any]:
    text = str(rng.choice(_DECOYS)).format(
        digits9=_digits(rng, 9), digits12=_digits(rng, 12), digits14=_digits(rng, 14),
        day=int(rng.integers(10, 29)),
    )  # fmt: skip
    return {"full_text": text, "spans": []}


def _digits(rng: Rng, count: int) -> str:
    return "".join(map(str, rng.integers(0, 10, count)))


def _card(rng: Rng) -> str:
    prefix, length = (("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("6011", 16), ("3530", 16))[
        int(rng.integers(6))
    ]
    body = prefix + _digits(rng, length - len(prefix) - 1)
    digits = next(body + str(last) for last in range(10) if luhn(body + str(last)))
    if length == 16 and rng.random() < 0.4:  # noqa: PLR2004 - as people write it
        return str(rng.choice([" ", "-"])).join(digits[i : i + 4] for i in range(0, 16, 4))
    return digits


def _email(rng: Rng) -> str:
    name = str(rng.choice(["t.okafor", "mia_larsen", "j-p.dubois", "li.wei88", "info+news"]))
    return f"{name}@{rng.choice(['mail.example.org', 'uni-x.example', 'shop.co.uk', 'firma.de'])}"


def _iban(rng: Rng) -> str:
    country, bban = (
        ("DE", _digits(rng, 18)), ("FR", _digits(rng, 23)), ("NO", _digits(rng, 11)),
        ("GB", "BARC" + _digits(rng, 14)), ("NL", "INGB" + _digits(rng, 10)),
    )[int(rng.integers(5))]  # fmt: skip
    number = int("".join(str(int(char, 36)) for char in f"{bban}{country}00"))
    iban = f"{country}{98 - number % 97:02d}{bban}"
    if rng.random() < 0.5:  # noqa: PLR2004 - a coin
        return " ".join(iban[i : i + 4] for i in range(0, len(iban), 4))
    return iban


def _address(rng: Rng) -> str:
    if rng.random() < 0.7:  # noqa: PLR2004 - most
        return ".".join(map(str, rng.integers(1, 255, 4)))
    return ":".join(f"{part:x}" for part in rng.integers(1, 65536, 8))


def _phone(rng: Rng) -> str:
    area, exchange, line = rng.integers(201, 990), rng.integers(201, 990), _digits(rng, 4)
    forms = (
        f"({area}) {exchange}-{line}", f"{area}-{exchange}-{line}", f"+1 {area} {exchange} {line}",
        f"+44 20 7{_digits(rng, 3)} {line}", f"+49 30 {_digits(rng, 6)}",
        f"{area}.{exchange}.{line}", f"+91 {_digits(rng, 5)} {_digits(rng, 5)}",
        f"+33 1 {' '.join(_digits(rng, 2) for _ in range(4))}",
        f"07{_digits(rng, 3)} {_digits(rng, 6)}",
    )  # fmt: skip
    return forms[int(rng.integers(len(forms)))]


def _ssn(rng: Rng) -> str:
    area = int(rng.choice([rng.integers(1, 666), rng.integers(667, 900)]))
    return f"{area:03d}-{rng.integers(1, 100):02d}-{rng.integers(1, 10_000):04d}"


def _licence(rng: Rng) -> str:
    return f"{rng.choice(list('ADKMW'))}{_digits(rng, 7)}"


_MAKERS: dict[str, Callable[[Rng], str]] = {
    "CREDIT_CARD": _card,
    "EMAIL_ADDRESS": _email,
    "IBAN_CODE": _iban,
    "IP_ADDRESS": _address,
    "PHONE_NUMBER": _phone,
    "US_SSN": _ssn,
    "US_DRIVER_LICENSE": _licence,
}
