"""The verdict of the built-in reviewer: the rules', which a model may lower and never raise."""

from collections.abc import Sequence
from dataclasses import dataclass

from governance.proposals.schema import Verdict
from governance.review.rules import Checked

RULES_ALONE = "no language model is configured: this rests on the rules alone"

_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Review:
    """What the reviewer says."""

    verdict: Verdict | None
    """None where a rule cannot be told and none failed: no vote is cast."""
    reasons: tuple[str, ...]
    """For the signed record; each rule that failed is named."""
    unknown: tuple[str, ...]
    """What cannot be told, and why."""


def conclude(rules: Sequence[Checked], model: Checked | None) -> Review:
    """Return the review.

    Args:
        rules: What became of each rule.
        model: The assessment of a language model; None where none is configured.
    """
    failed = [one for one in rules if one.verdict is Verdict.FAIL]
    unknown = [f"{one.id}: {one.detail}" for one in rules if one.verdict is None]
    lowers = model is not None and model.verdict is not Verdict.PASS
    named = [f"{one.id}: {one.detail}"[:_LONGEST] for one in failed]
    passed = sum(one.verdict is Verdict.PASS for one in rules)
    told = [*named, f"{passed} of {len(rules)} rules passed"]
    if model is None:
        told.append(RULES_ALONE)
    else:
        told.append(f"model: {model.detail}"[:_LONGEST])
    if failed or lowers:
        verdict: Verdict | None = Verdict.FAIL
    else:
        verdict = None if unknown else Verdict.PASS
    return Review(verdict, tuple(told), tuple(unknown))
