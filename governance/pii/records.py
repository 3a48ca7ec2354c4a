"""A file as records of text, read in pieces: larger than memory is no matter.

    .json               a list of objects with `full_text`; a record is an element
    .jsonl, .ndjson     a line each: an object with `full_text` or `text`, or a string
    anything else       plain text in UTF-8; a record is a line

Several records make one piece, parted by `context.BORDER`, since a detector costs less over one
long text than over many short ones.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from evidence.errors import InvalidInput
from governance.pii.context import BORDER

PIECE = 1 << 18
"""Code points of a piece, about."""

MOST_ELEMENT = 1 << 24
"""Code points of the longest JSON element or line."""

_READ = 1 << 18
_FIELDS = ("full_text", "text")
_SPACE = " \t\r\n"


class Part(NamedTuple):
    """One record, or a piece of a long line, in a piece."""

    start: int
    """Where it begins in the piece."""
    record: int
    """0-based."""
    offset: int
    """Where it begins in its record; 0 but for the later pieces of a long line."""


class Piece(NamedTuple):
    """Some records in one text."""

    text: str
    parts: list[Part]
    bytes: int
    """How much of the file is read by now."""


def pieces(path: Path) -> Iterator[Piece]:
    """Yield the pieces of a file.

    Raises:
        InvalidInput: It is not what its name says; names the record. Or it is no UTF-8.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        try:
            if path.suffix == ".json":
                yield from _gathered(_elements(file), file.tell)
            elif path.suffix in (".jsonl", ".ndjson"):
                yield from _gathered(_json_lines(file), file.tell)
            else:
                yield from _plain(file)
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"{path.name}: expected UTF-8, found other bytes before byte {file.tell()}",
                field="file",
            ) from error


def _gathered(records: Iterator[str], read: Callable[[], int]) -> Iterator[Piece]:
    parts: list[Part] = []
    texts: list[str] = []
    size = 0
    for number, text in enumerate(records):
        parts.append(Part(size, number, 0))
        texts.append(text.replace(BORDER, " "))
        size += len(text) + 1
        if size >= PIECE:
            yield Piece(BORDER.join(texts), parts, read())
            parts, texts, size = [], [], 0
    if parts:
        yield Piece(BORDER.join(texts), parts, read())


def _json_lines(file: BinaryIO) -> Iterator[str]:
    number = 0
    while line := file.readline(MOST_ELEMENT):
        if not line.endswith(b"\n") and len(line) >= MOST_ELEMENT:
            raise InvalidInput(f"record {number}: expected a line of at most {MOST_ELEMENT} bytes")
        text = line.decode()
        if text.strip(_SPACE):
            try:
                yield _text_of(json.loads(text), number)
            except ValueError as error:
                raise InvalidInput(f"record {number}: expected JSON, found: {error}") from error
        else:
            yield ""  # an empty line is a line
        number += 1


def _elements(file: BinaryIO) -> Iterator[str]:
    """Yield the texts of a JSON list, an element at a time."""
    decoder, buffer = json.JSONDecoder(), _Buffer(file)
    if buffer.skip() != "[":
        raise InvalidInput("expected a JSON list of objects with full_text")
    buffer.take(1)
    number = 0
    if buffer.skip() == "]":
        return
    while True:
        buffer.skip()
        value, end = _decoded(decoder, buffer, number)
        yield _text_of(value, number)
        buffer.take(end)
        number += 1
        char = buffer.skip()
        buffer.take(1)
        if char == "]":
            return
        if char != ",":
            raise InvalidInput(f"record {number}: expected a comma or the end of the list")


def _decoded(decoder: json.JSONDecoder, buffer: "_Buffer", number: int) -> tuple[object, int]:
    while True:
        try:
            value, end = decoder.raw_decode(buffer.text)
        except (ValueError, RecursionError) as error:
            if len(buffer.text) > MOST_ELEMENT or not buffer.more():
                raise InvalidInput(
                    f"record {number}: expected JSON, found: {error}"[:200]
                ) from error
        else:
            if end < len(buffer.text) or not buffer.more():  # a number may go on
                return value, end


class _Buffer:
    """What was read of a file and is not taken yet."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text = ""

    def more(self) -> bool:
        """Read on by as much as is held, at least a block; return whether there was more."""
        data = self._file.read(max(_READ, len(self.text)))
        self.text += self._decoder.decode(data, final=not data)
        return bool(data)

    def skip(self) -> str:
        """Drop white space and return the next character, empty at the end."""
        self.text = self.text.lstrip(_SPACE)
        while not self.text and self.more():
            self.text = self.text.lstrip(_SPACE)
        return self.text[:1]

    def take(self, count: int) -> None:
        """Drop characters."""
        self.text = self.text[count:]


def _text_of(value: object, number: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for field in _FIELDS:
            if isinstance(value.get(field), str):
                return str(value[field])
    raise InvalidInput(
        f"record {number}: expected an object with full_text, found {type(value).__name__}",
        field="full_text",
    )


def _plain(file: BinaryIO) -> Iterator[Piece]:
    """Yield pieces of a text that end at the end of a line, where lines are not overlong."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    held, record, offset = "", 0, 0
    while True:
        data = file.read(_READ)
        held += decoder.decode(data, final=not data)
        if not data:
            break
        cut = held.rfind("\n") + 1
        if not cut and len(held) < PIECE * 4:
            continue
        cut = cut or _blank(held)
        yield Piece(held[:cut].replace(BORDER, " "), _lines(held, cut, record, offset), file.tell())
        breaks = held.count("\n", 0, cut)
        offset = 0 if breaks else offset + cut
        record += breaks
        held = held[cut:]
    if held:
        parts = _lines(held, len(held), record, offset)
        yield Piece(held.replace(BORDER, " "), parts, file.tell())


def _blank(text: str) -> int:
    """Return where a line without an end is cut: behind its last blank, or anywhere."""
    return text.rfind(" ") + 1 or len(text)


def _lines(text: str, end: int, record: int, offset: int) -> list[Part]:
    """Return the lines that begin before `end`."""
    parts = [Part(0, record, offset)]
    start = text.find("\n", 0, end) + 1
    while 0 < start < end:
        record += 1
        parts.append(Part(start, record, 0))
        start = text.find("\n", start, end) + 1
    return parts
