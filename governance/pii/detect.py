"""All detectors over one piece of text.

numbers       cards, social security numbers, IPv4, phones
codes         e-mail, IBAN, IPv6, passports, licences, dates of birth
credentials   keys, tokens, passwords
addresses     streets
people        names
"""

from evidence.errors import InvalidInput
from governance.pii import addresses, codes, credentials, numbers, people
from governance.pii.context import Text
from governance.pii.finding import Span, without_overlaps

LEAST_SCORE = 0.5
"""Below this a scan tells nothing."""


def detect(text: str, *, least_score: float = LEAST_SCORE) -> list[Span]:
    """Return what is found in a text, in order, none over another.

    Args:
        text: May hold several records with `context.BORDER` between them.
        least_score: Findings with a lower score are left out, [0, 1].

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
        for detector in (numbers, codes, credentials, addresses, people)
        for span in detector.find(held)
        if span.score >= least_score
    )
    return without_overlaps(found)
