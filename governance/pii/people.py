"""Names of persons, as far as rules go.

After a title or an introduction, with an initial in the middle, or with a known given name.

Rules do not know most of the world's names; `docs/pii.md` says how many they find. Source of the
given names: common knowledge of what was given often in Europe and the Americas in a century.
"""

import re
from collections.abc import Iterator

from governance.pii.context import Text
from governance.pii.entities import Entity
from governance.pii.finding import Span
from governance.pii.given_names import GIVEN_NAMES, NO_NAMES, WORDS_TOO

_NAME = r"(?:[A-Z\u00c0-\u00de\u0100-\u017f](?<![\w@.].)[\w'\u2019-]*[\w])"
_PARTICLE = r"(?:van|von|de|der|den|di|da|del|la|le|bin|al)[ ]"
_MORE = rf"(?:[ ](?:[A-Z]\.?[ ])?(?:{_PARTICLE}){{0,2}}{_NAME}){{0,2}}"
_TITLED = re.compile(
    r"(?:M(?<!\w.)(?:rs?|s|iss|adam)|D(?<!\w.)r|P(?<!\w.)rof(?:essor)?|S(?<!\w.)ir)\.?[ ]"
    rf"({_NAME}{_MORE})"
)
_INTRODUCTIONS = (
    "name is", "name's", "name:", "i am called", "this is", "dear", "signed", "regards",
    "sincerely", "attn:", "c/o", "patient:", "customer:", "directed by",
    "written by", "sung by", "starring",
)  # fmt: skip
_TOLD = re.compile(rf",?\s{{1,3}}({_NAME}{_MORE})")
_PAIR = re.compile(rf"({_NAME})((?:[ ][A-Z]\.?)?[ ](?:{_PARTICLE}){{0,2}}{_NAME}|[ ][A-Z]\.(?!\w))")
_INITIAL = re.compile(rf"({_NAME})[ ][A-Z]\.?[ ]{_NAME}")
_ALONE = re.compile(_NAME)


def find(text: Text) -> Iterator[Span]:
    """Yield what is likely the name of a person."""
    yield from _titled(text)
    yield from _introduced(text)
    yield from _with_initial(text)
    yield from _alone(text)
    yield from _pairs(text)


def _titled(text: Text) -> Iterator[Span]:
    for titled in _TITLED.finditer(text):
        if _begins_well(titled[1]):
            yield Span(titled.start(1), titled.end(1), Entity.PERSON, 0.85)


def _introduced(text: Text) -> Iterator[Span]:
    for words in _INTRODUCTIONS:
        for place in text.places(words):
            told = _TOLD.match(text, place + len(words))
            if told and _begins_well(told[1]):
                yield Span(told.start(1), told.end(1), Entity.PERSON, 0.7)


def _with_initial(text: Text) -> Iterator[Span]:
    for full in _INITIAL.finditer(text):
        if _begins_well(full[0]):
            yield Span(full.start(), full.end(), Entity.PERSON, 0.7)


def _alone(text: Text) -> Iterator[Span]:
    for alone in _ALONE.finditer(text):
        if alone[0] in GIVEN_NAMES and alone[0] not in WORDS_TOO:
            yield Span(alone.start(), alone.end(), Entity.PERSON, 0.55)


def _pairs(text: Text) -> Iterator[Span]:
    for pair in _PAIR.finditer(text):
        if pair[1] in GIVEN_NAMES and pair[2].rsplit(maxsplit=1)[-1] not in NO_NAMES:
            yield Span(pair.start(), pair.end(), Entity.PERSON, 0.75)


def _begins_well(name: str) -> bool:
    return name.split(maxsplit=1)[0] not in NO_NAMES and not name.isupper()
