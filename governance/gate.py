"""The data gate: may this run train on these bytes?

A pure decision. Everything that it rests on is in the question: what the run asks for, what the
manifest says, the digests that were found on the disk, the policy, the report on personal data,
and the proposals that were accepted. Whoever places runs asks it before each placement, and once
when a run is submitted; `cluster/gatekeeper.py` does, and signs what comes out.

Each rule gives an outcome, and the strictest one is the verdict. A rule that wants a proposal is
content with a cited approval that covers it: the same data set with the same digests, the same
model, as many steps, the same device.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from evidence.verdict import CitedApproval, Outcome, RuleOutcome
from governance import licences
from governance.approvals import Approval
from governance.manifest import Dossier, PersonalData
from governance.pii.report import Report
from governance.policy import Policy

RULES: Final[Mapping[str, str]] = {
    "manifest": "the data set has an entry in the manifest, and the run describes it as there",
    "digests": "the bytes on the disk have the digests of the manifest",
    "approved": "somebody approved the data set with exactly these bytes",
    "dataset": "the policy allows the data set",
    "source": "the policy allows every source of it",
    "licence": "the policy allows its licence",
    "use": "it is meant for a use that the policy allows",
    "size": "it is not larger than the policy allows",
    "personal_data": "the policy allows what the manifest says of people in it",
    "pii": "a scan of exactly these bytes found no more personal data than the policy allows",
    "model": "the policy wants no proposal for the model, or one was accepted",
    "steps": "the policy wants no proposal for as many steps, or one was accepted",
    "device": "the policy wants no proposal for the device, or one was accepted",
}
"""Every rule by its stable name, in the order in which they are applied."""

_SEVERITY = (Outcome.ALLOW, Outcome.NEEDS_PROPOSAL, Outcome.DENY)


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that a decision rests on."""

    dataset: str
    """Name of the data set, as the run's config says."""
    model: str
    """Architecture."""
    model_digest: str
    """`approvals.digest_of_model` of that part of the config."""
    steps: int
    device: str
    """Where it is to be placed; `auto` when that is not known yet."""
    cited: str | None
    """The proposal that the run cites."""
    dossier: Dossier | None
    """What the manifest says; None where it has no entry."""
    described_otherwise: str | None
    """How the run's own description of the data set differs from the service's; None if it does
    not."""
    found: Mapping[str, str] | None
    """SHA-256 of each file as found on the disk; None if they are not here yet."""
    is_text: bool
    """Whether a scan for personal data applies."""
    report: Report | None
    """Of a scan; None where there is none."""
    policy: Policy
    approvals: tuple[Approval, ...]
    """Of accepted proposals, all that there are."""
    now: str
    """The moment, a timestamp."""
    is_final: bool
    """Whether the run is about to be placed: then its bytes have to be here, and scanned."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says."""

    outcome: Outcome
    rules: tuple[RuleOutcome, ...]
    approvals: tuple[CitedApproval, ...]
    """That let a rule pass."""

    @property
    def fired(self) -> tuple[RuleOutcome, ...]:
        """The rules in the way of the run."""
        return tuple(rule for rule in self.rules if rule.outcome is not Outcome.ALLOW)

    @property
    def summary(self) -> str:
        """What is in the way, in one sentence."""
        if not self.fired:
            return "every rule of the data gate lets it through"
        worst = [rule for rule in self.fired if rule.outcome is self.outcome]
        more = len(self.fired) - 1
        rest = f" (and {more} more)" if more else ""
        return f"rule {worst[0].rule}: {worst[0].detail}{rest}"


def decide(question: Question) -> Decision:
    """Apply every rule and return the strictest outcome, with all of them."""
    cited, why_none = _cited(question)
    rules, used = [], False
    for rule in _apply(question):
        judged = rule
        if rule.outcome is Outcome.NEEDS_PROPOSAL:
            judged, covered = _held_against(rule, question, cited, why_none)
            used = used or covered
        rules.append(judged)
    outcome = strictest(rules)
    approvals = (
        (CitedApproval(proposal_id=cited.proposal_id, record_digest=cited.record_digest),)
        if used and cited is not None
        else ()
    )
    return Decision(outcome, tuple(rules), approvals)


def about_data(question: Question) -> tuple[RuleOutcome, ...]:
    """Return what the rules about data say, whatever trains on it; no approval changes them."""
    return tuple(rule for rule in _apply(question) if rule.rule not in _ABOUT_RUNS)


def strictest(rules: Iterable[RuleOutcome]) -> Outcome:
    """Return the strictest outcome of some rules."""
    return max((rule.outcome for rule in rules), key=_SEVERITY.index)


_ABOUT_RUNS = frozenset({"model", "steps", "device"})


# -- the rules -------------------------------------------------------------------------------------


def _apply(question: Question) -> Iterator[RuleOutcome]:
    yield _manifest(question)
    if question.dossier is not None:
        yield _digests(question, question.dossier)
        yield _approved(question, question.dossier)
    yield _dataset(question)
    if question.dossier is not None:
        yield _source(question, question.dossier)
        yield _licence(question, question.dossier)
        yield _use(question, question.dossier)
        yield _size(question, question.dossier)
        yield _personal_data(question, question.dossier)
        yield _pii(question, question.dossier)
    yield from _run(question)


