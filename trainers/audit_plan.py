"""Before anything is done again: can this code replay this pack, and which windows of it? Light."""

from collections.abc import Iterator
from dataclasses import dataclass

from evidence.packfiles import CodePart
from evidence.subject import Subject
from trainers import windows
from trainers.audit_report import Code, Kernels, Missing
from trainers.claims import Claims, kernels_digest, kernels_name
from trainers.provenance import describe_code
from trainers.windows import Choice, RandBelow, Request


@dataclass(frozen=True, slots=True)
class Plan:
    """What an audit does, and what it cannot do."""

    missing: tuple[Missing, ...] = ()
    """Why it cannot tell, as far as that is known before."""
    trained_by: Code | None = None
    trained_with: Kernels | None = None
    claims: Claims | None = None
    """Of a run that can be done again here."""
    choice: Choice | None = None
    """The windows; they are done even where more were asked for."""


def plan(subject: Subject, request: Request, *, here: Code, randbelow: RandBelow) -> Plan:
    """Return the plan for a pack that passed every check and is sealed.

    Args:
        subject: The pack, as verification read it.
        request: What the auditor asks for.
        here: The auditor's code.
        randbelow: The auditor's randomness.

    Raises:
        InvalidInput: The request does not fit the run.
    """
    if not subject.has("provenance.json"):
        detail = "nothing was trained: the run was cancelled before its first attempt"
        return Plan((Missing(what="no_training", detail=detail, cure="audit another run"),))
    told = subject.provenance
    trained_by = Code(code=told.code, lock_sha256=told.lock_sha256)
    trained_with = kernels_of(told.runtime)
    if told.code.digest is None or told.code.digest != here.code.digest:
        return Plan((_other_code(trained_by, here),), trained_by, trained_with)
    claims = Claims.of(subject)
    lacking = tuple(_lacking(claims, request))
    if any(one.what == "data" for one in lacking):
        return Plan(lacking, trained_by, trained_with)
    choice = windows.choose(claims.bounds, request, randbelow=randbelow)
    return Plan(lacking, trained_by, trained_with, claims, choice)


def code_here() -> Code:
    """Return the code that this machine replays with."""
    told = describe_code()
    lock_sha256 = told.pop("lock_sha256")
    return Code(code=CodePart(**told), lock_sha256=lock_sha256)


def kernels_of(runtime: dict[str, object]) -> Kernels:
    """Return name and digest of what a runtime computes with."""
    return Kernels(name=kernels_name(runtime), digest=kernels_digest(runtime))


def _other_code(trained_by: Code, here: Code) -> Missing:
    made, commit, lock = trained_by.code, trained_by.code.commit, trained_by.lock_sha256
    if made.digest is None:
        detail = "the pack does not tell which code made it"
    else:
        detail = f"the pack was made by code {made.digest}, here is {here.code.digest}"
    unclean = "" if made.clean else ", whose tree was not clean"
    return Missing(
        what="other_code",
        detail=detail,
        cure=f"install commit {commit or 'unknown'}{unclean} with the requirements.lock of SHA-256 "
        f"{lock or 'unknown'}, and audit with that",
    )


def _lacking(claims: Claims, request: Request) -> Iterator[Missing]:
    """Yield what the pack or this version lacks for the request."""
    published = claims.config.entry.digests
    for file in sorted({*published, *claims.files}):
        if published.get(file) != claims.files.get(file):
            yield Missing(
                what="data",
                detail=f"the run was trained on {file} with SHA-256 {claims.files.get(file)}; "
                f"{claims.config.dataset} has {published.get(file)}",
                cure="nothing here has that data",
            )
            return
    yield from _too_few(claims, request)


def _too_few(claims: Claims, request: Request) -> Iterator[Missing]:
    bounds = claims.bounds
    for step in windows.pruned_bounds(bounds, request):
        kept = ", ".join(map(str, [0, *sorted(bounds.kept)]))
        yield Missing(
            what="pruned",
            detail=f"the bytes of checkpoint {step} were pruned; windows begin and end at {kept}",
            cure="ask for a range between these, or for --all",
        )
    count = len(bounds.windows)
    if count == 0 or (request.count is not None and request.count > count):
        asked = request.count or 1
        pruned = f"; {len(bounds.pruned)} checkpoints were pruned" if bounds.pruned else ""
        yield Missing(
            what="fewer_windows",
            detail=f"expected {asked} windows, the pack has {count}{pruned}",
            cure=f"ask for at most {count}" if count else "audit a run that has a checkpoint",
        )
