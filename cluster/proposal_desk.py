"""Proposals as the manager takes them in: drafts completed from runs, votes recorded, all told.

What a draft leaves to the service is filled in here: digests of data and model, and the measures of
the runs that are cited. The rules are `governance.proposals`; the records are signed and logged.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from cluster.audit import AuditJournal, Who
from cluster.notary import Notary
from cluster.pulse import Pulse
from cluster.registry import Registry
from cluster.run_folder import RunFolder
from cluster.settings import Settings
from evidence import digest
from evidence.clock import Clock, timestamp
from evidence.errors import ConfigError, Conflict, InvalidInput
from evidence.keyring import read_history
from evidence.records import RunState
from governance.accounts import Caller
from governance.approvals import Approval, digest_of_model
from governance.proposals import book as books
from governance.proposals import record as records
from governance.proposals.backups import Keeping
from governance.proposals.book import Book, Case
from governance.proposals.consensus import State
from governance.proposals.queue import Queue
from governance.proposals.record import Signed
from governance.proposals.schema import (
    CitedRun,
    Draft,
    DraftTraining,
    Proposal,
    Side,
    Training,
    Verdict,
    Vote,
)
from governance.proposals.ulid import new_id
from trainers import config as configs
from trainers.config import MIN_CHECKPOINTS
from trainers.data import catalog

KIND = "proposal"
"""`kind` of the journal's lines about proposals; the name of their events in a stream."""


