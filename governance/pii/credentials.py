"""Secrets that open something: private keys, tokens of known services, passwords that are told.

The forms of tokens are those that their issuers publish, so that leaked ones can be found.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

from governance.pii.context import Text
from governance.pii.entities import Entity
from governance.pii.finding import Span

_KNOWN = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])"  # AWS
    r"|(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36,255}"  # GitHub
    r"|(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{22,255}"
    r"|(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,64}"  # GitLab
    r"|(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,250}"  # Slack
    r"|(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"  # Google
    r"|(?<![A-Za-z0-9])[sr]k_(?:live|test)_[A-Za-z0-9]{16,250}"  # Stripe
    r"|(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{32,250}"  # OpenAI and those that follow it
    r"|(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9])pypi-[A-Za-z0-9_-]{50,250}"
    r"|(?<![A-Za-z0-9])hf_[A-Za-z]{34}(?![A-Za-z0-9])"  # Hugging Face
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,1000}"
)
_STARTS = (
    "PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-",
    "xox", "AIza", "k_live_", "k_test_", "sk-", "npm_", "pypi-", "hf_", "eyJ",
)  # fmt: skip
"""One of these is in every text that _KNOWN finds something in; looking for them is far quicker."""

_NAMES = (
    "password", "passwd", "pwd", "secret", "api_key", "apikey", "api-key", "access_key",
    "access-key", "auth_token", "access_token", "auth-token", "access-token",
)  # fmt: skip
_TOLD = re.compile(
    r"[\"']?\s*(?:[:=]|\bis\b)\s*[\"']?([^\s\"'<>,;\x00]{8,200})",
    re.IGNORECASE,
)
_LEAST_BITS = 2.8
"""Shannon entropy of a character below which a told secret is a word or a placeholder."""


def find(text: Text) -> Iterator[Span]:
    """Yield the secrets."""
    if any(start in text for start in _STARTS):
        for known in _KNOWN.finditer(text):
            yield Span(known.start(), known.end(), Entity.SECRET, 1.0)
    for name in _NAMES:
        for place in text.places(name):
            told = _TOLD.match(text, place + len(name))
            if told and _bits(told[1]) >= _LEAST_BITS and not told[1].isalpha():
                yield Span(told.start(1), told.end(1), Entity.SECRET, 0.75)


def _bits(value: str) -> float:
    """Return the Shannon entropy of a text per character, in bits."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
