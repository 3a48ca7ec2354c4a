from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from evidence.clock import timestamp
from evidence.records import RunState
from serve.cli import render
from serve.cli.glyphs import SIGNS, WORDS, Glyphs
from serve.cli.progress import Progress
from serve.cli.render import Column, Frame, Mark
from serve.cli.terminal import as_string
from serve.client import Event, Link

START = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
FRAMES = [Frame(SIGNS, 80), Frame(WORDS, 80), Frame(SIGNS, 40)]


def status(state: str, *, at_s: float = 0.0, **more: Any) -> Event:
    told = {"state": state, "reason": "because", "timestamp": at(at_s)} | more
    return Event(1, "status", told)


def metric(step: int, *, split: str = "train", loss: float = 0.5, accuracy: float = 0.97) -> Event:
    told = {
        "step": step,
        "split": split,
        "loss": loss,
        "accuracy": accuracy,
        "samples_s": 4120.4,
        "memory_bytes": 481_000_000,
        "timestamp": at(step * 0.1),
    }
    return Event(step, "metric", told)


def at(seconds: float) -> str:
    return timestamp(START + timedelta(seconds=seconds))


def running(steps: int = 938, done: int = 620, *, name: str = "mnist_convnet") -> Progress:
    run = Progress("7f3a91c20000", name, steps)
    placement = {"device": "CPU", "node": "n", "why": "w"}
    run.take_in(status("queued"))
    run.take_in(status("running", placement=placement))
    for step in range(1, done + 1):
        run.take_in(metric(step, loss=2.0 / step))
    run.take_in(metric(done, split="test", accuracy=0.979))
    return run


def plain(lines: list[Text]) -> str:
    return "\n".join(as_string(line, coloured=False) for line in lines)


def test_the_train_block_is_as_designed() -> None:
    head, bar, measures = render.train_block(FRAMES[0], running())
    assert head.plain == "● train         run 7f3a91c20000 · mnist_convnet · CPU"
    assert bar.plain.split() == [
        bar.plain.split()[0],
        "620/938",
        "steps",
        "eta",
        "32",
        "s",
        "●",
        "live",
    ]
    assert measures.plain.startswith("  loss 0.0032   ")
    assert measures.plain.endswith("   test 97.9 %   4,120 samples/s   481 MB")


def test_the_bar_is_as_full_as_the_run() -> None:
    assert render.bar(SIGNS, 0, 10, width=10).plain == "╾─────────"
    assert render.bar(SIGNS, 5, 10, width=10).plain == "━━━━━╾────"
    assert render.bar(SIGNS, 10, 10, width=10).plain == "━━━━━━━━━━"


def test_the_chart_falls_with_the_loss() -> None:
    assert render.chart(SIGNS, [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]) == "█▇▆▅▄▃▂▁"
    assert render.chart(SIGNS, [1.0, 1.0]) == "▁▁"
    assert render.chart(SIGNS, []) == ""


def test_the_plain_line_has_step_loss_and_time_left() -> None:
    line = render.plain_line(running(), "22:31:04")
    assert line == "22:31:04 step 620/938 loss 0.0032 test 97.9 % 4,120 samples/s eta 32 s"


def test_a_queued_run_shows_its_reason() -> None:
    run = Progress("7f3a91c20000", "a", 10)
    run.take_in(status("queued"))
    assert plain(render.train_block(FRAMES[0], run)).splitlines()[1] == "  queued · because"


def test_a_queued_run_shows_what_it_waits_for_if_that_is_known() -> None:
    run = Progress("7f3a91c20000", "a", 10)
    run.take_in(status("queued"))
    run.waits_for = "no node offers METAL for the device METAL"
    assert plain(render.train_block(FRAMES[0], run)).endswith(f"queued · {run.waits_for}")
    assert render.plain_line(run, "22:31:04") == f"22:31:04 queued: {run.waits_for}"


def test_a_run_that_was_cancelled_in_the_queue_compiles_nothing() -> None:
    run = Progress("7f3a91c20000", "a", 10)
    run.take_in(status("queued"))
    run.take_in(status("cancelled"))
    told = plain(render.train_block(FRAMES[0], run)) + render.plain_line(run, "22:31:04")
    assert "compil" not in told
    assert "no step was made" in told


