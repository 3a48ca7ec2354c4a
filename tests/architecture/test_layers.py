"""The map of the packages holds: layers, what each loads, and what tests may use."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("cluster", "evidence", "governance", "petals_bridge", "serve", "trainers")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = ("ray", "tinygrad", "fastapi", "starlette", "uvicorn")
LOADED = "import sys, {module}; print(*[n for n in {heavy} if n in sys.modules])"


def loaded_by(module: str) -> set[str]:
    """Return which of HEAVY a fresh process has loaded after importing a module."""
    program = LOADED.format(module=module, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def imported(path: Path) -> set[str]:
    """Return the names of all modules that a file imports, at its top or anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_layers_are_kept() -> None:
    program = str(Path(sys.executable).with_name("lint-imports"))
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_application_loads_ray_and_http_but_not_tinygrad() -> None:
    loaded = loaded_by("serve.app")
    assert {"ray", "fastapi"} <= loaded
    assert "tinygrad" not in loaded


def test_what_an_auditor_reads_loads_nothing_heavy() -> None:
    modules = ("evidence.verify", "evidence.seal", "trainers.config", "trainers.recipes")
    assert loaded_by(", ".join(modules)) == set()


def test_the_manager_without_its_shell_loads_nothing_heavy() -> None:
    assert loaded_by("cluster.manager") == set()


def test_one_file_imports_petals() -> None:
    roots = {path: {name.partition(".")[0] for name in imported(path)} for path in MODULES}
    found = {name_of(path) for path, names in roots.items() if names & {"petals", "hivemind"}}
    assert found == {"petals_bridge/client.py"}


def test_the_rules_of_the_bridge_load_nothing_heavy() -> None:
    rules = ("allowlist", "bandwidth", "block_cache", "gate", "generation", "health", "routing")
    assert loaded_by(", ".join(f"petals_bridge.{name}" for name in rules)) == set()


def test_nothing_imports_a_mock_library() -> None:
    names = {"unittest.mock", "mock", "pytest_mock", "responses", "respx"}
    found = {name_of(path): names & imported(path) for path in (*MODULES, *TESTS)}
    assert {name: which for name, which in found.items() if which} == {}


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in TESTS}
    above = {parent for folder in folders for parent in folder.parents if ROOT in parent.parents}
    without = [
        name_of(folder) for folder in folders | above if not (folder / "__init__.py").exists()
    ]
    assert [name for name in without if not name.startswith("tests/vectors/")] == []


def test_every_module_says_what_it_is_for() -> None:
    docstrings = {path: ast.get_docstring(ast.parse(path.read_bytes())) or "" for path in MODULES}
    assert [name_of(path) for path, words in docstrings.items() if len(words.split()) < 3] == []


def test_no_module_is_called_after_nothing() -> None:
    empty = {"utils", "util", "helpers", "common", "misc", "base"}
    assert [name_of(path) for path in MODULES if path.stem in empty] == []
