"""Text to tokens and back, for the tokenizers that a model entry can name.

`llama2c` is the format of llama2.c's tokenizer.bin: int32 longest piece, then for each piece a
float32 score, an int32 length and its bytes, little-endian; encoded by merging the best-scored
neighbours. Source: karpathy/llama2.c, tokenizer.py and run.c (MIT).
"""

import itertools
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from evidence.errors import InvalidInput, NotInstalled
from petals_bridge.models import ModelEntry

_FIRST_BYTE_PIECE = 3
_BYTE_PIECE = re.compile(rb"<0x([0-9A-F]{2})>")
_BOS = 1


class TextTokenizer(Protocol):
    """Turns text into tokens and back."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without any that mark its begin or end."""

    def decode(self, tokens: Sequence[int]) -> bytes:
        """Return the text of tokens in UTF-8; the end may be part of a character."""


class Llama2c:
    """The tokenizer of llama2.c.

    Args:
        data: tokenizer.bin.

    Raises:
        InvalidInput: It is not.
    """

    def __init__(self, data: bytes) -> None:
        self._pieces: list[bytes] = []
        self._scores: list[float] = []
        at = 4
        try:
            while at < len(data):
                score, length = struct.unpack_from("<fi", data, at)
                at += 8
                if not 0 <= length <= len(data) - at:
                    raise InvalidInput(f"tokenizer: a piece of {length} bytes at byte {at}")
                self._pieces.append(data[at : at + length])
                self._scores.append(score)
                at += length
        except struct.error as error:
            raise InvalidInput(f"tokenizer: it ends within a piece, at byte {at}") from error
        self._index = {piece: i for i, piece in reversed(list(enumerate(self._pieces)))}

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text; a space is put before it, as the model learnt."""
        if not text:
            return []
        tokens = [self._index[b" "]] if b" " in self._index else []
        for character in text:
            piece = character.encode()
            found = self._index.get(piece)
            tokens += [found] if found is not None else [b + _FIRST_BYTE_PIECE for b in piece]
        while (best := self._best_pair(tokens)) is not None:
            at, token = best
            tokens[at : at + 2] = [token]
        return tokens

    def _best_pair(self, tokens: list[int]) -> tuple[int, int] | None:
        """Return where two neighbours merge into the best-scored piece, and which it is."""
        merged = (
            (at, self._index.get(self._pieces[a] + self._pieces[b]))
            for at, (a, b) in enumerate(itertools.pairwise(tokens))
        )
        known = [(at, token) for at, token in merged if token is not None]
        return max(known, key=lambda one: (self._scores[one[1]], -one[0]), default=None)

    def decode(self, tokens: Sequence[int]) -> bytes:
        """Return the text; the space that follows the begin is dropped, as in llama2.c."""
        text = b""
        previous = None
        for token in tokens:
            piece = self._piece(token)
            if previous == _BOS and piece.startswith(b" "):
                piece = piece[1:]
            previous = token
            if token != _BOS:
                byte = _BYTE_PIECE.fullmatch(piece)
                text += bytes([int(byte[1], 16)]) if byte else piece
        return text

    def _piece(self, token: int) -> bytes:
        if not 0 <= token < len(self._pieces):
            raise InvalidInput(f"token: expected 0 to {len(self._pieces) - 1}, found {token}")
        return self._pieces[token]


class Bytes:
    """A token for each byte: its value + 3; lower ones mark begin and end."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        return [byte + _FIRST_BYTE_PIECE for byte in text.encode()]

    def decode(self, tokens: Sequence[int]) -> bytes:
        """Return the text; tokens that are no bytes give nothing."""
        values = (token - _FIRST_BYTE_PIECE for token in tokens)
        return bytes(value for value in values if 0 <= value < 256)  # noqa: PLR2004 - a byte


class Tokenizers:
    """A tokenizer.json, through the library `tokenizers` of the Petals environment.

    Args:
        path: The file.

    Raises:
        NotInstalled: The library is not here.
    """

    def __init__(self, path: Path) -> None:
        try:
            import tokenizers  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise NotInstalled("the library tokenizers is absent", cure="make petals") from error
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> bytes:
        """Return the text."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text.encode()


def of_entry(entry: ModelEntry, folder: Path) -> TextTokenizer:
    """Return the tokenizer of a model whose files were checked.

    Raises:
        InvalidInput: Its file is damaged.
        NotInstalled: It needs a library that is not here.
    """
    kind, file = entry.tokenizer.kind, entry.tokenizer.file
    if kind == "bytes" or file is None:
        return Bytes()
    if kind == "llama2c":
        return Llama2c((folder / file).read_bytes())
    return Tokenizers(folder / file)


def prompt_of(entry: ModelEntry, tokenizer: TextTokenizer, text: str) -> list[int]:
    """Return the tokens of a prompt, begin mark included.

    Raises:
        InvalidInput: It is empty, or leaves no room for an answer.
    """
    marks = [] if entry.tokenizer.bos is None else [entry.tokenizer.bos]
    tokens = marks + tokenizer.encode(text)
    if not 0 < len(tokens) < entry.context:
        raise InvalidInput(
            f"prompt: expected 1 to {entry.context - 1} tokens, found {len(tokens)}",
            field="prompt",
            expected=f"1 to {entry.context - 1} tokens",
            found=str(len(tokens)),
        )
    return tokens
