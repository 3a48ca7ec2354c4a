"""The rules of the built-in reviewer, each with a name that a verdict gives.

A rule returns what is wrong in one sentence, or None; or says that it cannot be told. No rule reads
title or summary as anything but text that has a length: what an author writes persuades nobody.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from evidence.clock import moment
from governance.proposals.schema import Answer, ChangeType, Harm, Verdict
from governance.review.facts import Subject

LEAST_SCORE = 0.7
"""Compliance score below which a proposal fails."""

LEAST_NOTE = 20
"""Characters below which a note, or a bias assessment, says nothing."""

NEEDS_NO_RUN = frozenset({ChangeType.RESEARCH, ChangeType.FEATURE})
"""Kinds of change that may be proposed before anything was trained for them."""


class CannotTell(Exception):
    """A rule cannot be held against what is known."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    id: str
    title: str
    """What holds when it passes."""
    look: Callable[[Subject], str | None]


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one rule."""

    id: str
    title: str
    verdict: Verdict | None
    """None where it cannot be told."""
    detail: str


def check(subject: Subject) -> tuple[Checked, ...]:
    """Hold a proposal against every rule."""
    return tuple(_checked(rule, subject) for rule in RULES)


def _checked(rule: Rule, subject: Subject) -> Checked:
    try:
        wrong = rule.look(subject)
    except CannotTell as unknown:
        return Checked(rule.id, rule.title, None, str(unknown))
    verdict = Verdict.PASS if wrong is None else Verdict.FAIL
    return Checked(rule.id, rule.title, verdict, wrong or rule.title)


# -- the cited runs --------------------------------------------------------------------------------


def _runs_cited(subject: Subject) -> str | None:
    kind = subject.proposal.change_type
    if subject.proposal.runs or kind in NEEDS_NO_RUN:
        return None
    return f"a change of the kind {kind} must cite a run; it cites none"


def _runs_verified(subject: Subject) -> str | None:
    return _first(f"run {run.run_id}: {run.flaw}" for run in subject.runs if run.flaw is not None)


def _runs_own(subject: Subject) -> str | None:
    author = subject.proposal.author
    return _first(
        f"run {run.run_id} is {run.author or 'nobody'}'s, the proposal {author}'s"
        for run in subject.runs
        if run.author != author
    )


def _runs_unchanged(subject: Subject) -> str | None:
    found = {run.run_id: run.pack for run in subject.runs if run.pack is not None}
    return _first(
        f"run {cited.run_id}: manifest was {cited.manifest_sha256}, is {pack.manifest_sha256}"
        for cited in subject.proposal.runs
        if (pack := found.get(cited.run_id)) and pack.manifest_sha256 != cited.manifest_sha256
    )


def _metrics(subject: Subject) -> str | None:
    found = {run.run_id: run.pack for run in subject.runs if run.pack is not None}
    for cited in subject.proposal.runs:
        pack = found.get(cited.run_id)
        if pack is None:
            continue
        for name in ("step", "test_loss", "test_accuracy"):
            told, measured = getattr(cited, name), getattr(pack, name)
            if told != measured:
                return f"run {cited.run_id}: {name} is told as {told}, its evidence has {measured}"
    return None


def _runs_fit(subject: Subject) -> str | None:
    wanted = subject.proposal.training
    if subject.proposal.change_type in NEEDS_NO_RUN:
        return None
    packs = [run.pack for run in subject.runs if run.pack is not None]
    if not packs or any((p.dataset, p.model) == (wanted.dataset, wanted.model) for p in packs):
        return None
    return f"no cited run trained {wanted.model} on {wanted.dataset}"


def _replay(subject: Subject) -> str | None:
    if not subject.proposal.runs:
        return None
    if not subject.replays:
        raise CannotTell("no window of a cited run was done again")
    failed = [one for one in subject.replays if one.verdict == "failed"]
    if failed:
        return f"run {failed[0].run_id}: {failed[0].summary}"
    unknown = [one for one in subject.replays if one.verdict != "passed"]
    if unknown:
        raise CannotTell(f"run {unknown[0].run_id}: {unknown[0].summary}")
    return None


# -- data, model, policy ---------------------------------------------------------------------------


def _data_digests(subject: Subject) -> str | None:
    wanted, known = subject.proposal.training, subject.known_digests
    if known is None:
        return f"{wanted.dataset}: the service has no such data set"
    if wanted.dataset_digests != known:
        names = sorted(set(wanted.dataset_digests) | set(known))
        differing = next(n for n in names if wanted.dataset_digests.get(n) != known.get(n))
        return (
            f"{wanted.dataset}, {differing}: the proposal has SHA-256 "
            f"{wanted.dataset_digests.get(differing)}, the service {known.get(differing)}"
        )
    return _first(
        f"run {run.run_id} trained on other bytes of {wanted.dataset} than are proposed"
        for run in subject.runs
        if run.pack is not None
        and run.pack.dataset == wanted.dataset
        and run.pack.dataset_digests != wanted.dataset_digests
    )


def _model(subject: Subject) -> str | None:
    model = subject.proposal.training.model
    if model in subject.architectures:
        return None
    return f"{model} is none of the approved models: {', '.join(subject.architectures)}"


def _policy(subject: Subject) -> str | None:
    if subject.policy_silent is not None:
        raise CannotTell(subject.policy_silent)
    return "; ".join(subject.denials)[:400] or None


# -- ethics ----------------------------------------------------------------------------------------


def _ethics_score(subject: Subject) -> str | None:
    score = subject.proposal.ethics.compliance_score
    return None if score >= LEAST_SCORE else f"expected at least {LEAST_SCORE}, found {score:g}"


def _ethics_bias(subject: Subject) -> str | None:
    words = set(subject.proposal.ethics.bias_assessment.lower().split())
    length = len(subject.proposal.ethics.bias_assessment.strip())
    if length >= LEAST_NOTE and len(words) >= 4:  # noqa: PLR2004 - fewer make no sentence
        return None
    return "the bias assessment is no sentence that could be held against anything"


def _ethics_harms(subject: Subject) -> str | None:
    harms = subject.proposal.ethics.harms
    present = [harm for harm in Harm if harms[harm].answer is Answer.PRESENT]
    if present:
        return f"{present[0]} is present and not mitigated"
    unexplained = [
        harm
        for harm in Harm
        if harms[harm].answer is Answer.MITIGATED and len(harms[harm].note.strip()) < LEAST_NOTE
    ]
    return f"{unexplained[0]} is mitigated, it does not say how" if unexplained else None


def _ethics_pii(subject: Subject) -> str | None:
    answer = subject.proposal.ethics.harms[Harm.PII_EXPOSURE].answer
    if not subject.holds_personal_data or answer is not Answer.NONE:
        return None
    return (
        f"pii_exposure is answered with none, but {subject.proposal.training.dataset} has "
        "personal data in it"
    )


# -- the proposal itself ---------------------------------------------------------------------------


def _fresh(subject: Subject) -> str | None:
    age = subject.now - moment(subject.proposal.created)
    if age <= timedelta(days=subject.valid_days):
        return None
    return f"it was made {age.days} days ago, more than {subject.valid_days}; make it anew"


def _supersedes(subject: Subject) -> str | None:
    if subject.superseded in {None, "accepted", "rejected"}:
        return None
    return f"{subject.proposal.supersedes} is {subject.superseded}"


def _probe(subject: Subject) -> str | None:
    wanted = subject.proposal.phase
    if wanted is None:
        return None
    if subject.probe is None:
        return f"there is no report of a probe with SHA-256 {wanted.probe_sha256} here"
    if subject.probe.verdict != "passed":
        return f"the probe that it cites ended with {subject.probe.verdict}"
    if subject.probe.commit != subject.commit:
        return f"the probe was of commit {subject.probe.commit}, this is {subject.commit}"
    return None


RULES = (
    Rule("runs.cited", "It cites a run where its kind of change needs one", _runs_cited),
    Rule("runs.verified", "The evidence of every cited run verifies", _runs_verified),
    Rule("runs.author", "The cited runs are the author's own", _runs_own),
    Rule("runs.unchanged", "The cited evidence is that of the submission", _runs_unchanged),
    Rule("runs.metrics", "The measures told are those of the evidence", _metrics),
    Rule("runs.fit", "A cited run trained that model on that data", _runs_fit),
    Rule("runs.replay", "A window of a cited run, done again, gives the same bits", _replay),
    Rule("data.digests", "The proposed bytes are those that the service has", _data_digests),
    Rule("model.approved", "The model is an approved one", _model),
    Rule("policy", "The data policy has nothing against it", _policy),
    Rule("ethics.score", "The compliance score is high enough", _ethics_score),
    Rule("ethics.bias", "The bias assessment says something", _ethics_bias),
    Rule("ethics.harms", "No harm is left open", _ethics_harms),
    Rule("ethics.pii", "What it says of personal data fits the data", _ethics_pii),
    Rule("fresh", "It is not too old", _fresh),
    Rule("supersedes", "What it replaces is final", _supersedes),
    Rule("phase.probe", "A move of the phase cites a passing probe of this code", _probe),
)
"""Every rule, in the order in which they are applied."""


def _first(wrong: Iterable[str]) -> str | None:
    """Return the first of what is wrong, or None."""
    return next(iter(wrong), None)