class ProposalDesk:
    """The proposals of a service.

    Args:
        settings: Where the queue is, how it is kept, how long an approval holds.
        notary: Signs and logs.
        registry: The runs that proposals cite.
        journal: The service journal.
        pulse: Fired when the journal has something new.
        clock: The present.

    Raises:
        IntegrityError: The queue is damaged beyond what copies and log can restore.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        notary: Notary,
        registry: Registry,
        journal: AuditJournal,
        pulse: Pulse,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._journal = journal
        self._pulse = pulse
        self._clock = clock
        self._queue = Queue(
            settings.home / "proposals",
            keys=read_history(notary.keyring.history),
            logged=notary.entries(records.is_one),
            sign=notary.sign,
            enter=notary.enter,
            keeping=Keeping(
                rotate_bytes=settings.proposal_file_bytes,
                backups=settings.proposal_backups,
                backup_every_s=settings.proposal_backup_every_s,
                backup_max_age_s=settings.proposal_backup_max_age_s,
            ),
            clock=clock,
        )
        self._book = Book(self._queue.records)
        self._taken = len(self._queue.records)
        if self._queue.recovered is not None:
            told = self._queue.recovered.as_json()
            journal.append("proposals.recovered", who="service", **told)

    # -- changes -------------------------------------------------------------------------------

    def submit(self, draft: Draft, *, who: Caller, idempotency_key: str | None) -> dict[str, Any]:
        """Take in a proposal and return its view.

        Raises:
            ConfigError: Model, steps, data set or device are none that can be trained.
            NotFound: A run, or the proposal that it supersedes, is not there.
            Conflict: A cited run has not succeeded, the one to supersede is open, the key was used
                for another draft, or it would move the phase (nothing here verifies a probe).
            TooLarge: It is over the limit of a record.
            StorageFull: The disk took no more.
        """
        key_sha256 = books.key_digest(idempotency_key)
        earlier = self._book.of_key(key_sha256)
        if earlier is not None:
            self._require_same(earlier.proposal, draft, who)
            return self.view(earlier.proposal.proposal_id)
        _refuse_phase(draft)
        self._book.require_supersedable(draft.supersedes)
        proposal = self._completed(draft, who, key_sha256)
        case = self._record(proposal, who=who, previous=None)
        return self._view(case)

    def vote(
        self, proposal_id: str, side: str, verdict: str, reasons: Sequence[str], *, who: Caller
    ) -> dict[str, Any]:
        """Record the vote of an account and return the proposal's view.

        Raises:
            NotFound: There is no such proposal.
            Forbidden: This account may not cast this vote.
            Conflict: The proposal's state does not allow it.
            StorageFull: The disk took no more.
        """
        voting = Side(side)
        books.require_voter(who, self._book.case(proposal_id).proposal, voting)
        return self.record_vote(
            proposal_id, voting, Verdict(verdict), tuple(reasons), by=who.name, who=who
        )

    def record_vote(
        self,
        proposal_id: str,
        side: Side,
        verdict: Verdict,
        reasons: tuple[str, ...],
        *,
        by: str,
        who: Who,
    ) -> dict[str, Any]:
        """Record a vote by whoever may cast it; see `vote`."""
        vote = self._book.vote(
            proposal_id, side, verdict, by=by, reasons=reasons, now=self._clock()
        )
        previous = self._book.case(proposal_id).state
        phase = self._book.phase
        case = self._record(vote, who=who, previous=previous)
        if self._book.phase != phase:
            self._journal.append(
                "phase.moved", who=who, proposal_id=proposal_id, phase=self._book.phase,
                before=_phase_digest(phase or self._settings.phase),
                after=_phase_digest(self.phase),
            )  # fmt: skip
        return self._view(case)

    def _record(self, body: records.Body, *, who: Who, previous: State | None) -> Case:
        """Sign, write and log a record, take it in, and tell it."""
        try:
            signed = self._queue.append(body)
        finally:  # a record that is written and not logged is there; only nobody was told so
            for record in self._queue.records[self._taken :]:
                self._book.take(record)
            self._taken = len(self._queue.records)
        case = self._book.case(body.proposal_id)
        is_vote = isinstance(body, Vote)
        voted = {"side": body.side, "verdict": body.verdict} if isinstance(body, Vote) else {}
        self._journal.append(
            "proposal.voted" if is_vote else "proposal.submitted",
            who=who,
            kind=KIND,
            proposal_id=body.proposal_id,
            state=case.state,
            previous=previous,
            record=signed.number,
            before=None if previous is None else _state_digest(body.proposal_id, previous),
            after=_state_digest(body.proposal_id, case.state),
            **voted,
        )
        self._pulse.fire()
        return case

    # -- completing a draft --------------------------------------------------------------------

    def _completed(self, draft: Draft, who: Caller, key_sha256: str | None) -> Proposal:
        cited = dict.fromkeys([*filter(None, [draft.from_run]), *draft.runs])
        now = self._clock()
        return Proposal(
            proposal_id=new_id(now, randbits=secrets.randbits),
            created=timestamp(now),
            author=who.name,
            title=draft.title,
            summary=draft.summary,
            change_type=draft.change_type,
            training=self._training(draft),
            runs=tuple(self._cited(run_id) for run_id in cited),
            ethics=draft.ethics,
            phase=draft.phase,
            supersedes=draft.supersedes,
            idempotency_key_sha256=key_sha256,
        )

    def _training(self, draft: Draft) -> Training:
        if draft.training is None:
            assert draft.from_run is not None, "a draft has one of the two"
            config = self._finished(draft.from_run).config
            return self._bound(
                DraftTraining(
                    model=config.model.model_dump(mode="json"),
                    steps=config.steps,
                    dataset=config.dataset,
                    device=None if config.device == "auto" else config.device,
                )
            )
        return self._bound(draft.training)

    def _bound(self, wanted: DraftTraining) -> Training:
        """Return what is to be trained, bound to the digests of data and model."""
        model = {"architecture": wanted.model} if isinstance(wanted.model, str) else wanted.model
        try:
            config = configs.parse(
                {
                    "dataset": wanted.dataset,
                    "model": model,
                    "steps": max(wanted.steps, MIN_CHECKPOINTS),
                    "device": wanted.device or "auto",
                }
            )
        except ConfigError as error:
            error.field = f"training.{error.field}" if error.field else "training"
            raise
        approved = self._settings.limits.architectures
        if config.model.architecture not in approved:
            raise InvalidInput(
                f"training.model: expected one of {', '.join(approved)}, "
                f"found {config.model.architecture}",
                field="training.model",
            )
        files = catalog.entry(config.dataset).files
        return Training(
            model=config.model.architecture,
            model_digest=digest_of_model(config.model.model_dump(mode="json")),
            steps=wanted.steps,
            dataset=config.dataset,
            dataset_digests={name: file.sha256 for name, file in files.items()},
            device=wanted.device,
        )

    def _finished(self, run_id: str) -> RunFolder:
        folder = self._registry.folder(run_id)
        if folder.summary.state is not RunState.SUCCEEDED or not folder.is_sealed:
            raise Conflict(
                f"run {run_id} is {folder.summary.state}; only a run that has succeeded and is "
                "sealed can be cited",
                field="runs",
                expected="succeeded",
                found=folder.summary.state,
            )
        return folder

    def _cited(self, run_id: str) -> CitedRun:
        folder = self._finished(run_id)
        test: Mapping[str, Any] = folder.summary.last_metrics.get("test", {})
        return CitedRun(
            run_id=run_id,
            author=self._registry.author_of(run_id),
            manifest_sha256=digest.of_file(folder.paths.manifest),
            dataset=folder.config.dataset,
            model=folder.config.model.architecture,
            step=folder.summary.step,
            test_loss=test.get("loss"),
            test_accuracy=test.get("accuracy"),
        )

    def _require_same(self, earlier: Proposal, draft: Draft, who: Caller) -> None:
        same = ("title", "summary", "change_type", "ethics", "phase", "supersedes")
        differs = [name for name in same if getattr(earlier, name) != getattr(draft, name)]
        if earlier.author != who.name:
            differs.append("author")
        if draft.training is not None and self._bound(draft.training) != earlier.training:
            differs.append("training")
        if differs:
            raise Conflict(
                f"the Idempotency-Key was used for {earlier.proposal_id} with another "
                f"{', '.join(differs)}",
                field="Idempotency-Key",
            )

    # -- readers -------------------------------------------------------------------------------

    def proposal(self, proposal_id: str) -> Proposal:
        """Return a proposal as it was taken in.

        Raises:
            NotFound: There is none of that id.
        """
        return self._book.case(proposal_id).proposal

    def view(self, proposal_id: str) -> dict[str, Any]:
        """Return what the API shows of a proposal.

        Raises:
            NotFound: There is none of that id.
        """
        return self._view(self._book.case(proposal_id))

    def page(self, wanted: dict[str, str | None], *, offset: int, limit: int) -> dict[str, Any]:
        """Return one page of proposals, newest first, by state, author and so on."""
        cases, total = self._book.page(wanted=wanted, offset=offset, limit=limit)
        return {"proposals": [self._view(case) for case in cases], "total": total}

    def stats(self) -> dict[str, Any]:
        """Return counts, and what the last recovery found."""
        return {
            **self._book.stats(),
            "phase": self.phase,
            "records": len(self._queue.records),
            "recovery": self._queue.last_recovery(),
        }

    def approvals(self) -> tuple[Approval, ...]:
        """Return what accepted proposals allow; those that expired too, which say when."""
        return tuple(self._book.approvals(valid=self._valid))

    @property
    def phase(self) -> str:
        """The service's phase: that of the setting, until an accepted proposal moved it."""
        return self._book.phase or self._settings.phase

    @property
    def _valid(self) -> timedelta:
        return timedelta(days=self._settings.approval_days)

    def _view(self, case: Case) -> dict[str, Any]:
        proposal = case.proposal
        body = proposal.model_dump(mode="json", exclude={"v", "idempotency_key_sha256"})
        last = {side: case.last_of(side) for side in Side}
        counted = {side: last[side] if side in case.votes else None for side in Side}
        is_accepted = case.state is State.ACCEPTED
        approval = books.approval_of(case, valid=self._valid) if is_accepted else None
        return {
            **body,
            "state": case.state,
            "votes": {
                side.value: None if record is None else self._vote_view(record)
                for side, record in counted.items()
            },
            "history": [self._vote_view(record) for record in case.history],
            "superseded_by": case.superseded_by,
            "approval": None if approval is None else approval.model_dump(mode="json"),
            "record": self._record_view(case.record),
            "links": {
                "self": f"/api/proposals/{proposal.proposal_id}",
                "events": "/api/events/proposals",
            },
        }

    def _vote_view(self, record: Signed) -> dict[str, Any]:
        assert isinstance(record.body, Vote), "history holds votes"
        fields = {"side", "verdict", "reasons", "by", "at"}
        vote = record.body.model_dump(mode="json", include=fields)
        return {**vote, "record": self._record_view(record)}

    def _record_view(self, record: Signed) -> dict[str, Any]:
        return {
            "number": record.number,
            "sha256": record.sha256,
            "log_index": self._queue.place_of(record),
        }


def _refuse_phase(draft: Draft) -> None:
    """Raise if a draft would move the phase: that takes a reviewer that verifies the probe."""
    if draft.phase is not None:
        raise Conflict(
            "phase: nothing here verifies the probe that a move of the phase cites",
            field="phase",
            cure="leave phase out",
        )


def _state_digest(proposal_id: str, state: State) -> str:
    return digest.of_record({"proposal_id": proposal_id, "state": state.value})


def _phase_digest(phase: str) -> str:
    return digest.of_record({"phase": phase})
