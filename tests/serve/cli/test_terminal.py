import io

import pytest

from serve.cli.terminal import Terminal, of_environment


class Screen(io.TextIOWrapper):
    """A stream that is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    def isatty(self) -> bool:
        return True


def on_screen(encoding: str = "utf-8", **environ: str) -> Terminal:
    return of_environment(environ, out=Screen(encoding), err=Screen(encoding), is_quiet=False)


def test_a_terminal_is_redrawn_in_colour() -> None:
    this = on_screen(TERM="xterm")
    assert (this.is_live, this.is_err_coloured, this.is_out_coloured) == (True, True, True)


@pytest.mark.parametrize("variable", [{"CI": "1"}, {"CI": "true"}, {"TERM": "dumb"}])
def test_a_machine_reader_gets_plain_lines(variable: dict[str, str]) -> None:
    this = on_screen(**variable)
    assert (this.is_live, this.is_err_coloured, this.is_out_coloured) == (False, False, False)


def test_no_color_takes_colour_only() -> None:
    this = on_screen(NO_COLOR="1", FORCE_COLOR="1")
    assert (this.is_live, this.is_err_coloured) == (True, False)


def test_accessible_only_adds_lines_and_uses_words() -> None:
    this = on_screen(ZPCTL_ACCESSIBLE="1")
    assert not this.is_live
    assert this.glyphs.done == "done:"


def test_force_color_gives_colour_but_no_redrawing() -> None:
    streams = {"out": io.StringIO(), "err": io.StringIO()}
    this = of_environment({"FORCE_COLOR": "1"}, **streams, is_quiet=False)
    assert (this.is_live, this.is_err_coloured) == (False, True)


def test_redrawing_needs_both_streams_to_be_terminals() -> None:
    assert not of_environment({}, out=io.StringIO(), err=Screen(), is_quiet=False).is_live


def test_words_stand_in_where_signs_cannot_be_written() -> None:
    assert on_screen("ascii").glyphs.failed == "failed:"


def test_quiet_hides_progress_and_nothing_else() -> None:
    out, err = io.StringIO(), io.StringIO()
    this = of_environment({}, out=out, err=err, is_quiet=True)
    this.progress("progress")
    this.complain("error")
    this.result("result")
    assert (out.getvalue(), err.getvalue()) == ("result\n", "error\n")
