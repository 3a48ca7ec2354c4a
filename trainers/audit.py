"""An audit: verify a pack, pick windows, do them again on this machine, compare, report. Light.

    1  every check of the pack                     a failed one ends it
    2  sealed, by this code, of published data     else it cannot tell
    3  windows                                     by the auditor's own randomness
    4  processes of the run's kind                 `replay_job`
    5  each window, done again and compared        `replay`

Code from a pack is never run: it names the code that made it, and only that code replays it.
"""

import secrets
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evidence.archive import open_pack
from evidence.errors import ServiceError
from evidence.report import Check, Report, Result, Verdict
from evidence.signing import PublicKey
from evidence.subject import DescribeModel
from evidence.verify import Verification
from trainers import audit_plan, audit_report, replay_job
from trainers.audit_plan import Plan
from trainers.audit_report import AuditReport, Missing, Times
from trainers.claims import Claims
from trainers.comparison import Outcome, WindowResult
from trainers.config import KernelLibrary, RunConfig
from trainers.replay_job import Job, Runtime
from trainers.windows import Choice, RandBelow, Request


@dataclass(frozen=True, slots=True)
class Auditor:
    """Whoever audits: the own machine, the own trust, the own randomness."""

    cache: Path
    """Root of data sets and compiled kernels."""
    bring: Callable[[RunConfig], object]
    """Makes a data set ready in the cache, or raises why it cannot."""
    describe_model: DescribeModel | None = None
    """Makes check 12 of the pack; None leaves it out."""
    public_key: PublicKey | None = None
    """The key that must have signed; None accepts any."""
    library: KernelLibrary = "auto"
    """What products go through; `auto` takes that of the run where it is here."""
    randbelow: RandBelow = secrets.randbelow
    """Picks windows."""


