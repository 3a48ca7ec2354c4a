"""What the terminal can show: redrawing, colour, signs, size. Decided once, from plain values."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.text import Text

from serve.cli.glyphs import SIGNS, WORDS, Glyphs

MAX_WIDTH = 80
_MIN_WIDTH = 40
_NO = {"", "0", "false"}


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where output goes and what it may hold. Results go to `out`, all else to `err`."""

    out: TextIO
    err: TextIO
    is_live: bool
    """Whether a block may be redrawn in place."""
    is_out_coloured: bool
    is_err_coloured: bool
    is_quiet: bool
    """Whether progress is hidden; results and errors never are."""
    glyphs: Glyphs
    width: int
    """Columns, at most 80."""
    height: int
    """Lines of the window."""

    def result(self, line: Text | str = "") -> None:
        """Print a line of the result."""
        print(as_string(line, coloured=self.is_out_coloured), file=self.out, flush=True)

    def progress(self, line: Text | str) -> None:
        """Print a line of progress, which stays."""
        if not self.is_quiet:
            self.complain(line)

    def complain(self, line: Text | str) -> None:
        """Print a line of an error."""
        print(as_string(line, coloured=self.is_err_coloured), file=self.err, flush=True)


def of_environment(
    environ: Mapping[str, str], *, out: TextIO, err: TextIO, is_quiet: bool
) -> Terminal:
    """Return the terminal that two streams and the environment make.

    A stream that is no terminal, `CI` and `TERM=dumb` give plain lines; `NO_COLOR` takes colour
    away, `FORCE_COLOR` gives colour without redrawing, `ZPCTL_ACCESSIBLE=1` words for signs.
    """
    is_plain = environ.get("CI", "").lower() not in _NO or environ.get("TERM") == "dumb"
    is_accessible = environ.get("ZPCTL_ACCESSIBLE", "").lower() not in _NO
    can_redraw = out.isatty() and err.isatty() and not is_plain
    columns, lines = shutil.get_terminal_size((MAX_WIDTH, 24))
    has_signs = not is_accessible and _can_encode(out) and _can_encode(err)
    return Terminal(
        out=out,
        err=err,
        is_live=can_redraw and has_signs,
        is_out_coloured=_is_coloured(environ, is_terminal=out.isatty() and not is_plain),
        is_err_coloured=_is_coloured(environ, is_terminal=err.isatty() and not is_plain),
        is_quiet=is_quiet,
        glyphs=SIGNS if has_signs else WORDS,
        width=max(_MIN_WIDTH, min(MAX_WIDTH, columns)),
        height=lines,
    )


def as_string(line: Text | str, *, coloured: bool) -> str:
    """Return a line as it is printed, without its end."""
    if isinstance(line, str):
        return line
    if not coloured:
        return line.plain.rstrip()
    console = Console(force_terminal=True, color_system="standard", width=10 * MAX_WIDTH)
    with console.capture() as captured:
        console.print(line, end="", soft_wrap=True)
    return captured.get()


def _is_coloured(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    if environ.get("NO_COLOR"):
        return False
    return is_terminal or environ.get("FORCE_COLOR", "").lower() not in _NO


def _can_encode(stream: TextIO) -> bool:
    try:
        "".join(SIGNS).encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
