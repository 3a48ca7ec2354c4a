"""Asks the data gate, with everything that it must know, and signs what it says.

The gate itself is pure and knows nothing of a cluster (`governance/gate.py`). A run comes here when
it is submitted or resumed, where a refusal is the answer, and again before every placement, with
the bytes that are on the disk by then. A placement waits until data is here and scanned.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from cluster.audit import AuditJournal, Who
from cluster.datasets import DatasetShelf
from cluster.library import Spec
from cluster.notary import Notary
from cluster.run_folder import RunFolder
from cluster.scans import ScanDesk
from cluster.settings import Settings
from evidence import canonical, digest
from evidence.clock import Clock, timestamp
from evidence.errors import ApprovalNeeded, PolicyDenied, PolicyUnreadable, ServiceError
from evidence.subject import first_difference
from evidence.verdict import Outcome, Verdict, verdict_statement
from governance import gate
from governance import policy as policies
from governance.approvals import Approval, digest_of_model
from governance.gate import Decision, Question
from governance.manifest import Dossier, Entry
from governance.policy import Policy
from trainers.config import RunConfig

VERDICT: Final = "gate.verdict"
"""Action of a line of the service journal that tells a verdict."""

POLICY: Final = "policy.changed"
"""Action of a line of the service journal that tells that another policy is in force."""

Approvals = Callable[[], Iterable[Approval]]
"""Returns the approvals of all accepted proposals."""


@dataclass(frozen=True, slots=True)
class Unready:
    """A run cannot be decided on yet."""

    reason: str


class Gatekeeper:
    """The one who asks the gate.

    Args:
        settings: Where the policy is.
        shelf: The data sets.
        notary: Signs and logs verdicts.
        journal: The service journal.
        clock: Where timestamps come from.
        ready: Called when what a run waited for has happened.
    """

    def __init__(
        self,
        settings: Settings,
        shelf: DatasetShelf,
        notary: Notary,
        journal: AuditJournal,
        *,
        clock: Clock,
        ready: Callable[[], None],
    ) -> None:
        self._path = settings.policy or policies.SHIPPED
        self.shelf = shelf
        self.approvals: Approvals = tuple
        """Of all accepted proposals; whoever keeps proposals sets it."""
        self._notary = notary
        self._journal = journal
        self._clock = clock
        self._ready = ready
        self._scans = ScanDesk(settings.home, journal=journal, clock=clock)
        self._told_policy = _last_policy(journal)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    # -- the door ------------------------------------------------------------------------------

    async def at_the_door(self, config: RunConfig, *, who: Who) -> None:
        """Let a run in, as far as can be said before it has a place; a refusal is signed.

        Raises:
            PolicyDenied: A rule denies it; each rule that fired has its cure.
            ApprovalNeeded: A rule wants a proposal that it does not cite.
            PolicyUnreadable: There is no policy to go by.
        """
        decision, verdict = await self._decide(config, device=config.device)
        if decision.outcome is Outcome.ALLOW:
            return
        envelope = self._notary.sign(verdict_statement(verdict))
        (place,) = self._notary.enter([envelope])
        self._tell(verdict, who=who, place=place)
        raise refusal(decision)

    # -- before a placement --------------------------------------------------------------------

    async def before_placement(
        self, folder: RunFolder, *, device: str
    ) -> tuple[Decision, Verdict] | Unready:
        """Return what the gate says of a run that has a place, or what it waits for.

        Raises:
            ServiceError: The data cannot be had.
            PolicyUnreadable: There is no policy to go by.
        """
        name = folder.config.dataset
        task = self._under_way.get(name)
        if task is not None and task.done():
            del self._under_way[name]
            task.result()  # raises what kept the data from being had
        state = await self.shelf.state(name)
        if state not in ("ready", "damaged"):  # the gate itself refuses damaged data
            return self._wait(name, self.shelf.require(name), "its data set is being fetched")
        if state == "ready" and self._lacks_scan(folder.config):
            scanning = self._scan(name)
            return self._wait(name, scanning, "its text is being scanned for personal data")
        return await self._decide(folder.config, device=device, folder=folder)

    def enter(self, folder: RunFolder, verdict: Verdict) -> None:
        """Sign a verdict into a run's folder and the log.

        Raises:
            StorageFull: The disk took no more.
        """
        if folder.records.lines and not folder.verdicts.lines:
            # It was committed to before there was a gate: its pack has no place for verdicts.
            envelope = self._notary.sign(verdict_statement(verdict))
            (place,) = self._notary.enter([envelope])
        else:
            place = folder.verdicts.add(verdict)
        self._tell(verdict, who="service", place=place)

    def _wait(self, name: str, work: Coroutine[Any, Any, None], reason: str) -> Unready:
        if name in self._under_way:
            work.close()
        else:
            task = asyncio.create_task(work)
            task.add_done_callback(lambda _: self._ready())
            self._under_way[name] = task
        return Unready(reason)

    def _lacks_scan(self, config: RunConfig) -> bool:
        if not self.shelf.is_text(config.dataset):
            return False
        dossier = self.shelf.library.dossier(config.dataset)
        return dossier is not None and self._scans.report(dossier.digests) is None

    async def _scan(self, name: str) -> None:
        await self._scans.require(name, self.shelf.paths(name))

    # -- the question --------------------------------------------------------------------------

    def policy(self) -> Policy:
        """Return the policy as its file is now; that another one is in force is told.

        Raises:
            PolicyUnreadable: It cannot be read.
        """
        policy = policies.read(self._path)
        if policy.sha256 != self._told_policy:
            self._journal.append(
                POLICY, who="service", before=self._told_policy, after=policy.sha256
            )
            self._told_policy = policy.sha256
        return policy

    async def _decide(
        self, config: RunConfig, *, device: str, folder: RunFolder | None = None
    ) -> tuple[Decision, Verdict]:
        policy = self.policy()
        dossier = self.shelf.library.dossier(config.dataset)
        found = await self.shelf.found(config.dataset)
        report = self._scans.report(dossier.digests) if dossier else None
        now = timestamp(self._clock())
        model = config.model.model_dump(mode="json")
        decision = gate.decide(
            Question(
                dataset=config.dataset,
                model=config.model.architecture,
                model_digest=digest_of_model(model),
                steps=config.steps,
                device=device,
                cited=config.approval,
                dossier=dossier,
                described_otherwise=self._difference(config),
                found=found,
                is_text=self.shelf.is_text(config.dataset),
                report=report,
                policy=policy,
                approvals=tuple(self.approvals()),
                now=now,
                is_final=folder is not None,
            )
        )
        verdict = Verdict(
            run_id=folder.run_id if folder else None,
            attempt=folder.summary.attempt + 1 if folder else 0,
            verdict=decision.outcome,
            config_sha256=digest.of_bytes(_config_bytes(config)),
            dataset=config.dataset,
            data=dict(found or {}),
            manifest_sha256=dossier.sha256 if dossier else None,
            policy_sha256=policy.sha256,
            pii_report_sha256=report.sha256 if report else None,
            rules=list(decision.rules),
            approvals=list(decision.approvals),
            decided_at=now,
        )
        return decision, verdict

    def _difference(self, config: RunConfig) -> str | None:
        """Return how a run's own description of its data differs from what is known here."""
        if config.data is None:
            return None
        known = self.shelf.library.own(config.dataset)
        if known is None:
            return f"no data set {config.dataset} was added here"
        if config.data == known:
            return None
        place, expected, found = first_difference(
            known.model_dump(mode="json"), config.data.model_dump(mode="json")
        )
        return f"data{place}: expected {expected}, found {found}"

    def _tell(self, verdict: Verdict, *, who: Who, place: int) -> None:
        self._journal.append(
            VERDICT,
            who=who,
            dataset=verdict.dataset,
            run_id=verdict.run_id,
            attempt=verdict.attempt,
            verdict=verdict.verdict,
            rules=[rule.rule for rule in verdict.rules if rule.outcome is not Outcome.ALLOW],
            policy_sha256=verdict.policy_sha256,
            log_index=place,
        )

    # -- readers -------------------------------------------------------------------------------

    async def dossier(self, name: str) -> dict[str, Any]:
        """Return all that is known of a data set, and what the gate says of it now.

        Raises:
            NotFound: There is no such data set.
            PolicyUnreadable: There is no policy to go by.
        """
        view = await self.shelf.view(name)
        dossier = self.shelf.library.dossier(name)
        report = self._scans.report(dossier.digests) if dossier else None
        policy = self.policy()
        question = Question(
            dataset=name,
            dossier=dossier,
            found=await self.shelf.found(name),
            is_text=self.shelf.is_text(name),
            report=report,
            policy=policy,
            now=timestamp(self._clock()),
            **_NOBODY,
        )
        rules = gate.about_data(question)
        return {
            "dataset": view,
            "manifest": _entry(dossier),
            "pii": report.model_dump(mode="json") if report else None,
            "gate": {
                "outcome": gate.strictest(rules),
                "policy_sha256": policy.sha256,
                "rules": [rule.model_dump(mode="json") for rule in rules],
            },
            "verdicts": self.verdicts(name, limit=_MOST_VERDICTS),
        }

    async def allows(self, name: str) -> bool:
        """Return whether a data set is here and the rules about data let it through."""
        if await self.shelf.state(name) != "ready":
            return False
        try:
            return bool((await self.dossier(name))["gate"]["outcome"] is Outcome.ALLOW)
        except PolicyUnreadable:
            return False

    async def add(self, name: str, spec: Spec, entry: Entry, *, who: Who) -> dict[str, Any]:
        """Take in a data set of somebody's own, which nobody approved yet; return its dossier.

        Raises:
            Conflict: There is one of the name.
            PolicyUnreadable: There is no policy to go by.
            StorageFull: The disk took no more; nothing was taken in.
        """
        self.policy()
        self.shelf.library.add(name, spec, entry)
        digests = {file: held.sha256 for file, held in spec.files.items()}
        self._journal.append("dataset.added", who=who, dataset=name, files=digests)
        if self.shelf.is_text(name) and await self.shelf.state(name) == "ready":
            await self._scans.require(name, self.shelf.paths(name))
        return await self.dossier(name)

    async def approve(self, name: str, *, who: Who) -> dict[str, Any]:
        """Approve exactly the bytes that a data set has now; return its dossier.

        Raises:
            NotFound: There is no such data set.
            Conflict: It is one of the shipped manifest.
            StorageFull: The disk took no more.
        """
        day = timestamp(self._clock())[:10]
        dossier = self.shelf.library.approve(name, who=str(who), day=day)
        self._journal.append(
            "dataset.approved", who=who, dataset=name, files=dossier.digests,
            manifest_sha256=dossier.sha256,
        )  # fmt: skip
        return await self.dossier(name)

    def verdicts(self, dataset: str, *, limit: int) -> list[dict[str, Any]]:
        """Return the newest verdicts about a data set, as the service journal tells them."""
        return _newest(self._journal, dataset, limit=limit)


