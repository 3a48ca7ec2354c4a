"""All detectors over one piece of text.

numbers       cards, social security numbers, IPv4, phones
codes         e-mail, IBAN, IPv6, passports, licences, dates of birth
credentials   keys, tokens, passwords
addresses     streets
people        names
"""

from collections.abc import Collection
from typing import Final

from evidence.errors import InvalidInput
from governance.pii import addresses, codes, credentials, numbers, people
from governance.pii.context import Text
from governance.pii.entities import Entity
from governance.pii.finding import Span, without_overlaps

LEAST_SCORE = 0.5
"""Below this a scan tells nothing."""


ALL: Final = frozenset(Entity)
"""Every type."""

_FINDS: Final = (
    (numbers, {Entity.CREDIT_CARD, Entity.IP_ADDRESS, Entity.PHONE_NUMBER, Entity.US_SSN}),
    (codes, {Entity.DATE_TIME, Entity.EMAIL_ADDRESS, Entity.IBAN_CODE, Entity.IP_ADDRESS,
             Entity.US_DRIVER_LICENSE, Entity.US_PASSPORT}),
    (credentials, {Entity.SECRET}),
    (addresses, {Entity.STREET_ADDRESS}),
    (people, {Entity.PERSON}),
)  # fmt: skip
"""Each detector with the types that it finds; one that finds none of those asked for is not run."""


def detect(
    text: str, *, least_score: float = LEAST_SCORE, types: Collection[Entity] = ALL
) -> list[Span]:
    """Return what is found in a text, in order, none over another.

    Args:
        text: May hold several records with `context.BORDER` between them.
        least_score: Findings with a lower score are left out, [0, 1].
        types: What is looked for.

    Raises:
        InvalidInput: The score is out of its range.
    """
    if not 0 <= least_score <= 1:
        raise InvalidInput(
            f"least_score: expected a number from 0 to 1, found {least_score}", field="least_score"
        )
    held = Text(text)
    found = (
        span
        for detector, finds in _FINDS
        if not finds.isdisjoint(types)
        for span in detector.find(held)
        if span.score >= least_score and span.entity in types
    )
    return without_overlaps(found)
