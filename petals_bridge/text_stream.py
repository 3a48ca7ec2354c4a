"""Text as it grows, token by token: whole characters only, and nothing beyond a stop sequence."""

import codecs
from collections.abc import Sequence

from petals_bridge.tokenizing import TextTokenizer


class TextStream:
    """The answer's text so far.

    Args:
        tokenizer: Of the model.
        prompt: Tokens of the prompt; what follows is decoded behind them.
        stop: Sequences at which the text ends; they are not part of it.
    """

    def __init__(
        self, tokenizer: TextTokenizer, prompt: Sequence[int], stop: Sequence[str] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(prompt)
        self._skip = len(tokenizer.decode(self._tokens))
        self._stop = tuple(one for one in stop if one)
        self._given = ""
        self.is_stopped = False
        """Whether a stop sequence was reached."""

    @property
    def text(self) -> str:
        """All text that was given out."""
        return self._given

    def push(self, token: int) -> str:
        """Take one token; return the text that is certain now and was not given out before."""
        self._tokens.append(token)
        return self._give(self._whole(final=False), hold_back=True)

    def finish(self) -> str:
        """Return what was held back; nothing comes after it."""
        return self._give(self._whole(final=True), hold_back=False)

    def _whole(self, *, final: bool) -> str:
        data = self._tokenizer.decode(self._tokens)[self._skip :]
        return codecs.getincrementaldecoder("utf-8")("replace").decode(data, final)

    def _give(self, text: str, *, hold_back: bool) -> str:
        if self.is_stopped:
            return ""
        ends = [at for one in self._stop if (at := text.find(one)) >= 0]
        if ends:
            self.is_stopped = True
            text = text[: min(ends)]
        elif hold_back:
            text = text[: len(text) - self._begun(text)]
        fresh = text[len(self._given) :]
        self._given += fresh
        return fresh

    def _begun(self, text: str) -> int:
        """Return how many characters at the end may be the begin of a stop sequence."""
        longest = max((len(one) for one in self._stop), default=0)
        for size in range(min(longest - 1, len(text)), 0, -1):
            if any(one.startswith(text[-size:]) for one in self._stop):
                return size
        return 0
