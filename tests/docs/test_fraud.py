"""docs/fraud.md has every attack of tests/fraud, and none that is not there."""

import ast
import re
from pathlib import Path

from tests.docs.tables import DOCS

FRAUD = DOCS.parent / "tests" / "fraud"


def _functions(path: Path) -> list[str]:
    tree = ast.parse(path.read_bytes())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def _attacks() -> set[str]:
    found = {
        name
        for path in FRAUD.glob("test_attacks_*.py")
        for name in _functions(path)
        if name.startswith("test_")
    }
    text = (FRAUD / "test_attacks_on_training.py").read_text(encoding="utf-8")
    frauds = re.findall(r"^    (\w+): Found\(", text, re.MULTILINE)
    return (found | set(frauds)) - {"test_only_the_replay_finds_it_at_its_step_and_tensor"}


def test_the_page_has_every_attack_and_no_other() -> None:
    page = (DOCS / "fraud.md").read_text(encoding="utf-8")
    cells = [line.split("|")[-2] for line in page.splitlines() if line.startswith("| ")]
    in_tables = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    in_words = set(re.findall(r"\(`(test_\w+)`\)", page))
    assert in_tables | in_words == _attacks()
