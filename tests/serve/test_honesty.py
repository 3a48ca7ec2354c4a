"""The honesty scan: every rule has its attack and its near miss, and the shipped code is clean."""

import re
import tomllib
from pathlib import Path

import pytest

from serve.honesty import exceptions
from serve.honesty.catalogue import RULES
from serve.honesty.scan import EXTRAS, SHIPPED, STALE, UNREADABLE, Finding, find, scan
from serve.honesty.source import parse
from trainers.provenance import REPOSITORY

SAMPLES = Path(__file__).parents[1] / "vectors" / "honesty"
RULE_IDS = [rule.id for rule in RULES]


def found_in(text: str, path: str = "trainers/sample.py") -> set[str]:
    return {finding.rule for finding in find([parse(path, text)])}


def found_in_sample(rule: str, name: str) -> set[str]:
    text = (SAMPLES / rule / f"{name}.py.txt").read_text(encoding="utf-8")
    (path,) = re.findall(r"^# as (\S+)$", text, re.MULTILINE)
    return found_in(text, path)


def write_packages(root: Path, **texts: str) -> Path:
    for package in SHIPPED:
        (root / package).mkdir()
        (root / package / "__init__.py").write_text(texts.get(package, ""), encoding="utf-8")
    return root


def no_exceptions(folder: Path) -> Path:
    file = folder / "exceptions.toml"
    file.write_text("", encoding="utf-8")
    return file


@pytest.mark.parametrize("rule", RULE_IDS)
def test_the_planted_sample_is_found(rule: str) -> None:
    assert rule in found_in_sample(rule, "planted")


@pytest.mark.parametrize("rule", RULE_IDS)
def test_the_near_miss_is_not_found(rule: str) -> None:
    assert found_in_sample(rule, "near_miss") == set()


def test_every_sample_belongs_to_a_rule() -> None:
    assert {folder.name for folder in SAMPLES.iterdir()} == set(RULE_IDS)


def test_rule_ids_are_unique() -> None:
    assert len(set(RULE_IDS)) == len(RULE_IDS)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("random-metric", "import random\ndef f():\n loss = random.random()\n"),
        ("random-metric", "from numpy import random as r\nrecord['loss'] = 1 - r.rand()\n"),
        ("random-metric", "from tinygrad import Tensor\nsink(loss=Tensor.rand(1).item())\n"),
        ("random-metric", "class A:\n def f(self):\n  self.loss = self._rng.uniform(0, 1)\n"),
        ("random-metric", "import secrets\ndef accuracy():\n return secrets.randbelow(9) / 9\n"),
        ("constant-metric", "Metric(loss=0.1)\n"),
        ("constant-metric", "Metric(loss=0)\n"),
        ("constant-metric", "sink({'loss': -0.1})\n"),
        ("constant-metric", "record['accuracy'] = float('0.97')\n"),
        ("constant-metric", "class A:\n @property\n def accuracy(self):\n  return 0.97\n"),
        ("constant-metric", "class Update:\n loss: float = 0.5\n accuracy: float\n"),
        ("constant-metric", "class Update:\n loss: float\n accuracy: float\nUpdate(x, 0.9)\n"),
        ("constant-metric", "for value in (0.9, 0.5):\n sink(loss=value)\n"),
        ("formula-metric", "def f(step, steps):\n val_loss = 1 - step / steps\n"),
        ("formula-metric", "def f(config, sink):\n sink(accuracy=config.step / config.steps)\n"),
        ("canned-curve", "loss_values = [1, 2, 3, 4, 5]\n"),
        ("canned-curve", "import numpy as np\nx = np.linspace(2.3, 0.1, 100)\n"),
        ("mock-library", "from unittest import mock\n"),
        ("mock-library", "import unittest.mock as quiet\n"),
        ("mock-library", "from faker import Faker\n"),
        ("mock-name", "def simulate_step():\n return step()\n"),
        ("mock-name", "MOCK_DATA = read()\n"),
        ("mock-name", "from real import thing as fake\n"),
        ("mock-flag", "mocks = False\n"),
        ("mock-flag", "answer(mocks=False)\n"),
        ("mock-flag", "class Health:\n mocks: Literal[False]\n"),
        ("mock-flag", "class Health:\n mocks: bool = False\n"),
        ("mock-flag", "body['mocks'] = False\n"),
        ("mock-switch", "import os\nos.getenv('USE_FAKES')\n"),
        ("mock-switch", "def f(environ):\n return environ['DUMMY_DATA']\n"),
        ("mock-switch", "import os\nif 'STUB_TRAINER' in os.environ:\n x()\n"),
        ("mock-switch", "option(envvar='ZEROPOINT_MOCK')\n"),
        ("mock-switch", "class Settings:\n allow_simulation: bool = False\n"),
        ("test-awareness", "import os\nos.environ.get('PYTEST_CURRENT_TEST')\n"),
        ("test-awareness", "import sys\nsys.modules.get('pytest')\n"),
        ("stub", "def f():\n ...\n"),
        ("stub", "async def f():\n pass\n"),
        ("stub", "def f():\n raise NotImplementedError('later')\n"),
        ("placeholder-route", "@app.post('/x')\nasync def f():\n return {'ok': True}\n"),
        ("placeholder-route", "@router.get('/x')\nasync def f():\n raise HTTPException(501)\n"),
        ("placeholder-route", "def f(_):\n return Json({'a': []})\napp.add_api_route('/x', f)\n"),
        ("swallowed-exception", "try:\n f()\nexcept OSError:\n pass\n"),
        ("swallowed-exception", "try:\n f()\nexcept KeyError:\n pass\n"),
        ("swallowed-exception", "try:\n f()\nexcept:\n x = 1\n"),
        ("swallowed-exception", "import contextlib\nwith contextlib.suppress(Exception):\n f()\n"),
        ("sleep-in-training", "import asyncio as a\nasync def f():\n await a.sleep(1)\n"),
    ],
)  # fmt: skip
def test_other_spellings_are_found(rule: str, text: str) -> None:
    assert rule in found_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "def f(step, steps, correct, losses):\n loss = sum(losses) / steps\n",
        "def f(config, lr):\n return Optimizer(lr=0.05, momentum=0.9)\n",
        "limits = {'memory_bytes': 1 << 30}\n",
        "schema = {'loss': {'type': 'number', 'minimum': 0}}\n",
        "def f():\n best_loss = math.inf\n return best_loss\n",
        "def f(model, rng):\n weights = rng.normal()\n loss = model.loss(weights)\n",
        "async def f():\n await asyncio.sleep(0)\n",
        "values = headers.get('mock')\n",
        "def f(x):\n while True:\n  x = x\n  loss = x\n",
        "def loss(x):\n return loss(x - 1)\n",
    ],
)
def test_honest_code_is_not_found(text: str) -> None:
    assert found_in(text) == set()


