"""docs/settings.md says what cluster/settings.py says."""

from pathlib import Path
from typing import Any

from cluster.settings import Limits, Settings, variable_of
from tests.docs.tables import code, rows

_BELOW_HOME = {"evidence_root", "cache"}


def _fields() -> dict[str, Any]:
    own = {name: field.default for name, field in Settings.model_fields.items() if name != "limits"}
    return own | {name: field.default for name, field in Limits.model_fields.items()}


def _rows() -> dict[str, list[str]]:
    return {code(row[0]): row for row in rows("settings.md", columns=5) if row[0] != "field"}


def _shown(name: str, default: Any) -> str:
    if name in _BELOW_HOME:
        return f"{Path(default).name} in home"
    if isinstance(default, tuple):
        return ",".join(default)
    absent = {None: "not set", "": "empty"}
    return absent[default] if default in absent else str(default)


def test_every_field_is_documented_and_no_other() -> None:
    assert set(_rows()) == set(_fields())


def test_variables_and_defaults_are_those_of_the_code() -> None:
    told = {name: (code(row[1]), row[2].replace("`", "")) for name, row in _rows().items()}
    expected = {
        name: (variable_of(name), _shown(name, default)) for name, default in _fields().items()
    }
    assert told == expected


def test_fields_with_a_unit_in_their_name_have_it_in_the_table() -> None:
    units = {"_bytes_per_s": "bytes a second", "_s": "seconds", "_bytes": "bytes"}
    wrong = [
        name
        for name, row in _rows().items()
        for suffix in [next(filter(name.endswith, units), None)]
        if suffix is not None and row[3] != units[suffix]
    ]
    assert wrong == []