def _manifest(question: Question) -> RuleOutcome:
    if question.dossier is None:
        return _deny(
            "manifest",
            f"the manifest has no data set {question.dataset[:80]}",
            "zpctl data add takes data of your own in; zpctl datasets lists what is known",
        )
    if question.described_otherwise is not None:
        return _deny(
            "manifest",
            f"the run describes {question.dataset} otherwise: {question.described_otherwise}"[:900],
            "name the data set only; the service adds what it knows of it",
        )
    return _allow("manifest", f"{question.dataset}, version {question.dossier.entry.version}")


def _digests(question: Question, dossier: Dossier) -> RuleOutcome:
    found, expected = question.found, dossier.digests
    if found is None and not question.is_final:
        return _allow("digests", "not here yet; they are looked at before the run is placed")
    if found is None:
        return _deny("digests", "its files are not here", f"zpctl fetch {dossier.name}")
    wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if wrong:
        name = wrong[0]
        return _deny(
            "digests",
            f"{name[:200]}: expected SHA-256 {expected.get(name, 'none')}, "
            f"found {found.get(name, 'none')}",
            f"zpctl fetch {dossier.name} brings the bytes that were approved",
        )
    return _allow("digests", f"{len(found)} files have the digests of the manifest")


def _approved(question: Question, dossier: Dossier) -> RuleOutcome:
    approved = dossier.entry.approved
    if dossier.is_approved and approved is not None:
        return _allow("approved", f"by {approved.by} on {approved.at}")
    detail = (
        "nobody approved the data set yet"
        if approved is None
        else f"{approved.by} approved other bytes on {approved.at}"
    )
    cure = f"zpctl data approve {dossier.name}"
    return _as("approved", question.policy.rules.datasets.unapproved, detail, cure)


def _dataset(question: Question) -> RuleOutcome:
    rules, name = question.policy.rules, question.dataset
    if (pattern := _match(name, rules.datasets.denied)) is not None:
        return _deny("dataset", f"{name} matches {pattern} of datasets.denied", _EDIT)
    if _match(name, rules.datasets.allowed) is None:
        return _deny("dataset", f"{name} matches nothing of datasets.allowed", _EDIT)
    if (pattern := _match(name, rules.proposals.datasets)) is not None:
        return _needs("dataset", f"{name} matches {pattern} of proposals.datasets")
    return _allow("dataset", f"{name} is allowed")


def _source(question: Question, dossier: Dossier) -> RuleOutcome:
    rules = question.policy.rules.sources
    for source in dossier.entry.sources:
        if (pattern := _match(source, rules.denied)) is not None:
            return _deny("source", f"{source[:200]} matches {pattern} of sources.denied", _EDIT)
        if _match(source, rules.allowed) is None:
            return _deny("source", f"{source[:200]} matches nothing of sources.allowed", _EDIT)
    return _allow("source", ", ".join(dossier.entry.sources)[:500])


def _licence(question: Question, dossier: Dossier) -> RuleOutcome:
    rules, licence = question.policy.rules.licences, dossier.entry.licence
    standing, deciding = licences.standing(licence.data, allowed=rules.allowed, denied=rules.denied)
    said = f"{licence.data}: {licence.basis}"[:600]
    if standing == "allowed":
        return _allow("licence", said)
    if standing == "denied":
        return _deny("licence", f"{deciding} is among licences.denied ({said})", _EDIT)
    if standing == "unknown":
        what = f"{deciding} states no licence that SPDX knows ({said})"
        return _as("licence", rules.unknown, what, _EDIT)
    what = f"{deciding} is in neither list of licences ({said})"
    return _as("licence", rules.unlisted, what, _EDIT)


def _use(question: Question, dossier: Dossier) -> RuleOutcome:
    allowed, meant = question.policy.rules.uses.allowed, dossier.entry.uses
    if not set(allowed) & set(meant):
        return _deny(
            "use", f"it is meant for {', '.join(meant)}; allowed are {', '.join(allowed)}", _EDIT
        )
    return _allow("use", f"it is meant for {', '.join(meant)}")


def _size(question: Question, dossier: Dossier) -> RuleOutcome:
    most = question.policy.rules.datasets.most_bytes
    if dossier.bytes > most:
        return _deny("size", f"it has {dossier.bytes} bytes, more than most_bytes {most}", _EDIT)
    return _allow("size", f"{dossier.bytes} bytes")


def _personal_data(question: Question, dossier: Dossier) -> RuleOutcome:
    told = dossier.entry.personal_data
    rules = question.policy.rules.personal_data
    said = f"the manifest says {told.contained}: {told.statement}"[:900]
    match told.contained:
        case PersonalData.NONE:
            return _allow("personal_data", said)
        case PersonalData.CONTAINED:
            return _as("personal_data", rules.contained, said, _EDIT)
        case PersonalData.UNKNOWN:
            return _as("personal_data", rules.unknown, said, _EDIT)


