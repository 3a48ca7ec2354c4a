"""The built-in reviewer at work: gathers what the rules look at, asks a model, records the vote.

1  every cited pack is verified, in a thread          governance.review.facts
2  a window of the first cited run is done again      handed in: an audit of this service
3  the data policy is asked                           handed in
4  the rules                                          governance.review.rules
5  a language model, where one is configured          governance.review.assessment
6  the vote, signed and logged                        cluster.proposal_desk
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.notary import Notary
from cluster.proposal_desk import ProposalDesk
from cluster.registry import Registry
from cluster.settings import Settings
from evidence import canonical, digest
from evidence.clock import Clock
from evidence.errors import Conflict, ServiceError, Unavailable
from evidence.keyring import read_history
from evidence.log.note import Verifier
from governance.accounts import Caller
from governance.proposals.book import REVIEWER
from governance.proposals.schema import Proposal, Side, Verdict
from governance.review import assessment, facts, rules
from governance.review.assessment import Ask
from governance.review.facts import ProbeFacts, ReplayFacts, RunFacts, Subject
from governance.review.rules import Checked
from governance.review.verdict import Review, conclude

Replay = Callable[[str], Awaitable[ReplayFacts]]
"""Does a window of a run again."""

MOST_REVIEWS = 4
"""Most reviews at once."""


@dataclass(frozen=True, slots=True)
class PolicyWord:
    """What the data policy says of a proposal."""

    denials: tuple[str, ...]
    """What it has against it, whatever is approved."""
    holds_personal_data: bool


Policy = Callable[[Proposal], Awaitable[PolicyWord]]

Digests = Callable[[str], dict[str, str] | None]
"""Returns the SHA-256 of each file of a data set as the service has it; None where it has none."""


class Reviewer:
    """The reviewer that is built in.

    Args:
        settings: What is approved, and where the model is.
        desk: The proposals.
        registry: The runs.
        notary: Whose keys and log evidence must be of.
        replay: Does a window of a run again.
        policy: Asks the data policy.
        digests: Tells the bytes of a data set.
        commit: Of the code that runs; None if it cannot be known.
        ask: Asks a language model; None where none is configured.
        clock: The present.
    """

    def __init__(  # noqa: PLR0913 - what it looks at is handed in
        self,
        settings: Settings,
        *,
        desk: ProposalDesk,
        registry: Registry,
        notary: Notary,
        replay: Replay,
        policy: Policy,
        digests: Digests,
        commit: str | None,
        ask: Ask | None,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._registry = registry
        self._notary = notary
        self._replay = replay
        self._policy = policy
        self._digests = digests
        self._commit = commit
        self._ask = ask
        self._clock = clock
        self._under_way: set[str] = set()

    async def validate(self, proposal_id: str, *, who: Caller) -> dict[str, Any]:
        """Review a proposal, record the AI vote, and return the proposal's view.

        Raises:
            NotFound: There is no such proposal.
            Conflict: Its state takes no AI vote, or it is being reviewed.
            Unavailable: A rule cannot be told, or the model does not answer: no vote is cast.
        """
        proposal = self._desk.proposal(proposal_id)
        self._desk.require_open(proposal_id, Side.AI)
        if proposal_id in self._under_way or len(self._under_way) >= MOST_REVIEWS:
            raise Conflict("it is being reviewed, or too many others are", field="proposal_id")
        self._under_way.add(proposal_id)
        try:
            review = await self._review(proposal)
        finally:
            self._under_way.discard(proposal_id)
        if review.verdict is None:
            raise Unavailable(
                f"the reviewer cannot tell: {'; '.join(review.unknown)}"[:500],
                cure="see to what is missing, and ask again",
            )
        return self._desk.record_vote(
            proposal_id, Side.AI, review.verdict, review.reasons, by=REVIEWER, who=who
        )

    async def _review(self, proposal: Proposal) -> Review:
        checked = rules.check(await self._subject(proposal))
        failed = any(one.verdict is Verdict.FAIL for one in checked)
        model = None
        if self._ask is not None and not failed:  # a model cannot make a failed rule good
            model = await asyncio.to_thread(self._assess, proposal, checked, self._ask)
        return conclude(checked, model)

    def _assess(self, proposal: Proposal, checked: tuple[Checked, ...], ask: Ask) -> Checked:
        name = self._settings.reviewer_model
        return assessment.judge(ask(assessment.request(proposal, checked, model=name)), model=name)

    async def _subject(self, proposal: Proposal) -> Subject:
        runs = [await self._run(one.run_id) for one in proposal.runs]
        good = [one for one in runs if one.flaw is None]
        replays = [await self._replay(good[0].run_id)] if good and len(good) == len(runs) else []
        said, silent = PolicyWord((), holds_personal_data=False), None
        try:
            said = await self._policy(proposal)
        except ServiceError as error:
            silent = error.detail[:300]
        return Subject(
            proposal=proposal,
            runs=tuple(runs),
            replays=tuple(replays),
            denials=said.denials,
            policy_silent=silent,
            known_digests=self._digests(proposal.training.dataset),
            holds_personal_data=said.holds_personal_data,
            architectures=self._settings.limits.architectures,
            superseded=self._superseded(proposal),
            probe=await asyncio.to_thread(self._probe, proposal),
            commit=self._commit,
            now=self._clock(),
            valid_days=self._settings.approval_days,
        )

    async def _run(self, run_id: str) -> RunFacts:
        try:
            folder = self._registry.folder(run_id)
        except ServiceError as error:
            return RunFacts(run_id, None, error.detail[:300], None)
        return await asyncio.to_thread(
            facts.read_run,
            folder.paths.root,
            run_id=run_id,
            author=self._registry.author_of(run_id),
            key=read_history(self._notary.keyring.history)[0],
            log=Verifier.parse(self._notary.log),
        )

    def _superseded(self, proposal: Proposal) -> str | None:
        if proposal.supersedes is None:
            return None
        return str(self._desk.view(proposal.supersedes)["state"])

    def _probe(self, proposal: Proposal) -> ProbeFacts | None:
        """Return what the report of a probe says that the proposal names by its digest."""
        if proposal.phase is None:
            return None
        reports = sorted((self._settings.evidence_root / "phase1" / "verify").glob("*/report.json"))
        for path in reports:
            found = _probe_in(path, proposal.phase.probe_sha256)
            if found is not None:
                return found
        return None


def _probe_in(path: Path, sha256: str) -> ProbeFacts | None:
    data = path.read_bytes()
    if digest.of_bytes(data) != sha256:
        return None
    report = canonical.decode_object(data)
    return ProbeFacts(str(report["verdict"]), report["facts"]["service_commit"])
