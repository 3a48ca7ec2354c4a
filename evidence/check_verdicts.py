"""Check 21: what the data gate said of a run, against the run and the commitment behind it."""

from evidence import digest
from evidence.binding import Commitment
from evidence.check_records import keys_of, lines_of, verified
from evidence.clock import moment
from evidence.pack import CONFIG, RECORDS, VERDICTS
from evidence.packfiles import StatusLine
from evidence.records import RunState
from evidence.subject import (
    Difference,
    Differs,
    Good,
    NotCheckable,
    Subject,
    as_difference,
    event_place,
    first_difference,
    line_place,
    plural,
)
from evidence.verdict import Outcome, Verdict, of_statement, verdict_statement

_GONE = "a verdict was removed, or the run was placed without one"


def verdicts(subject: Subject) -> Good:
    """(21) Each placement has the consent of the gate, and the commitment names one."""
    subject.require_bound()
    if not subject.has(VERDICTS):
        raise NotCheckable("format 2 has no verdicts")
    said, hashes = _read(subject)
    first = _require_named_by_commitment(subject, said, hashes)
    placed = [
        event
        for event in subject.events
        if isinstance(event, StatusLine) and event.state == RunState.RUNNING
    ]
    for event in placed:
        _require_consent(event, said)
    rules = plural(len(first.rules), "rule")
    cited = [approval.proposal_id for one in said for approval in one.approvals]
    approved = f", by {' and '.join(dict.fromkeys(cited))}" if cited else ""
    return Good(
        plural(len(said), "verdict"),
        f"{rules} of policy {first.policy_sha256[:16]}{approved}",
    )


def _read(subject: Subject) -> tuple[list[Verdict], list[str]]:
    """Return what verdicts.jsonl says, each line held against config and data, and their hashes."""
    keys = keys_of(subject)
    numbers = {key.key_id: number for number, key in enumerate(keys, 1)}
    said: list[Verdict] = []
    hashes: list[str] = []
    for number, line in enumerate(lines_of(subject, VERDICTS), 1):
        place = line_place(VERDICTS, number)
        _, statement = verified(line, keys, numbers, place=place)
        with as_difference(place):
            one = of_statement(statement)
        is_consent = one.verdict is Outcome.ALLOW
        expected = one.model_copy(
            update={
                "run_id": subject.manifest.run_id,
                "config_sha256": digest.of_bytes(subject.read(CONFIG)),
                "dataset": subject.config.dataset,
                "data": subject.provenance.dataset.files if is_consent else one.data,
                "verdict": _strictest(one),
                "previous": hashes[-1] if hashes else None,
            }
        )
        _require_same(place, verdict_statement(expected), statement)
        said.append(one)
        hashes.append(digest.of_bytes(line))
    if not said:
        raise Differs(Difference(f"{VERDICTS} is empty", where=VERDICTS, expected="a line"))
    return said, hashes


def _strictest(verdict: Verdict) -> Outcome:
    return max((rule.outcome for rule in verdict.rules), key=list(Outcome).index)


def _require_same(place: str, expected: dict[str, object], found: dict[str, object]) -> None:
    if expected == found:
        return
    pointer, wanted, actual = first_difference(expected, found)
    raise Differs(
        Difference(
            "a verdict is about something else than the run",
            where=f"{place}, /payload{pointer}",
            expected=wanted,
            found=actual,
            meaning="the gate was asked about another config or other bytes, or it was changed",
        )
    )


def _require_named_by_commitment(
    subject: Subject, said: list[Verdict], hashes: list[str]
) -> Verdict:
    """Return the verdict that the commitment follows from; it must be a consent."""
    commitment = subject.records[0].said
    assert isinstance(commitment, Commitment), "check 13 saw to it"
    if commitment.previous not in hashes:
        raise Differs(
            Difference(
                f"the commitment follows from no line of {VERDICTS}",
                where=f"{line_place(RECORDS, 1)}, /payload/predicate/previous",
                expected=hashes[0],
                found=commitment.previous or "null",
                meaning=_GONE,
            )
        )
    named = said[hashes.index(commitment.previous)]
    if named.verdict is not Outcome.ALLOW:
        raise Differs(
            Difference(
                "the commitment follows from a verdict that is no consent",
                where=line_place(VERDICTS, hashes.index(commitment.previous) + 1),
                expected=Outcome.ALLOW,
                found=named.verdict,
                meaning="the run was begun against the data gate",
            )
        )
    return named


def _require_consent(event: StatusLine, said: list[Verdict]) -> None:
    """Require that the last verdict about an attempt let it through, and was not after it."""
    about = [one for one in said if one.attempt == event.attempt]
    last = about[-1] if about else None
    if last is None or last.verdict is not Outcome.ALLOW:
        raise Differs(
            Difference(
                f"attempt {event.attempt} was placed without the consent of the data gate",
                where=event_place(event),
                expected=Outcome.ALLOW,
                found=last.verdict if last else "no verdict",
                meaning=_GONE,
            )
        )
    if moment(last.decided_at) > moment(event.timestamp):
        raise Differs(
            Difference(
                f"attempt {event.attempt} was placed before the data gate was asked",
                where=event_place(event),
                expected=f"a moment from {last.decided_at} on",
                found=event.timestamp,
                meaning="the verdict was made up afterwards",
            )
        )
