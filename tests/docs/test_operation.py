"""The operator's pages name what the code has: metrics, commands, error texts."""

import re

from cluster.gauges import exported_names
from serve.cli.__main__ import COMMANDS
from tests.docs.tables import DOCS, code, rows


def test_the_metrics_table_has_every_metric_and_no_other() -> None:
    told = {code(row[0]) for row in rows("operator-guide.md", columns=5) if row[0] != "metric"}
    assert told == exported_names()


def test_every_counter_of_the_table_is_called_total() -> None:
    kinds = {code(row[0]): row[1] for row in rows("operator-guide.md", columns=5)}
    assert {name for name, kind in kinds.items() if kind == "counter"} == {
        name for name in exported_names() if name.endswith("_total")
    }


def test_only_commands_that_exist_are_named() -> None:
    text = "".join(
        (DOCS / page).read_text(encoding="utf-8")
        for page in ("operator-guide.md", "troubleshooting.md", "api.md", "settings.md")
    )
    named = set(re.findall(r"\bzpctl ([a-z]+)", text))
    assert named <= set(COMMANDS)
