from typing import Any

import pytest

from evidence.errors import InvalidInput
from serve.cli import requests


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("300", 300),
        ("0.01", 0.01),
        ("1e-3", 0.001),
        ("true", True),
        ("null", None),
        ('"300"', "300"),
        ("'CPU'", "CPU"),
        ("CPU", "CPU"),
        ("[8, 16]", [8, 16]),
        ('{"architecture": "mlp"}', {"architecture": "mlp"}),
        ("{architecture = 'mlp'}", {"architecture": "mlp"}),
    ],
)
def test_a_value_is_json_or_toml_or_a_word(text: str, value: Any) -> None:
    assert requests.value_of(text, of="x=y") == value


def test_dots_nest() -> None:
    pairs = ["steps=300", "optimizer.lr=0.01", "optimizer.name=sgd"]
    assert requests.overrides(pairs) == {"steps": 300, "optimizer": {"lr": 0.01, "name": "sgd"}}


def test_the_last_value_wins() -> None:
    assert requests.overrides(["steps=1", "steps=2"]) == {"steps": 2}


@pytest.mark.parametrize("pair", ["steps", "=1", "a..b=1", "steps=not a word", "x=[1", "x="])
def test_what_is_no_pair_is_refused_with_an_example(pair: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        requests.overrides([pair])
    assert caught.value.cure is not None


@pytest.mark.parametrize("pairs", [["a=1", "a.b=2"], ["a.b=2", "a=1"]])
def test_a_field_cannot_be_a_table_and_a_value(pairs: list[str]) -> None:
    with pytest.raises(InvalidInput, match="table in one place"):
        requests.overrides(pairs)


def test_a_config_is_toml_or_json_by_its_name() -> None:
    assert requests.read_config(b"steps = 3", name="a.toml") == {"steps": 3}
    assert requests.read_config(b'{"steps": 3}', name="a.json") == {"steps": 3}


@pytest.mark.parametrize(
    ("data", "name"), [(b"[", "a.toml"), (b"[1]", "a.json"), (b"\xff", "a.toml")]
)
def test_what_is_no_config_is_refused(data: bytes, name: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        requests.read_config(data, name=name)
