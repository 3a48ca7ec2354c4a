"""Text to tokens and back."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import digest
from evidence.errors import InvalidInput
from petals_bridge import random_model
from petals_bridge.models import BUILT_IN, ModelRegistry
from petals_bridge.text_stream import TextStream
from petals_bridge.tokenizing import Bytes, Llama2c, prompt_of

BYTES = [b"<0x%02X>" % byte for byte in range(256)]
PIECES = [b"<unk>", b"<s>", b"</s>", *BYTES, b" ", b"a", b"b", b"ab", b" ab"]


def tiny() -> Llama2c:
    data = struct.pack("<i", 8)
    for score, piece in enumerate(PIECES):
        data += struct.pack("<fi", float(score), len(piece)) + piece
    return Llama2c(data)


def data_file(sha256: str, suffix: str) -> bytes:
    """Return a file of the search path by its digest; skips where it is absent."""
    for folder in filter(None, os.environ.get("ZEROPOINT_DATA_PATH", "").split(os.pathsep)):
        for path in Path(folder).rglob(f"*{suffix}"):
            if digest.of_file(path) == sha256:
                return path.read_bytes()
    pytest.skip(f"no file with SHA-256 {sha256[:12]} on ZEROPOINT_DATA_PATH")


def test_the_best_scored_neighbours_merge_first() -> None:
    assert tiny().encode("ab") == [PIECES.index(b" ab")]
    assert tiny().encode("") == []


def test_what_is_no_piece_becomes_its_bytes() -> None:
    assert tiny().encode("é")[1:] == [0xC3 + 3, 0xA9 + 3]


def test_the_space_behind_the_begin_is_dropped() -> None:
    one = tiny()
    assert one.decode([1, *one.encode("ab")]) == b"ab"


@given(st.text(alphabet="ab é\n", max_size=40))
def test_a_text_survives_its_tokens(text: str) -> None:
    one = tiny()
    assert one.decode([1, *one.encode(text)]).decode() == text


@given(st.text(max_size=60))
def test_bytes_survive_their_tokens(text: str) -> None:
    assert Bytes().decode(Bytes().encode(text)).decode() == text


@pytest.mark.parametrize(
    "data", [b"\0\0\0\0\1", struct.pack("<ifi", 1, 0, 99), struct.pack("<ifi", 1, 0, -1)]
)
def test_a_damaged_tokenizer_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        Llama2c(data)


@pytest.mark.parametrize("token", [-1, 10**6])
def test_a_token_that_is_none_is_refused(token: int) -> None:
    with pytest.raises(InvalidInput):
        tiny().decode([token])


def test_the_real_tokenizer_gives_the_published_tokens() -> None:
    entry = ModelRegistry([BUILT_IN]).require("stories260k")
    one = Llama2c(data_file(entry.files["tok512.bin"], ".bin"))
    assert prompt_of(entry, one, "Once upon a time") == [1, 403, 407, 261, 378]
    assert one.decode([1, 403, 407, 261, 378]) == b"Once upon a time"


def test_a_prompt_leaves_room_for_an_answer(tmp_path: Path) -> None:
    entry = random_model.make(tmp_path)
    assert len(prompt_of(entry, Bytes(), "x" * 254)) == 255
    with pytest.raises(InvalidInput) as caught:
        prompt_of(entry, Bytes(), "x" * 255)
    assert caught.value.field == "prompt"


def test_half_a_character_waits_for_its_other_half() -> None:
    stream = TextStream(Bytes(), [1])
    assert [stream.push(token) for token in Bytes().encode("é")] == ["", "é"]


def test_a_text_ends_before_a_stop_sequence_and_none_of_it_is_shown() -> None:
    stream = TextStream(Bytes(), [1], ["END"])
    shown = [stream.push(token) for token in Bytes().encode("aEbEND!")]
    assert shown == ["a", "", "Eb", "", "", "", ""]
    assert stream.is_stopped
    assert stream.finish() == ""
    assert stream.text == "aEb"


def test_what_was_held_back_comes_at_the_end() -> None:
    stream = TextStream(Bytes(), [1], ["END"])
    assert "".join(stream.push(token) for token in Bytes().encode("xEN")) == "x"
    assert stream.finish() == "EN"


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_the_pieces_are_the_whole(text: str, stop: list[str]) -> None:
    stream = TextStream(Bytes(), [1], stop)
    shown = "".join(stream.push(token) for token in Bytes().encode(text)) + stream.finish()
    ends = [at for one in stop if (at := text.find(one)) >= 0]
    assert shown == text[: min(ends, default=len(text))]
