"""An audit as text, purely: a line for each window, what differs below it, and the verdict."""

from collections.abc import Iterator

from rich.text import Text

from evidence.report import Verdict
from evidence.subject import plural
from serve.cli import render, units
from serve.cli.render import Frame, Mark
from trainers.audit_report import AuditReport
from trainers.comparison import Outcome, Tensors, Value, WindowResult
from trainers.windows import Choice, How

_INDENT = " " * (render.LABEL_WIDTH + 2)
_MARKS = {
    Outcome.EQUAL: Mark.VERIFIED,
    Outcome.MISMATCH: Mark.FAILED,
    Outcome.CANNOT_TELL: Mark.WARNING,
}
_VERDICTS = {
    Verdict.PASSED: Mark.VERIFIED,
    Verdict.FAILED: Mark.FAILED,
    Verdict.CANNOT_TELL: Mark.WARNING,
}


def window_lines(frame: Frame, number: int, result: WindowResult) -> Iterator[Text]:
    """Yield the lines of one window."""
    told = f"steps {result.window}: {_became(result)}"
    mark = _MARKS[result.outcome]
    yield render.phase(frame, mark, f"window {number}", told, _cost(result))
    for label, text in _findings(result):
        lines = render.wrapped(frame, text, lead=f"{_INDENT}{label:<10}", indent=_INDENT + " " * 10)
        yield from map(Text, lines)


def _became(result: WindowResult) -> str:
    if result.outcome is Outcome.EQUAL:
        return f"equal, {result.compared:,} values"
    if result.first is None:
        return "its start is no state of this run"
    if result.outcome is Outcome.CANNOT_TELL:
        return f"other bits from step {result.first.step} on"
    return f"differs at step {result.first.step}"


def _cost(result: WindowResult) -> str:
    took = units.duration(result.seconds)
    return took if result.ratio is None else f"{result.ratio:.2f} x, {took}"


def _findings(result: WindowResult) -> Iterator[tuple[str, str]]:
    """Yield labels and texts of what differs."""
    if result.refused:
        yield "refused", result.refused
    if result.ended:
        yield "ended", result.ended
    if result.first is not None and result.differences:
        fact, first = result.differences[0], result.first
        yield "expected", f"{fact.name} {_shown(fact.expected)}"
        yield "found", f"{fact.name} {_shown(fact.found)}"
        since = f" (cause: step {first.earliest} or later)" if first.earliest < first.step else ""
        yield "meaning", first.meaning + since
        yield "differing", f"{result.differing:,} of {result.compared:,} values"
    if result.tensors is not None:
        yield "tensor", _tensor(result.tensors)


def _tensor(tensors: Tensors) -> str:
    one = tensors.first
    if one is None:
        return f"none is named: {tensors.reason}"
    apart = "" if one.largest is None else f", by up to {one.largest:.3g}"
    counted = f" in {one.elements:,} of {one.of:,} elements; {plural(tensors.differing, 'tensor')}"
    return f"{one.file}, {one.name}{apart}{counted}"


def _shown(value: Value) -> str:
    return "nothing" if value is None else str(value)


def closing_lines(frame: Frame, report: AuditReport) -> Iterator[Text]:
    """Yield what stands behind the windows: how they were picked, kernels, cost, verdict."""
    if report.choice is not None:
        yield from render.paragraph(frame, Mark.HELP, "picked", picked(report.choice))
    if report.trained_with is not None:
        yield from render.paragraph(frame, Mark.HELP, "trained with", report.trained_with.name)
    if report.replayed_with is not None:
        same = "the same kernels: " if report.has_same_kernels else "other kernels: "
        told = same + report.replayed_with.name
        yield from render.paragraph(frame, Mark.HELP, "replayed with", told)
    if report.windows:
        yield from render.paragraph(frame, Mark.HELP, "cost", cost(report))
    yield from render.paragraph(frame, _VERDICTS[report.verdict], "verdict", report.summary)


def picked(choice: Choice) -> str:
    """Return how windows were picked, and what was left out."""
    total = len(choice.windows) + len(choice.left_out)
    how = {
        How.RANDOM: f"at random by {choice.source}",
        How.RANGE: "by the range that was asked for",
        How.ALL: "all of them",
    }[choice.how]
    told = f"{len(choice.windows)} of {plural(total, 'window')}, {how}"
    if choice.left_out:
        told += f"; left out: {', '.join(map(str, choice.left_out))}"
    if choice.beyond is not None:
        told += f"; steps {choice.beyond} have no checkpoint behind them"
    return told


def cost(report: AuditReport) -> str:
    """Return what the audit cost, beside what training took."""
    times = report.seconds
    took = f"{units.duration(times.replay)} of replay"
    before = f"; {units.duration(times.verification + times.preparation)} before the first window"
    if times.trained is None or report.ratio is None:
        reasons = (one.trained_reason for one in report.windows if one.trained_reason)
        return f"{took}; what training took is not known: {next(reasons, 'no window')}{before}"
    return f"{took} for {units.duration(times.trained)} of training, {report.ratio:.2f} x{before}"