_MOST_VERDICTS = 20
_NOBODY: dict[str, Any] = {
    "model": "none",
    "model_digest": digest.ZERO,
    "steps": 0,
    "device": "auto",
    "cited": None,
    "described_otherwise": None,
    "approvals": (),
    "is_final": False,
}
"""The part of a question that is about a run, where there is none."""


def _entry(dossier: Dossier | None) -> dict[str, Any]:
    if dossier is None:
        return {"entry": None, "sha256": None, "is_approved": False}
    return {
        "entry": dossier.entry.model_dump(mode="json"),
        "sha256": dossier.sha256,
        "is_approved": dossier.is_approved,
    }


def refusal(decision: Decision) -> ServiceError:
    """Return the error that tells why the gate does not let a run through."""
    rules = [rule.model_dump(mode="json") for rule in decision.fired]
    kind = PolicyDenied if decision.outcome is Outcome.DENY else ApprovalNeeded
    cure = next((rule.cure for rule in decision.fired if rule.outcome is decision.outcome), None)
    return kind(f"the data gate does not let the run through: {decision.summary}"[:2000],
                cure=cure, rules=rules)  # fmt: skip


def _config_bytes(config: RunConfig) -> bytes:
    return canonical.encode(config.model_dump(mode="json"))


def _last_policy(journal: AuditJournal) -> str | None:
    """Return the SHA-256 of the policy that was told of last."""
    for line in reversed(list(journal)):
        record = canonical.decode_object(line)
        if record["action"] == POLICY:
            return str(record["after"])
    return None


def _newest(journal: AuditJournal, dataset: str, *, limit: int) -> list[dict[str, Any]]:
    found = []
    for line in reversed(list(journal)):
        if VERDICT.encode() not in line:
            continue
        record = canonical.decode_object(line)
        if record["action"] == VERDICT and record["dataset"] == dataset:
            found.append(record)
        if len(found) == limit:
            break
    return found