def test_the_shipped_packages_have_no_findings() -> None:
    assert scan(REPOSITORY).findings == ()


def test_every_package_of_the_wheel_is_scanned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(SHIPPED) <= set(wheel) <= {*SHIPPED, *EXTRAS}


def test_a_planted_line_is_found_with_its_place(tmp_path: Path) -> None:
    root = write_packages(tmp_path, trainers="def train():\n    loss = 1\n    mocks = False\n")
    result = scan(root, allowed_in=no_exceptions(tmp_path))
    assert result.findings == (
        Finding(
            rule="mock-flag",
            file="trainers/__init__.py",
            line=3,
            symbol="train",
            text="mocks = False",
            detail="mocks is declared, not derived",
        ),
    )


def test_the_digest_changes_with_every_byte(tmp_path: Path) -> None:
    root = write_packages(tmp_path, trainers="x = 1\n")
    allowed_in = no_exceptions(tmp_path)
    before = scan(root, allowed_in=allowed_in)
    (root / "trainers" / "__init__.py").write_text("x = 2\n", encoding="utf-8")
    after = scan(root, allowed_in=allowed_in)
    assert (before.files, before.rules) == (len(SHIPPED), len(RULES))
    assert before.sha256 != after.sha256


def test_a_file_that_cannot_be_parsed_is_a_finding(tmp_path: Path) -> None:
    root = write_packages(tmp_path, serve="def broken(:\n")
    (finding,) = scan(root, allowed_in=no_exceptions(tmp_path)).findings
    assert (finding.rule, finding.file) == (UNREADABLE, "serve/__init__.py")


def test_an_absent_package_is_a_finding(tmp_path: Path) -> None:
    findings = scan(tmp_path, allowed_in=no_exceptions(tmp_path)).findings
    assert [(finding.rule, finding.file) for finding in findings] == [
        (UNREADABLE, package) for package in SHIPPED
    ]


EXCEPTION = """
[[exception]]
rule = "mock-flag"
file = "serve/__init__.py"
symbol = ""
text = "mocks = False"
reason = "It stands in a test of the scan only."
"""


def test_an_exception_covers_its_line(tmp_path: Path) -> None:
    root = write_packages(tmp_path, serve="mocks = False\n")
    allowed_in = no_exceptions(tmp_path)
    allowed_in.write_text(EXCEPTION, encoding="utf-8")
    result = scan(root, allowed_in=allowed_in)
    assert (result.findings, result.exceptions) == ((), 1)


def test_an_exception_covers_no_other_definition(tmp_path: Path) -> None:
    root = write_packages(tmp_path, serve="mocks = False\ndef f():\n    mocks = False\n")
    allowed_in = no_exceptions(tmp_path)
    allowed_in.write_text(EXCEPTION, encoding="utf-8")
    (finding,) = scan(root, allowed_in=allowed_in).findings
    assert finding.symbol == "f"


def test_an_exception_that_matches_nothing_is_a_finding(tmp_path: Path) -> None:
    root = write_packages(tmp_path)
    allowed_in = no_exceptions(tmp_path)
    allowed_in.write_text(EXCEPTION, encoding="utf-8")
    (finding,) = scan(root, allowed_in=allowed_in).findings
    assert (finding.rule, finding.file) == (STALE, "serve/__init__.py")


def test_an_exception_without_a_reason_is_refused(tmp_path: Path) -> None:
    allowed_in = no_exceptions(tmp_path)
    allowed_in.write_text(EXCEPTION.replace("It stands in", ""), encoding="utf-8")
    shortened = allowed_in.read_text(encoding="utf-8").replace(" a test of the scan only.", "")
    allowed_in.write_text(shortened, encoding="utf-8")
    with pytest.raises(ValueError, match="at least 20 characters"):
        exceptions.read(allowed_in)


def table_rows(heading: str) -> list[tuple[str, ...]]:
    """Return the rows of the first table below a heading of docs/honesty.md, without its head."""
    text = (REPOSITORY / "docs" / "honesty.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in row.strip("|").split(" | ")) for row in rows[2:]]


def test_the_docs_list_the_rules_as_they_are() -> None:
    expected = [(f"`{rule.id}`", rule.finds, rule.near_miss) for rule in RULES]
    assert table_rows("Rules") == expected


def test_the_docs_list_the_exceptions_as_they_are() -> None:
    expected = [
        (f"`{one.rule}`", f"`{one.file}`", f"`{one.symbol}`", one.reason)
        for one in exceptions.read(exceptions.FILE)
    ]
    assert table_rows("Exceptions") == expected
