from serve.probe import owners
from serve.probe.finding import CannotTell, Finder, conclude, differs
from serve.probe.report import Report, Verdict, as_markdown, check_of, verdict_of
from serve.probe.rules import Rule, rules
from serve.probe.seen import Seen
from tests.serve.probe.test_progress import report

HOSTILE = "`](javascript:x) | @everyone\n## Passed"


def find_hostile(_: Seen) -> Finder:
    yield differs("GET /api/log", HOSTILE, HOSTILE, field=HOSTILE, file="captures/1.json")
    return HOSTILE


def judged() -> Report:
    good = report()
    rule = Rule(1, "http.schema", "Every answer is one that the contract states", find_hostile)
    outcome = conclude(lambda: find_hostile(None))  # type: ignore[arg-type]  # it is not looked at
    failed = check_of(rule, outcome, owners=owners.read(), seconds=0.1)
    checks = (failed, *good.checks[1:])
    return good.model_copy(update={"checks": checks, "verdict": verdict_of(checks)})


def test_a_strangers_words_stay_in_their_cell() -> None:
    text = as_markdown(judged())
    assert "\n## Passed" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| `http.schema` | evidence")]
    assert row.count("|") == 8
    assert row.count("`") % 2 == 0


def test_the_summary_counts_what_failed() -> None:
    made = judged()
    assert made.verdict is Verdict.FAILED
    assert made.summary == f"1 checks found discrepancies, 37 of {len(rules())} checks passed"


def test_a_check_that_cannot_be_made_leaves_the_verdict_open() -> None:
    def find() -> Finder:
        yield from ()
        raise CannotTell("no data")

    rule = rules()[0]
    untold = check_of(rule, conclude(find), owners=owners.read(), seconds=0.0)
    assert verdict_of([untold, *report().checks[1:]]) is Verdict.CANNOT_TELL
    assert "- `http.schema`: `no data`" in as_markdown(
        report().model_copy(update={"checks": (untold,)})
    )


def test_a_report_reads_back_as_it_was() -> None:
    made = judged()
    assert Report.model_validate_json(made.data) == made