@pytest.mark.parametrize("frame", FRAMES)
def test_the_reason_of_a_failure_is_told_whole(frame: Frame) -> None:
    run = running()
    reason = "step 12: expected a finite loss, found nan; " * 5 + "lower optimizer.lr"
    run.take_in(status("failed", reason=reason))
    head, *lines = [line.plain for line in render.outcome_lines(frame, run)]
    assert "failed at step" in head
    assert " ".join(line.strip() for line in lines) == reason
    assert max(map(len, lines)) <= frame.width


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("detail", ["", "short", "word " * 40, "two\nlines"])
def test_a_paragraph_is_told_whole_and_fits(frame: Frame, detail: str) -> None:
    lines = [one.plain for one in render.paragraph(frame, Mark.VERIFIED, "device CPU", detail)]
    told = " ".join(" ".join(lines).split())
    assert told.endswith(" ".join(detail.split()))
    assert "device CPU" in lines[0]
    assert max(map(len, lines)) <= frame.width


def test_a_lost_connection_shows_as_sign_and_word() -> None:
    run = running()
    run.link = Link.RECONNECTING
    assert "◐ reconnecting" in render.train_block(FRAMES[0], run)[1].plain


@pytest.mark.parametrize(
    ("state", "sign"),
    [("succeeded", "✓"), ("failed", "✗"), ("interrupted", "!"), ("cancelled", SIGNS.ended)],
)
def test_the_last_frame_says_how_it_ended_with_sign_and_word(state: str, sign: str) -> None:
    run = running()
    run.take_in(status(state, at_s=221))
    run.take_in(Event(None, "end", {"state": state}))
    line = render.outcome_lines(FRAMES[0], run)[0].plain
    assert line.startswith(f"{sign} train")
    assert line.endswith("3:41")
    assert (state in line) or ("test accuracy 97.90 %" in line)


def test_words_stand_for_signs_where_signs_are_not_wanted() -> None:
    text = plain(
        [*render.train_block(FRAMES[1], running()), render.phase(FRAMES[1], Mark.DONE, "a")]
    )
    assert text.isascii()
    assert "running: train" in text
    assert "done: a" in text


def test_only_the_newest_five_events_are_kept_and_no_training_metric() -> None:
    run = running()
    for number in range(7):
        told = {"name": "noted", "message": f"message {number}", "timestamp": at(number)}
        run.take_in(Event(number, "log", told))
    lines = render.newest_lines(FRAMES[0], run)
    assert len(lines) == 5
    assert lines[-1].plain.endswith("noted: message 6")


def test_a_table_that_does_not_fit_counts_the_rest() -> None:
    lines = render.table(
        FRAMES[0], [Column("A"), Column("N", is_number=True)], [["x", "1"]] * 5, most=3
    )
    assert [line.plain for line in lines] == ["A  N", "x  1", "x  1", "x  1", "+2 more"]


@pytest.mark.parametrize("state", list(RunState))
def test_each_state_has_a_sign_and_its_word(state: RunState) -> None:
    sign, word = render.state_cell(SIGNS, state).split()
    assert len(sign) == 1
    assert word == state


@given(
    frame=st.sampled_from(FRAMES),
    steps=st.integers(3, 10_000_000),
    done=st.integers(0, 60),
    name=st.text(alphabet="abc_.-", min_size=1, max_size=64),
    link=st.sampled_from(Link),
)
def test_no_line_is_too_wide_or_has_an_escape(
    frame: Frame, steps: int, done: int, name: str, link: Link
) -> None:
    run = running(steps, min(done, steps), name=name)
    run.link = link
    lines = [*render.train_block(frame, run), *render.newest_lines(frame, run)]
    lines += [*render.outcome_lines(frame, run), render.left_line(frame, run)]
    for line in plain(lines).splitlines():
        assert len(line) <= frame.width
        assert "\x1b" not in line


@given(
    glyphs=st.sampled_from([SIGNS, WORDS]),
    mark=st.sampled_from(Mark),
    detail=st.text(max_size=200),
    right=st.sampled_from(["", "48 s", "1:02:03"]),
)
def test_a_phase_is_one_line_that_fits(glyphs: Glyphs, mark: Mark, detail: str, right: str) -> None:
    line = render.phase(Frame(glyphs, 80), mark, "compiler", detail, right).plain
    assert len(line) <= 80
    assert len(line.splitlines()) == 1


def test_colour_is_an_escape_only_where_it_is_wanted() -> None:
    line = render.phase(FRAMES[0], Mark.VERIFIED, "evidence", "12 of 12 checks", "1 s")
    assert as_string(line, coloured=True).startswith("\x1b[32m✓\x1b[0m")
    assert as_string(line, coloured=False).startswith("✓ evidence")
