import pytest

from evidence.errors import InvalidInput
from serve.cli import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (0.6, "0.6 s"),
        (48.2, "48 s"),
        (221, "3:41"),
        (3723, "1:02:03"),
        (59.7, "1:00"),
    ],
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (41_200_000, "41.2 MB"), (481_000_000, "481 MB")],
)
def test_a_size_has_three_digits(count: int, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (12, "12 s"), (200, "3 min"), (20_000, "5 h"), (200_000, "2 d")],
)
def test_an_age_is_one_unit(seconds: float, text: str) -> None:
    assert units.age(seconds) == text


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("12h", 43_200), ("1.5d", 129_600)])
def test_a_span_is_read(text: str, seconds: float) -> None:
    assert units.read_span(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"), [("1000", 1000), ("10GB", 10**10), ("2.5 mb", 2_500_000)]
)
def test_a_size_is_read(text: str, count: int) -> None:
    assert units.read_size(text) == count


@pytest.mark.parametrize("text", ["", "h", "5x", "-1h", "1e9h", "12"])
def test_no_span_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected a span"):
        units.read_span(text)


@pytest.mark.parametrize("text", ["", "GB", "5 furlongs", "-1", "0x10"])
def test_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected a size"):
        units.read_size(text)