def _pii(question: Question, dossier: Dossier) -> RuleOutcome:
    report, rules = question.report, question.policy.rules.pii
    if not question.is_text:
        return _allow("pii", "not a text: there is no scan for personal data in it")
    if report is None or report.digests != dossier.digests or not report.is_fresh:
        if not question.is_final:
            return _allow("pii", "not scanned yet; it is before the run is placed")
        why = "there is no scan" if report is None else "the scan is of other bytes or detectors"
        return _deny("pii", why, "the service scans a text before a run of it is placed")
    counts = report.counts(least_score=rules.least_score)
    over = [
        f"{counts[entity]} of {entity} (at most {most})"
        for entity, most in sorted(rules.most.items())
        if counts.get(entity, 0) > most
    ]
    if over:
        detail = f"the scan found {', '.join(over)}"[:900]
        return _as("pii", rules.over, detail, f"take them out; zpctl data show {dossier.name}")
    return _allow("pii", f"{sum(counts.values())} findings, none of them over its limit")


def _run(question: Question) -> Iterator[RuleOutcome]:
    """Yield the rules about what a run does, whatever its data."""
    wants = question.policy.rules.proposals
    by_pattern = (
        ("model", question.model, wants.models, "proposals.models"),
        ("device", question.device, wants.devices, "proposals.devices"),
    )
    for rule, value, patterns, name in by_pattern:
        pattern = _match(value, patterns)
        if pattern is not None:
            yield _needs(rule, f"{value} matches {pattern} of {name}")
        else:
            yield _allow(rule, f"{value} needs no proposal")
    most = wants.above_steps
    if most is not None and question.steps > most:
        yield _needs("steps", f"{question.steps} steps are above proposals.above_steps {most}")
    else:
        yield _allow("steps", f"{question.steps} steps need no proposal")


# -- approvals -------------------------------------------------------------------------------------


def _cited(question: Question) -> tuple[Approval | None, str]:
    """Return the approval that the run cites, if it holds now; else why there is none."""
    if question.cited is None:
        return None, "the run cites no proposal"
    of_it = [one for one in question.approvals if one.proposal_id == question.cited]
    if not of_it:
        return None, f"no proposal {question.cited} was accepted"
    current = [one for one in of_it if one.is_current(question.now)]
    if not current:
        return None, f"the approval of {question.cited} holds until {of_it[-1].expires_at}"
    return current[-1], ""


def _held_against(
    rule: RuleOutcome, question: Question, cited: Approval | None, why_none: str
) -> tuple[RuleOutcome, bool]:
    """Return a rule that wants a proposal with what the cited one makes of it."""
    gap = why_none if cited is None else _gap(rule.rule, question, cited)
    if gap:
        cure = "have a proposal for it accepted, and cite its id in the run's field `approval`"
        return _needs(rule.rule, f"{rule.detail}; {gap}"[:1000], cure), False
    assert cited is not None, "else there is a gap"
    return _allow(rule.rule, f"{rule.detail}; approved by {cited.proposal_id}"[:1000]), True


def _gap(rule: str, question: Question, approval: Approval) -> str:
    """Return what an approval lacks to cover a rule; empty if it covers it."""
    name = approval.proposal_id
    match rule:
        case "model":
            same = (approval.model, approval.model_digest)
            covers = same == (question.model, question.model_digest)
            return "" if covers else f"{name} approved another model, or none"
        case "steps":
            most = approval.most_steps
            covers = most is not None and question.steps <= most
            return "" if covers else f"{name} approved {most or 'no number of'} steps"
        case "device":
            covers = approval.device == question.device
            return "" if covers else f"{name} approved the device {approval.device or 'none'}"
        case _:
            expected = question.dossier.digests if question.dossier else {}
            now = question.found if question.found is not None else expected
            same_bytes = approval.dataset_digests == dict(now)
            covers = approval.dataset == question.dataset and same_bytes
            return "" if covers else f"{name} approved other data, or other bytes of it"


_EDIT = "use other data, or have whoever owns the policy change it"


def _match(value: str, patterns: tuple[str, ...]) -> str | None:
    return next((pattern for pattern in patterns if fnmatchcase(value, pattern)), None)


def _allow(rule: str, detail: str) -> RuleOutcome:
    return RuleOutcome(rule=rule, outcome=Outcome.ALLOW, detail=detail[:1000])


def _needs(rule: str, detail: str, cure: str | None = None) -> RuleOutcome:
    return RuleOutcome(rule=rule, outcome=Outcome.NEEDS_PROPOSAL, detail=detail[:1000], cure=cure)


def _deny(rule: str, detail: str, cure: str) -> RuleOutcome:
    return RuleOutcome(rule=rule, outcome=Outcome.DENY, detail=detail[:1000], cure=cure)


def _as(rule: str, outcome: Outcome, detail: str, cure: str) -> RuleOutcome:
    """Return a rule with the outcome that the policy gives to what it found."""
    return RuleOutcome(
        rule=rule,
        outcome=outcome,
        detail=detail[:1000],
        cure=None if outcome is Outcome.ALLOW else cure,
    )