class Audit:
    """One audit of one pack. Call `checks`, then `windows`, each to its end, then `report`.

    Args:
        path: A run folder or a zip of one.
        request: Which windows.
        auditor: Who audits.
    """

    def __init__(self, path: Path, request: Request, auditor: Auditor) -> None:
        self._path = path
        self._request = request
        self._auditor = auditor
        self._here = audit_plan.code_here()
        self._verified: Report | None = None
        self._plan = Plan()
        self._broken: list[Missing] = []
        self._runtime: Runtime | None = None
        self._results: list[WindowResult] = []
        self._prepared_s = 0.0

    @property
    def choice(self) -> Choice | None:
        """Which windows are done again; None where none can be."""
        return self._plan.choice

    def checks(self) -> Iterator[Check]:
        """Make every check of the pack and yield each; then pick the windows.

        Raises:
            NotFound: There is no pack.
            InvalidInput: It is none, or the request does not fit the run.
            IntegrityError: The zip or folder is not what a writer makes.
            OSError: It cannot be read.
        """
        with open_pack(self._path) as pack:
            verification = Verification(
                pack,
                public_key=self._auditor.public_key,
                describe_model=self._auditor.describe_model,
            )
            yield from verification.run()
            self._verified = verification.report()
            if self._verified.verdict is Verdict.PASSED:
                self._plan = audit_plan.plan(
                    verification.subject,
                    self._request,
                    here=self._here,
                    randbelow=self._auditor.randbelow,
                )

    def windows(self) -> Generator[WindowResult, None, None]:
        """Do the picked windows again and yield the result of each; nothing where none can be.

        Closed before its end, it ends its processes.
        """
        claims, choice = self._plan.claims, self._plan.choice
        if claims is None or choice is None or not choice.windows:
            return
        begun = time.perf_counter()
        try:
            self._auditor.bring(claims.config)
        except (ServiceError, OSError) as error:
            self._broken.append(
                _missing("data", error, cure=f"zpctl fetch {claims.config.dataset}")
            )
            return
        try:
            for told in self._replay(claims, choice):
                if isinstance(told, Runtime):
                    self._runtime = told
                    self._prepared_s = time.perf_counter() - begun
                else:
                    self._results.append(told)
                    yield told
        except (ServiceError, OSError) as error:
            self._broken.append(_missing("machine", error, cure="zpctl doctor"))

    def _replay(self, claims: Claims, choice: Choice) -> Iterator[Runtime | WindowResult]:
        with tempfile.TemporaryDirectory(prefix="zpa-") as scratch:
            job = Job(
                pack=self._path.absolute(),
                claims=claims.only(choice.windows),
                windows=choice.windows,
                cache=self._auditor.cache,
                device=replay_job.device_of(claims),
                library=replay_job.library_for(claims, self._auditor.library),
            )
            yield from replay_job.results(job, scratch=Path(scratch))

    def report(self) -> AuditReport:
        """Return the report of what was done."""
        assert self._verified is not None, "the checks come first"
        results, plan, here = tuple(self._results), self._plan, self._runtime
        missing = tuple(self._missing())
        failed = tuple(one for one in self._verified.checks if one.result is Result.FAILED)
        verdict, summary = audit_report.verdict_of(
            failed=bool(failed), missing=bool(missing), choice=plan.choice, windows=results
        )
        return AuditReport(
            pack=self._verified.pack,
            run_id=self._verified.run_id,
            key_id=self._verified.key_id,
            verdict=verdict,
            summary=summary,
            verification=self._verified.summary,
            failed=failed,
            missing=missing,
            choice=plan.choice,
            trained_by=plan.trained_by,
            replayed_by=self._here,
            trained_with=plan.trained_with,
            replayed_with=here and audit_plan.kernels_of(here.runtime),
            has_same_kernels=plan.claims.has_kernels(here.runtime)
            if plan.claims and here
            else None,
            windows=results,
            seconds=Times(
                verification=self._verified.seconds,
                preparation=self._prepared_s,
                replay=sum(one.seconds for one in results),
                trained=_sum([one.trained_seconds for one in results]),
            ),
        )

    def _missing(self) -> Iterator[Missing]:
        """Yield why it cannot tell, if it cannot."""
        assert self._verified is not None, "the checks come first"
        if self._verified.verdict is Verdict.CANNOT_TELL:
            yield Missing(
                what="not_sealed",
                detail="the pack is not sealed: the run goes on, was interrupted, or failed",
                cure="audit it when the run has ended",
            )
        yield from self._plan.missing
        yield from self._broken
        unclear = [one for one in self._results if one.outcome is Outcome.CANNOT_TELL]
        if unclear:
            yield _other_kernels(unclear[0])


def audit(path: Path, request: Request, auditor: Auditor) -> AuditReport:
    """Audit a pack from beginning to end.

    Raises:
        ServiceError: As `Audit.checks`.
        OSError: As `Audit.checks`.
    """
    one = Audit(path, request, auditor)
    for _ in (*one.checks(), *one.windows()):
        pass
    return one.report()


def _other_kernels(result: WindowResult) -> Missing:
    largest = result.tensors.largest if result.tensors else None
    apart = "" if largest is None else f", by up to {largest.largest:.3g} in {largest.name}"
    return Missing(
        what="kernels",
        detail=f"steps {result.window} differ{apart}, under other kernels than those of training",
        cure="audit on a machine with the run's kernels; the kernel set portable has the same on "
        "every x86-64-v3 processor",
    )


def _missing(what: str, error: ServiceError | OSError, *, cure: str) -> Missing:
    if isinstance(error, ServiceError):
        return Missing(what=what, detail=error.detail, cure=error.cure or cure)
    return Missing(what=what, detail=f"{type(error).__name__}: {error}", cure=cure)


def _sum(times: Sequence[float | None]) -> float | None:
    """Return the sum, or None where there is none, or one is not known."""
    known = [one for one in times if one is not None]
    return sum(known) if known and len(known) == len(times) else None
