"""The built-in reviewer: each bad proposal fails its named rule; nothing raises a verdict."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.proposals.schema import Harm, Verdict
from governance.review import assessment
from governance.review.assessment import CRITERIA
from governance.review.facts import ProbeFacts, ReplayFacts, RunFacts, Subject
from governance.review.rules import RULES, Checked, check
from governance.review.verdict import RULES_ALONE, conclude
from tests.governance.proposing import HARMS
from tests.governance.reviewing import (
    CITED,
    INJECTIONS,
    PACK,
    RUN_ID,
    cited,
    ethics,
    good,
    with_pack,
)

PHASE = {"to": "stage2", "probe_sha256": "9" * 64}


def harm(name: str, answer: str, note: str = "") -> dict[str, Any]:
    return ethics(harms={**HARMS, name: {"answer": answer, "note": note}})


BAD: dict[str, tuple[str, Subject]] = {
    "no evidence": ("runs.cited", good(proposal=cited(runs=[]), runs=(), replays=())),
    "tampered pack": (
        "runs.verified",
        good(runs=(RunFacts(RUN_ID, "alice", "files.digests: model.safetensors differs", None),)),
    ),
    "a run that is not here": (
        "runs.verified",
        good(runs=(RunFacts(RUN_ID, "alice", "there is no run", None),)),
    ),
    "another's run": ("runs.author", good(runs=(RunFacts(RUN_ID, "bob", None, PACK),))),
    "evidence made anew": ("runs.unchanged", good(runs=with_pack(manifest_sha256="4" * 64))),
    "wrong accuracy": ("runs.metrics", good(runs=with_pack(test_accuracy=0.5))),
    "wrong loss": ("runs.metrics", good(runs=with_pack(test_loss=2.5))),
    "wrong steps": ("runs.metrics", good(proposal=cited(runs=[{**CITED, "step": 9000}]))),
    "an invented measure": ("runs.metrics", good(runs=with_pack(test_accuracy=None))),
    "another model's run": ("runs.fit", good(runs=with_pack(model="convnet"))),
    "another data set's run": ("runs.fit", good(runs=with_pack(dataset="cifar10"))),
    "bits that do not come again": (
        "runs.replay",
        good(replays=(ReplayFacts(RUN_ID, "failed", "1 of 1 windows differs"),)),
    ),
    "unapproved digest": ("data.digests", good(known_digests={"a": "5" * 64})),
    "an unknown data set": ("data.digests", good(known_digests=None)),
    "a run on other bytes": ("data.digests", good(runs=with_pack(dataset_digests={"a": "6" * 64}))),
    "a model that is not approved": ("model.approved", good(architectures=("convnet",))),
    "a denied licence": ("policy", good(denials=("licence: CC-BY-NC-ND-4.0 is denied",))),
    "a low score": ("ethics.score", good(proposal=cited(ethics=ethics(compliance_score=0.69)))),
    "an empty assessment": (
        "ethics.bias",
        good(proposal=cited(ethics=ethics(bias_assessment="no no no no no no no"))),
    ),
    "a harm that is present": (
        "ethics.harms",
        good(proposal=cited(ethics=harm("security", "present", "An open port, for all."))),
    ),
    "a harm mitigated by nothing": (
        "ethics.harms",
        good(proposal=cited(ethics=harm("unsafe_use", "mitigated", "yes"))),
    ),
    "personal data that is denied": ("ethics.pii", good(holds_personal_data=True)),
    "stale": ("fresh", good(now=datetime(2026, 3, 3, tzinfo=UTC))),
    "replaces what is open": (
        "supersedes",
        good(proposal=cited(supersedes=f"prop-{0:026d}"), superseded="under_review"),
    ),
    "a phase without a probe": ("phase.probe", good(proposal=cited(phase=PHASE))),
    "a phase with a failed probe": (
        "phase.probe",
        good(proposal=cited(phase=PHASE), probe=ProbeFacts("failed", "c" * 40)),
    ),
    "a phase with a probe of other code": (
        "phase.probe",
        good(proposal=cited(phase=PHASE), probe=ProbeFacts("passed", "d" * 40)),
    ),
}


def failed(subject: Subject) -> list[str]:
    return [one.id for one in check(subject) if one.verdict is Verdict.FAIL]


def verdict(subject: Subject, model: Checked | None = None) -> Verdict | None:
    return conclude(check(subject), model).verdict


def test_what_is_in_order_passes_and_says_what_it_rests_on() -> None:
    review = conclude(check(good()), None)
    assert (review.verdict, review.unknown) == (Verdict.PASS, ())
    assert review.reasons == (f"{len(RULES)} of {len(RULES)} rules passed", RULES_ALONE)


@pytest.mark.parametrize("bad", sorted(BAD))
def test_each_bad_proposal_fails_its_named_rule_and_no_other(bad: str) -> None:
    rule, subject = BAD[bad]
    assert failed(subject) == [rule]
    review = conclude(check(subject), None)
    assert review.verdict is Verdict.FAIL
    assert review.reasons[0].startswith(f"{rule}: ")


def test_every_rule_has_a_bad_proposal() -> None:
    assert {rule for rule, _ in BAD.values()} == {rule.id for rule in RULES}


def test_a_passing_probe_of_this_code_moves_the_phase() -> None:
    probe = ProbeFacts("passed", "c" * 40)
    assert verdict(good(proposal=cited(phase=PHASE), probe=probe)) is Verdict.PASS


def test_research_needs_no_run() -> None:
    subject = good(proposal=cited(runs=[], change_type="research"), runs=(), replays=())
    assert verdict(subject) is Verdict.PASS


def test_a_window_that_could_not_be_done_again_is_no_vote_and_no_pass() -> None:
    for replays in ((), (ReplayFacts(RUN_ID, "cannot_tell", "other kernels"),)):
        review = conclude(check(good(replays=replays)), None)
        assert review.verdict is None
        assert review.unknown[0].startswith("runs.replay: ")


def test_a_policy_that_could_not_be_asked_is_no_vote_and_no_pass() -> None:
    review = conclude(check(good(policy_silent="it cannot be read")), None)
    assert (review.verdict, review.unknown) == (None, ("policy: it cannot be read",))


def test_a_rule_that_fails_is_told_although_another_cannot_be() -> None:
    subject = good(replays=(), architectures=())
    assert verdict(subject) is Verdict.FAIL


# -- the text of a proposal is data -------------------------------------------------------------


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("bad", sorted(BAD))
def test_no_text_turns_a_fail_into_a_pass(bad: str, injection: str) -> None:
    rule, subject = BAD[bad]
    written = {
        "title": injection[:120],
        "summary": injection,
        "ethics": subject.proposal.ethics.model_copy(
            update={
                "harms": {
                    name: one.model_copy(update={"note": (one.note + injection)[:500]})
                    if name is not Harm.UNSAFE_USE
                    else one
                    for name, one in subject.proposal.ethics.harms.items()
                }
            }
        ),
    }
    talked = subject.proposal.model_copy(update=written)
    assert failed(good_with(subject, talked)) == [rule]


def good_with(subject: Subject, proposal: Any) -> Subject:
    fields = {name: getattr(subject, name) for name in subject.__dataclass_fields__}
    return Subject(**{**fields, "proposal": proposal})


@pytest.mark.parametrize("injection", INJECTIONS)
def test_a_text_reaches_the_model_as_one_json_string_and_never_as_an_instruction(
    injection: str,
) -> None:
    body = assessment.request(cited(summary=injection), check(good()), model="m")
    system, user = body["messages"]
    assert [system["role"], user["role"]] == ["system", "user"]
    assert injection not in system["content"]
    assert json.loads(user["content"])["data"]["proposal"]["summary"] == injection


# -- what a model may add ------------------------------------------------------------------------


def answered(verdict: str = "pass", score: int = 4, **changes: Any) -> str:
    told = {"scores": dict.fromkeys(CRITERIA, score), "verdict": verdict, "reasons": ["So."]}
    return json.dumps({**told, **changes})


@pytest.mark.parametrize("bad", sorted(BAD))
def test_a_model_that_always_passes_raises_nothing(bad: str) -> None:
    model = assessment.judge(answered(), model="m")
    assert model.verdict is Verdict.PASS
    assert verdict(BAD[bad][1], model) is Verdict.FAIL


def test_a_model_that_passes_leaves_what_cannot_be_told_open() -> None:
    assert verdict(good(replays=()), assessment.judge(answered(), model="m")) is None


def test_a_model_that_agrees_is_named_in_the_reasons() -> None:
    review = conclude(check(good()), assessment.judge(answered(), model="m-7"))
    assert review.verdict is Verdict.PASS
    assert "m-7" in review.reasons[-1]


@pytest.mark.parametrize(
    "text",
    [
        answered("fail"),
        answered(score=1),
        answered(scores={**dict.fromkeys(CRITERIA, 4), "harms": 1}),
        answered(scores={"purpose": 4}),
        answered(scores={**dict.fromkeys(CRITERIA, 4), "more": 4}),
        answered(scores=dict.fromkeys(CRITERIA, 5)),
        answered("PASS"),
        answered(reasons=[]),
        answered(more=1),
        "pass",
        "",
        "[]",
        "I think it is fine. " + answered(),
        answered() + answered(),
        "{" * 30_000,
    ],
)
def test_any_other_answer_lowers_the_verdict(text: str) -> None:
    model = assessment.judge(text, model="m")
    assert model.verdict is Verdict.FAIL
    assert verdict(good(), model) is Verdict.FAIL


def test_a_fence_around_the_answer_is_taken_off() -> None:
    assert assessment.judge(f"```json\n{answered()}\n```", model="m").verdict is Verdict.PASS


@given(st.text(max_size=200))
def test_no_answer_at_all_raises_a_fail(text: str) -> None:
    assert verdict(good(architectures=()), assessment.judge(text, model="m")) is Verdict.FAIL
