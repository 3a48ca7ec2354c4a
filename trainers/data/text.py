"""A text as bytes, and the windows of it that a language model reads."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainers.data.catalog import TextSet
from trainers.data.stream import StreamedText, VerifiedFile


@dataclass(frozen=True, slots=True)
class Text:
    """One text, its last part kept for testing."""

    name: str
    """Key in the catalog."""
    train: np.ndarray | StreamedText
    """(N,), uint8: one token a byte."""
    test: np.ndarray
    """(M,), uint8."""
    digests: Mapping[str, str]
    """SHA-256 of each raw file that the bytes are of, by file name."""


def decode(name: str, raw: Mapping[str, bytes], entry: TextSet) -> Text:
    """Return the text of the set `name` from its raw files, which the caller has verified."""
    tokens = np.frombuffer(b"".join(raw[file] for file in entry.files), np.uint8)
    split = len(tokens) - entry.test_bytes
    return Text(name=name, train=tokens[:split], test=tokens[split:], digests=entry.digests)


def stream(name: str, file: VerifiedFile, entry: TextSet) -> Text:
    """Return the text of the set `name`, whose training part stays in its file."""
    split = file.size - entry.test_bytes
    test = file.gather(np.array([split]), length=entry.test_bytes)[0]
    train = StreamedText(file, size=split)
    return Text(name=name, train=train, test=test, digests=entry.digests)


def windows(
    tokens: np.ndarray | StreamedText, starts: np.ndarray, *, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a model reads and the token that follows each: (B, T) uint8, (B, T) int32.

    Args:
        tokens: (N,), uint8.
        starts: (B,), where each window begins; at most N - length - 1.
        length: T, tokens of a window.
    """
    if isinstance(tokens, StreamedText):
        pieces = tokens.windows(starts, length=length + 1)
    else:
        pieces = tokens[starts[:, None] + np.arange(length + 1)]
    return np.ascontiguousarray(pieces[:, :-1]), pieces[:, 1:].astype(np.int32)


def count(tokens: np.ndarray | StreamedText, *, length: int) -> int:
    """Return how many windows of `length` tokens, each with its next token, follow one another."""
    return max(0, (len(tokens) - 1) // length)
