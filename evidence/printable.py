"""Text that came out of a pack, made fit for a terminal, a log and JSON.

Names of files and what stands in them are a stranger's: an escape code in them would move the
reader's cursor and colour, a newline would forge lines of a report.
"""


def printable(text: str) -> str:
    r"""Return `text` with every character that does not print, or is none, as its escape.

    Those are control and format characters, line and paragraph separators, and the surrogates that
    stand for bytes of a file name that are no UTF-8: ESC becomes the four characters `\x1b`.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return ascii(char)[1:-1]
