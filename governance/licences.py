"""Licences as SPDX expressions, and how a policy judges one.

A licence that nobody knows is written as what it is: `NOASSERTION`, or `LicenseRef-...` for a text
that has no SPDX id. Source: SPDX specification 2.3, annex D.
"""

import re
from collections.abc import Callable, Collection
from functools import cache, lru_cache
from typing import Any, Literal

from license_expression import ExpressionError, LicenseSymbol, Licensing, get_spdx_licensing

from evidence.errors import InvalidInput

NOASSERTION = "NOASSERTION"
"""Nobody states a licence."""

Standing = Literal["allowed", "unlisted", "unknown", "denied"]
"""How a licence stands, from the best to the worst."""

_ORDER: tuple[Standing, ...] = ("allowed", "unlisted", "unknown", "denied")
_REFERENCE = re.compile(r"LicenseRef-[A-Za-z0-9.-]{1,100}")
_WORD = re.compile(r"[A-Za-z0-9.+-]+")
_OPERATORS = frozenset({"AND", "OR", "WITH"})
_MOST_CHARACTERS = 500


def require(expression: str) -> str:
    """Return `expression` if it is an SPDX licence expression in its canonical spelling.

    Raises:
        InvalidInput: It is none, or holds an id that SPDX does not have; the id is named.
    """
    known = _parse(expression)
    canonical = known.render()
    if canonical != expression:
        raise InvalidInput(
            f"expected the SPDX spelling {canonical}, found {expression}",
            expected=canonical,
            found=expression,
        )
    return expression


def standing(
    expression: str, *, allowed: Collection[str], denied: Collection[str]
) -> tuple[Standing, str]:
    """Return how an expression stands, and the id that decides it.

    Of the parts of an OR the best one counts, since whoever uses the data may choose; of those of
    an AND the worst.

    Args:
        expression: As `require` takes it.
        allowed: Ids that are allowed.
        denied: Ids that are not, whatever else is allowed.
    """

    def of_id(name: str) -> Standing:
        if name in denied:
            return "denied"
        if name in allowed:
            return "allowed"
        is_unknown = name == NOASSERTION or name.startswith("LicenseRef-")
        return "unknown" if is_unknown else "unlisted"

    return _judge(_parse(expression), of_id)


def _judge(node: Any, of_id: Callable[[str], Standing]) -> tuple[Standing, str]:
    parts = getattr(node, "args", ())
    if not parts:
        # An exception (WITH) gives more rights than the licence that it belongs to.
        name = str(node.license_symbol.key if hasattr(node, "license_symbol") else node.key)
        return of_id(name), name
    judged = [_judge(part, of_id) for part in parts]
    choose = min if type(node).__name__ == "OR" else max
    return choose(judged, key=lambda one: _ORDER.index(one[0]))


@lru_cache(maxsize=1024)
def _parse(expression: str) -> Any:
    if len(expression) > _MOST_CHARACTERS:
        raise InvalidInput(f"expected at most {_MOST_CHARACTERS} characters")
    spdx = _spdx()
    unknown = [
        word
        for word in _WORD.findall(expression)
        if word not in _OPERATORS and word not in spdx.known_symbols and not _is_no_id(word)
    ]
    if unknown:
        raise InvalidInput(
            f"expected ids of the SPDX licence list, {NOASSERTION} or LicenseRef-..., "
            f"found {unknown[0]:.80}",
            found=unknown[0][:80],
        )
    used = [word for word in dict.fromkeys(_WORD.findall(expression)) if word not in _OPERATORS]
    licensing = Licensing([spdx.known_symbols.get(word) or LicenseSymbol(word) for word in used])
    try:
        parsed = licensing.parse(expression, validate=True, strict=True)
    except (ExpressionError, ValueError) as error:  # ParseError is a ValueError of boolean.py
        raise InvalidInput(f"expected an SPDX licence expression, found {error}"[:300]) from error
    if parsed is None:
        raise InvalidInput("expected an SPDX licence expression, found nothing")
    return parsed


def _is_no_id(word: str) -> bool:
    return word == NOASSERTION or _REFERENCE.fullmatch(word) is not None


@cache
def _spdx() -> Licensing:
    return get_spdx_licensing()
