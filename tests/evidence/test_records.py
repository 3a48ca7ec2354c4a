from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from pydantic import ValidationError

from evidence import canonical, digest
from evidence.clock import moment, timestamp, utc_now
from evidence.errors import DigestMismatch, IntegrityError, InvalidInput
from evidence.packfiles import Provenance, parse, parse_event
from evidence.records import MOVES, Metric, RunState
from tests.evidence import genuine


def test_a_null_measure_needs_a_reason() -> None:
    whole = {"timestamp": "2026-01-31T12:00:00.000Z", **genuine.metric("train", 1, 1.0, 0.5, 0.1)}
    assert Metric.model_validate(whole).loss == 1.0
    with pytest.raises(ValidationError, match="need reasons"):
        Metric.model_validate({**whole, "reasons": {}})
    with pytest.raises(ValidationError, match="need reasons"):
        Metric.model_validate({**whole, "loss": None})


def test_every_state_has_moves_and_two_are_final() -> None:
    assert set(MOVES) == set(RunState)
    assert {s for s in RunState if s.is_final} == {RunState.SUCCEEDED, RunState.CANCELLED}


def test_every_line_of_a_genuine_journal_is_an_event(pack: Path) -> None:
    lines = (pack / "events.jsonl").read_bytes().splitlines()
    kinds = [parse_event(line).kind.value for line in lines]
    assert kinds[:2] == ["status", "status"]
    assert kinds[-1] == "end"


@pytest.mark.parametrize(
    "fields", [{"step": "1"}, {"step": True}, {"kind": "surprise"}, {"attempt": -1}, {"loss": "1"}]
)
def test_types_in_lines_are_strict(fields: dict[str, object], pack: Path) -> None:
    line = (pack / "metrics.jsonl").read_bytes().splitlines()[0]
    spoiled = canonical.encode({**canonical.decode_object(line), **fields})
    with pytest.raises(IntegrityError):
        parse_event(spoiled)


def test_an_error_names_the_place_as_a_json_pointer(pack: Path) -> None:
    data = (pack / "provenance.json").read_bytes().replace(b'"attempt":1', b'"attempt":0')
    with pytest.raises(IntegrityError) as caught:
        parse(Provenance, data)
    assert caught.value.field == "/attempts/0/attempt"


def test_a_digest_is_64_lower_case_hex_digits() -> None:
    assert digest.require("0" * 64, field="x") == "0" * 64
    for wrong in ("", "0" * 63, "A" * 64, "0" * 64 + "\n"):
        with pytest.raises(InvalidInput):
            digest.require(wrong, field="x")


def test_unequal_digests_are_both_named() -> None:
    with pytest.raises(DigestMismatch) as caught:
        digest.require_equal("x", expected="1", found="2")
    assert (caught.value.expected, caught.value.found) == ("1", "2")


def test_a_record_is_hashed_as_canonical_json() -> None:
    assert digest.of_record({"b": 1, "a": 1.0}) == digest.of_bytes(b'{"a":1,"b":1}')


def test_a_timestamp_is_utc_with_milliseconds() -> None:
    at = datetime(2026, 1, 31, 13, 0, 0, 123456, timezone(timedelta(hours=1)))
    assert timestamp(at) == "2026-01-31T12:00:00.123Z"
    assert utc_now().tzinfo is UTC


def test_a_timestamp_gives_its_moment_again() -> None:
    at = datetime(2026, 1, 31, 12, 0, 0, 123000, UTC)
    assert moment(timestamp(at)) == at
